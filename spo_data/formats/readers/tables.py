"""Read values from training datasets: A*-PO's responses and rewards, open-r1's pass rates, verl's rows of our export.

    layout = recognise_layout(find_files("Cornell-AGI/gsm8k_size_qwen2.5_1.5b_eval"))
    read_dataset(files, layout)

| layout | columns |
|---|---|
| `a-star-po` | verl's, `response_0` …, `eval_0` … |
| `open-r1` | a prompt, `pass_rate_rewards` (floats, NaN if a response was not graded), `pass_rate_generations` |
| `pass-rate` | a prompt and one column of pass rates (`readers.rates`): a value without the scores it comes from |
| `verl` | verl's, with `prompt_id` and `value` in `extra_info`: a value without the scores it comes from |

All files of a source have one layout. Otherwise a column that only some files have would be lost in the others.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from spo_data.errors import UserError
from spo_data.formats.readers.draws import ForeignDraw, FoundPrompt, LeftOut, read_score
from spo_data.formats.readers.rates import OPTION, find_fractions, find_rate_column, is_rate_column, read_rate
from spo_data.formats.readers.sources import SourceFile, SourceFiles
from spo_data.prompts.columns import Layout, recognise, row_messages
from spo_data.prompts.identity import Prompt
from spo_data.prompts.problem import read_problem
from spo_data.prompts.rows import BadRowError
from spo_data.prompts.stored_json import read_stored
from spo_data.provenance import Completeness, Provenance
from spo_data.values.parquet import open_parquet
from spo_data.values.schema import read_completeness, read_provenance
from spo_data.values.verl_rows import without_ours

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
ROWS_AT_ONCE = 100
"""Rows that are Python objects at a time: each may hold dozens of long responses."""
MOST_SCORES = 2**31 - 1
"""The largest number that the column `n_valid` holds."""
REWARDS, GENERATIONS = "pass_rate_rewards", "pass_rate_generations"
VERL = Layout("verl", "prompt", "reward_model.ground_truth", True)


@dataclass(frozen=True)
class ValueLayout:
    """Where a dataset keeps its values."""

    name: str
    """`own` for tables that `load_values` reads."""
    column: str = ""
    """The column of a pass rate."""
    n: int = 0
    """The number of `eval_i` columns."""
    provenance: Provenance | None = None
    """What the values belong to, if a file of ours says so."""
    completeness: Completeness | None = None
    """How many of the run's prompts they are, if a file of ours says so."""

    def __str__(self) -> str:
        """Its name in messages."""
        if self.column:
            return f"{self.name} with {self.column}"
        return f"{self.name} with eval_0 to eval_{self.n - 1}" if self.n else self.name


def recognise_layout(files: SourceFiles, value_column: str | None = None) -> ValueLayout:
    """The layout of all parquet files; raises UserError if it is unknown, with the columns, or if two files differ.

    `value_column` is a column of pass rates that the user names.
    """
    first, *others = files.files
    layout = _recognise_file_layout(first, value_column)
    for file in others:
        try:
            found = _recognise_file_layout(file, value_column)
        except UserError as error:
            raise UserError(f"{error}; {first.name} is {layout}") from error
        if found != layout:
            raise UserError(f"{first.name} is {layout}, {file.name} is {found}: import files of one layout at a time")
    if layout.name not in ("a-star-po", "verl"):
        return layout
    schemas = [_read_schema(file) for file in files.files]
    return replace(
        layout,
        provenance=_find_same(map(read_provenance, schemas)),
        completeness=_find_same(map(read_completeness, schemas)),
    )


