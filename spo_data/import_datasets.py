"""Values in other people's datasets: A*-PO's responses and rewards, open-r1's pass rates.

    layout = recognise_layout(find_files("Cornell-AGI/gsm8k_size_qwen2.5_1.5b_eval"))
    read_dataset(files, layout)

| layout | columns |
|---|---|
| `a-star-po` | verl's, `response_0` …, `eval_0` … |
| `open-r1` | a prompt, `pass_rate_rewards` (floats, NaN where a response was not graded), `pass_rate_generations` |
| `pass-rate` | a prompt and one numeric `pass_rate…` column: a value without the scores it comes from |
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from spo_data.columns import Layout, recognise, row_ground_truth, row_messages
from spo_data.dataset_rows import BadRowError
from spo_data.errors import UserError, first_line
from spo_data.export_verl import without_ours
from spo_data.import_draws import Draw, Found, LeftOut, read_score
from spo_data.import_files import SourceFile, SourceFiles
from spo_data.manifest import Provenance
from spo_data.prompt import Prompt
from spo_data.table_schemas import stored_provenance

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 100
"""Rows that are Python objects at a time: each may hold dozens of long responses."""
REWARDS, GENERATIONS, RATE = "pass_rate_rewards", "pass_rate_generations", "pass_rate"
VERL = Layout("verl", "prompt", "reward_model.ground_truth", True)


@dataclass(frozen=True)
class ValueLayout:
    """Where a dataset keeps its values."""

    name: str
    """`own` for tables that `load_values` reads."""
    column: str = ""
    """The column of a pass rate."""
    n: int = 0
    """How many `eval_i` columns there are."""
    provenance: Provenance | None = None
    """What the values belong to, where a file of ours says so."""


def recognise_layout(files: SourceFiles) -> ValueLayout:
    """The layout of parquet files, judged by the first one; raises UserError with the columns there are."""
    import pyarrow as pa

    schema = _schema(files.files[0])
    names = set(schema.names)
    if "prompt_id" in names or {"prompt", "vhat"} <= names:
        return ValueLayout("own")
    if "eval_0" in names:
        n = next(i for i in range(len(names) + 1) if f"eval_{i}" not in names)
        missing = [name for i in range(n) if (name := f"response_{i}") not in names]
        if missing:
            raise UserError(f"{files.files[0].name} has eval_0 to eval_{n - 1}, but no {', '.join(missing)}")
        return ValueLayout("a-star-po", n=n, provenance=_provenance(files))
    if REWARDS in names:
        return ValueLayout("open-r1")
    is_number = {
        field.name: pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        for field in schema
        if field.name.startswith(RATE)
    }
    rates = [name for name, numeric in is_number.items() if numeric]
    if len(rates) == 1:
        return ValueLayout("pass-rate", column=rates[0])
    if rates:
        raise UserError(f"{files.files[0].name} has several pass rates, {', '.join(rates)}: keep one of the columns")
    raise UserError(
        f"{files.files[0].name} has the columns {', '.join(schema.names)}: neither prompt and vhat, nor response_i and"
        f" eval_i, nor {REWARDS}, nor one numeric {RATE}… column"
    )


def read_dataset(files: SourceFiles, layout: ValueLayout) -> Iterator[Found | LeftOut]:
    """What each row says; raises UserError, naming file and row, for scores that are none."""
    prompts = VERL if layout.name == "a-star-po" else _prompt_layout(files.files[0])
    for file in files.files:
        for number, row in enumerate(_rows(file)):
            where = f"{file.name}, row {number}"
            try:
                prompt = _prompt(row, prompts)
            except BadRowError as error:
                yield LeftOut(f"are no prompt: {error}", where)
                continue
            if layout.column:
                value = read_score(row[layout.column], f"{where}: {layout.column}")
                missing = LeftOut("have no pass rate", where, prompt.text)
                yield missing if value is None else Found(prompt, (), where, where, value)
                continue
            draws = _a_star_draws(row, layout.n, where) if layout.n else _open_r1_draws(row, where)
            yield Found(prompt, draws, where, where) if draws else LeftOut("have no draws", where, prompt.text)


def _a_star_draws(row: Mapping[str, Any], n: int, where: str) -> tuple[Draw, ...]:
    pairs = [(row[f"eval_{i}"], row[f"response_{i}"]) for i in range(n)]
    return tuple(
        Draw(read_score(score, f"{where}: eval_{i}"), response)
        for i, (score, response) in enumerate(pairs)
        if score is not None or response is not None
    )


def _open_r1_draws(row: Mapping[str, Any], where: str) -> tuple[Draw, ...]:
    rewards, responses = row[REWARDS] or [], row.get(GENERATIONS)
    if not isinstance(rewards, list):
        raise UserError(f"{where}: {REWARDS} {rewards!r:.80} is not a list")
    if responses is None:
        responses = [None] * len(rewards)
    if len(responses) != len(rewards):
        raise UserError(f"{where} has {len(rewards)} {REWARDS} and {len(responses)} {GENERATIONS}")
    return tuple(
        Draw(read_score(score, f"{where}: {REWARDS}"), response)
        for score, response in zip(rewards, responses, strict=True)
    )


def _prompt_layout(file: SourceFile) -> Layout:
    first = list(islice(_rows(file), ROWS_AT_ONCE))
    columns = [name for name in _schema(file).names if not name.startswith(RATE)]
    try:
        return recognise(columns, first)
    except UserError:
        if "prompt" not in columns:
            raise UserError(f"{file.name}: no known prompt column in {', '.join(columns)}") from None
        is_messages = any(isinstance(row["prompt"], list) for row in first)
        return Layout("prompt", "prompt", "", is_messages)  # a ground truth is not recorded


def _prompt(row: Mapping[str, Any], layout: Layout) -> Prompt:
    messages = row_messages(row, layout)
    try:
        ground_truth = row_ground_truth(row, layout)
    except BadRowError:
        ground_truth = ""  # scores may be right without one: not known
    prompt = Prompt(messages, ground_truth, str(row.get("data_source") or ""))
    extra_info = row.get("extra_info")
    if not isinstance(extra_info, dict):
        return prompt
    kept = without_ours(json.loads(json.dumps(extra_info, default=str)), prompt.prompt_id)
    return Prompt(messages, ground_truth, prompt.data_source, kept or None)


def _rows(file: SourceFile) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file.path) as opened:
            for batch in opened.iter_batches(batch_size=ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file.name} cannot be read as parquet: {first_line(error)}") from error


def _provenance(files: SourceFiles) -> Provenance | None:
    said = [stored_provenance(_schema(file)) for file in files.files]
    return said[0] if all(provenance == said[0] for provenance in said) else None


def _schema(file: SourceFile) -> "pa.Schema":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(file.path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file.name} cannot be read as parquet: {first_line(error)}") from error
