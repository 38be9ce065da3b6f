"""Make rows of a `values` table from foreign scores: what the source does not say is null, never zero.

    make_table_of_scores([("What is 2 + 2?", [1.0, 0.0])], "values.json")

Scores alone say how many samples there were and what they scored, but not how many were truncated or failed, so there
are no bounds.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_data.prompts.identity import Message, Prompt
from spo_data.values.schema import BATCH, values_schema
from spo_data.values.validate import check_unique

if TYPE_CHECKING:
    import pyarrow as pa


def make_table_of_scores(pairs: Iterable[tuple[Any, Any]], file: str) -> "pa.Table":
    """The table of (first user message, scores) pairs; raises UserError for a bad pair, naming file and row."""
    table = make_table(_read_scored_rows(pairs, file))
    check_unique(table, file)
    return table


def make_value_row(prompt: Prompt, scores: Sequence[float], **known: Any) -> dict[str, Any]:
    """One row from a prompt and the scores of its valid samples (at least one); `known` are further columns."""
    binary = all(score in (0.0, 1.0) for score in scores)
    return {
        **make_prompt_columns(prompt),
        "ground_truth": prompt.ground_truth or None,
        "data_source": prompt.data_source or None,
        "vhat": list(scores),
        "value": sum(scores) / len(scores),
        "n": len(scores),
        "n_valid": len(scores),
        "n_correct": sum(score == 1.0 for score in scores) if binary else None,
        **known,
    }


def make_prompt_columns(prompt: Prompt) -> dict[str, Any]:
    """The columns that say which prompt a row is about; `extra_info` is not among them."""
    return {
        "prompt": prompt.text,
        "prompt_id": prompt.prompt_id,
        "messages": [message._asdict() for message in prompt.messages],
        "ground_truth": prompt.ground_truth,
        "data_source": prompt.data_source,
    }


def make_table(rows: Iterable[Mapping[str, Any]]) -> "pa.Table":
    """A `values` table of rows, made in batches; columns that a row lacks are null."""
    import itertools

    import pyarrow as pa

    schema, rows = values_schema(), iter(rows)
    batches = []
    while batch := list(itertools.islice(rows, BATCH)):
        batches.append(pa.RecordBatch.from_pylist([dict(row) for row in batch], schema=schema))
    return pa.Table.from_batches(batches, schema=schema)


def read_scores(scores: Any, where: str) -> list[float]:
    """A list of at least one score in [0, 1]; raises UserError if `scores` is anything else."""
    if not isinstance(scores, list) or not scores:
        raise UserError(f"{where}: {scores!r:.80} is not a list with at least one score")
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not _is_finite(score):
            raise UserError(f"{where}: score {score!r:.80} is not a number")
        if not 0 <= score <= 1:
            raise UserError(f"{where}: score {score!r:.80} is not in [0, 1]: a value is a success probability")
    return [float(score) for score in scores]


def _read_scored_rows(pairs: Iterable[tuple[Any, Any]], file: str) -> Iterator[dict[str, Any]]:
    for row, (text, scores) in enumerate(pairs):
        if not isinstance(text, str) or not text.strip() or not _is_unicode(text):
            raise UserError(f"{file}: column prompt, row {row}: {text!r:.80} is not a text")
        prompt = Prompt((Message("user", text.strip()),), "", "")
        yield make_value_row(prompt, read_scores(scores, f"{file}: column vhat, row {row}"))


def _is_finite(score: float) -> bool:
    """True for every integer: `isfinite` raises for one that is too large for a float."""
    return isinstance(score, int) or math.isfinite(score)


def _is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can express but no table can hold."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