def read_dataset(files: SourceFiles, layout: ValueLayout) -> Iterator[FoundPrompt | LeftOut]:
    """The draws or the value in each row; raises UserError for a bad score, naming file and row."""
    prompts = VERL if layout.name in ("a-star-po", "verl") else _find_prompt_layout(files)
    for file in files.files:
        for number, row in enumerate(_read_rows(file)):
            where = f"{file.name}, row {number}"
            try:
                prompt = _read_prompt(row, prompts)
            except BadRowError as error:
                yield LeftOut(f"are not a prompt: {error}", where)
                continue
            if layout.column:
                value, n = read_rate(row[layout.column], f"{where}: {layout.column}")
                missing = LeftOut("have no pass rate", where, prompt.text)
                yield missing if value is None else FoundPrompt(prompt, (), where, where, value, n)
                continue
            if layout.name == "verl":
                yield _read_verl_value(prompt, row["extra_info"] or {}, where)
                continue
            draws = _read_a_star_draws(row, layout.n, where) if layout.n else _read_open_r1_draws(row, where)
            yield FoundPrompt(prompt, draws, where, where) if draws else LeftOut("have no draws", where, prompt.text)


def _recognise_file_layout(file: SourceFile, value_column: str | None) -> ValueLayout:
    schema = _read_schema(file)
    names = set(schema.names)
    if value_column is None:
        if "prompt_id" in names or {"prompt", "vhat"} <= names:
            return ValueLayout("own")
        if n := _count_evals(names, file.name):
            return ValueLayout("a-star-po", n=n)
        if REWARDS in names:
            return ValueLayout("open-r1")
    if (column := find_rate_column(schema, file.name, value_column)) is not None:
        return ValueLayout("pass-rate", column=column)
    if _has_verl_values(schema):
        return ValueLayout("verl")
    fractions = find_fractions(schema.names, list(islice(_read_rows(file), ROWS_AT_ONCE)))
    raise UserError(
        f"{file.name} has the columns {', '.join(schema.names)}: neither prompt and vhat, nor response_i and eval_i,"
        f" nor {REWARDS}, nor one column of a pass rate or solve rate, nor verl's prompt and extra_info with prompt_id"
        f" and value; {OPTION} names a column of pass rates"
        + (f", such as {fractions} if its fractions are solved of sampled" if fractions else "")
    )


def _count_evals(names: Iterable[str], file: str) -> int:
    """The number of pairs of `eval_i` and `response_i`; raises UserError if a column among them is missing."""
    found: dict[str, set[int]] = {"eval": set(), "response": set()}
    for name in names:
        if match := re.fullmatch(r"(eval|response)_(0|[1-9][0-9]*)", name):
            found[match[1]].add(int(match[2]))
    evals, responses = found.values()
    if not evals:
        return 0
    n = len(evals | responses)
    missing = [f"{kind}_{i}" for kind, there in found.items() for i in range(n) if i not in there]
    if missing:
        raise UserError(f"{file} has {len(evals)} eval_i and {len(responses)} response_i, but no {', '.join(missing)}")
    return n


def _has_verl_values(schema: "pa.Schema") -> bool:
    import pyarrow as pa

    if not {"prompt", "extra_info"} <= set(schema.names):
        return False
    prompt, extra_info = schema.field("prompt").type, schema.field("extra_info").type
    is_messages = pa.types.is_list(prompt) or pa.types.is_large_list(prompt)
    fields = {field.name for field in extra_info} if pa.types.is_struct(extra_info) else set()
    return is_messages and {"prompt_id", "value"} <= fields


def _read_verl_value(prompt: Prompt, extra_info: Mapping[str, Any], where: str) -> FoundPrompt | LeftOut:
    value = read_score(extra_info.get("value"), f"{where}: extra_info.value")
    if value is None:
        return LeftOut("have no value", where, prompt.text)
    if extra_info["prompt_id"] != prompt.prompt_id:
        raise UserError(
            f"{where}: extra_info.prompt_id is {extra_info['prompt_id']!r:.80}, but its messages have"
            f" {prompt.prompt_id}: the value belongs to another prompt"
        )
    return FoundPrompt(prompt, (), where, where, value, _read_n_valid(extra_info.get("n_valid"), where))


def _read_n_valid(count: Any, where: str) -> int | None:
    if count is None or count != count:  # NaN differs from itself
        return None
    # pandas turns counts into floats.
    if isinstance(count, bool) or not isinstance(count, (int, float)) or not 1 <= count <= MOST_SCORES or count % 1:
        raise UserError(f"{where}: extra_info.n_valid {count!r:.80} is not a number of scores")
    return int(count)


def _read_a_star_draws(row: Mapping[str, Any], n: int, where: str) -> tuple[ForeignDraw, ...]:
    pairs = [(row[f"eval_{i}"], row[f"response_{i}"]) for i in range(n)]
    return tuple(
        ForeignDraw(read_score(score, f"{where}: eval_{i}"), response)
        for i, (score, response) in enumerate(pairs)
        if score is not None or response is not None
    )


def _read_open_r1_draws(row: Mapping[str, Any], where: str) -> tuple[ForeignDraw, ...]:
    rewards, responses = row[REWARDS] or [], row.get(GENERATIONS)
    if not isinstance(rewards, list):
        raise UserError(f"{where}: {REWARDS} {rewards!r:.80} is not a list")
    if responses is None:
        responses = [None] * len(rewards)
    if len(responses) != len(rewards):
        raise UserError(f"{where} has {len(rewards)} {REWARDS} and {len(responses)} {GENERATIONS}")
    return tuple(
        ForeignDraw(read_score(score, f"{where}: {REWARDS}"), response)
        for score, response in zip(rewards, responses, strict=True)
    )


def _find_prompt_layout(files: SourceFiles) -> Layout:
    """The layout of the prompts in all files that have rows; raises UserError if two files differ."""
    found: tuple[Layout, str] | None = None
    for file in files.files:
        first = list(islice(_read_rows(file), ROWS_AT_ONCE))
        if not first:
            continue
        layout = _recognise_prompt_layout(file, first)
        known, name = found = found or (layout, file.name)
        if layout != known:
            raise UserError(
                f"{name} has its prompts in {_describe_columns(known)}, but {file.name} in"
                f" {_describe_columns(layout)}: import files of one layout at a time"
            )
    if found is None:
        raise UserError(f"{files.source} has no values (no rows)")
    return found[0]


def _recognise_prompt_layout(file: SourceFile, first: Sequence[Mapping[str, Any]]) -> Layout:
    columns = [
        name for name in _read_schema(file).names if not is_rate_column(name) and name not in (REWARDS, GENERATIONS)
    ]
    try:
        return recognise(columns, first)
    except UserError:
        if "prompt" not in columns:
            raise UserError(f"{file.name}: no known prompt column in {', '.join(columns)}") from None
        is_messages = any(isinstance(row["prompt"], list) for row in first)
        return Layout("prompt", "prompt", "", is_messages)  # without a ground truth


def _describe_columns(layout: Layout) -> str:
    kind = "messages" if layout.is_messages else "text"
    return f"{layout.prompt_column} ({kind}, ground truth: {layout.answer_column or 'none'})"


def _read_prompt(row: Mapping[str, Any], layout: Layout) -> Prompt:
    messages = row_messages(row, layout)
    try:
        messages, ground_truth, *_ = read_problem(row, layout)
    except BadRowError as error:
        if error.reason.startswith("has_"):
            raise
        ground_truth = ""  # unknown, which scores do not need
    prompt = Prompt(messages, ground_truth, str(row.get("data_source") or ""))
    extra_info = read_stored(row.get("extra_info"))
    if not isinstance(extra_info, dict):
        return prompt
    kept = without_ours(json.loads(json.dumps(extra_info, default=str)), prompt.prompt_id)
    return Prompt(messages, ground_truth, prompt.data_source, kept or None)


def _read_rows(file: SourceFile) -> Iterator[dict[str, Any]]:
    with open_parquet(file.path, file.name) as opened:
        for batch in opened.iter_batches(batch_size=ROWS_AT_ONCE):
            yield from batch.to_pylist()


def _find_same(records: Iterable[T | None]) -> T | None:
    """The record that all files hold; None if they differ."""
    first, *others = records
    return first if all(other == first for other in others) else None


def _read_schema(file: SourceFile) -> "pa.Schema":
    with open_parquet(file.path, file.name) as opened:
        return opened.schema_arrow
