"""Write the run folder's two parquet tables, `values/` and `samples/`, from the journal.

The same journal gives the same bytes: rows in prompt order, fixed row groups, zstd, no timestamps. Content-defined
chunking and the page index make re-uploads small and remote filters cheap.

Each table is written into a folder beside its place and swapped in by rename, so a reader never meets half a table or
files of two versions. A kill between the two renames leaves the table absent, and the next call writes it again. Files
that a user has put into a table's folder stay there.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spo_data.errors import SpoError
from spo_data.grading.suspects import settle_truncated
from spo_data.provenance import Completeness, Provenance
from spo_data.run.journal import Journal
from spo_data.run.sample import Sample
from spo_data.values.estimator import estimate_value
from spo_data.values.parquet import ROW_GROUP, parquet_writer
from spo_data.values.schema import samples_schema, values_schema
from spo_data.values.scores import make_prompt_columns

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLES_PER_FILE = 100_000
OWN_FILE = re.compile(r"train-(\d{5})-of-(\d{5})\.parquet")
"""The names of a table's files; others in its folder are a user's."""


def choose_own_files(names: Iterable[str]) -> list[str]:
    """Of the files of a table, those that we wrote; all if we wrote none, as in another tool's dataset."""
    there = list(names)
    return [name for name in there if OWN_FILE.fullmatch(name.rpartition("/")[2])] or there


def are_all_own_files(names: Iterable[str]) -> bool:
    """Whether these are all files of one table that we wrote, by the number of files that each name has."""
    found = [OWN_FILE.fullmatch(name.rpartition("/")[2]) for name in names]
    parts = sorted((int(each[2]), int(each[1])) for each in found if each)
    return len(parts) == len(found) > 0 and parts == [(len(parts), number) for number in range(len(parts))]


def write_tables(journal: Journal, run: Path, provenance: Provenance, completeness: Completeness) -> None:
    """Write both tables into the run folder, replacing existing ones; each file holds the provenance."""
    rows = _read_value_rows(journal, provenance)
    _swap_in(run / "values", values_schema(provenance, completeness), rows, n_files=1)
    ((n_samples,),) = journal.query("SELECT count(*) FROM samples")
    ((with_logprobs, with_mask),) = journal.query("SELECT count(token_logprobs), count(response_mask) FROM samples")
    n_files = max(1, -(-n_samples // SAMPLES_PER_FILE))
    schema = samples_schema(provenance, with_logprobs=with_logprobs > 0, with_mask=with_mask > 0)
    _swap_in(run / "samples", schema, _read_sample_rows(journal), n_files)


def _read_value_rows(journal: Journal, provenance: Provenance) -> Iterator[dict[str, Any]]:
    """One row per prompt with a value; a prompt that is unfinished, or has no valid sample, has no row."""
    failures: dict[str, int] = dict(
        journal.query("SELECT prompt_id, count(*) FROM failures JOIN prompts USING (prompt_number) GROUP BY 1")
    )
    undrawn = {prompt_id: count for _, prompt_id, count in journal.undrawn(provenance.n)}
    disputed = {} if provenance.also is None else journal.count_disputed(provenance.also)
    grouped = groupby(journal.samples(), key=lambda sample: sample.prompt_id)
    by_prompt = ((prompt_id, list(samples)) for prompt_id, samples in grouped)
    prompts, rule = journal.prompts(), journal.suspect_rule()
    for prompt_id, samples in by_prompt:
        prompt = next(prompt for prompt in prompts if prompt.prompt_id == prompt_id)  # both are in prompt order
        whole = [sample for sample in samples if sample.finish_reason != "tool_error"]
        value = estimate_value(
            ((s.verdict, s.score) for s in samples),
            failures=failures.get(prompt_id, 0),
            undrawn=undrawn.get(prompt_id, 0),
        )
        if value.value is None:
            continue
        answers = ((settle_truncated(s.verdict, s.score), s.answer) for s in samples)
        agreed = rule.find(prompt.ground_truth, prompt.data_source, answers)
        yield {
            **make_prompt_columns(prompt),
            "vhat": list(value.vhat),
            "value": value.value,
            "value_low": value.value_low,
            "value_high": value.value_high,
            "n": value.n,
            "n_valid": value.n_valid,
            "n_correct": value.n_correct,
            "n_truncated": value.n_truncated,
            "n_no_answer": value.n_no_answer,
            "n_failed": value.n_failed,
            "n_disputed": disputed.get(prompt_id),
            "response_tokens_mean": sum(len(s.token_ids) for s in whole) / len(whole),
            "tool_turns_mean": sum(s.tool_turns for s in whole) / len(whole),
            "suspect_gold": None if agreed is None else agreed.answer,
            "extra_info": None if prompt.extra_info is None else json.dumps(prompt.extra_info, sort_keys=True),
        }


def _read_sample_rows(journal: Journal) -> Iterator[dict[str, Any]]:
    for sample in journal.samples():
        yield _make_sample_row(sample)


def _make_sample_row(sample: Sample) -> dict[str, Any]:
    mask = sample.response_mask
    logprobs: Any = sample.token_logprobs
    if mask is not None and logprobs is not None:
        # Null, not NaN, for tool output.
        logprobs = [value if own else None for value, own in zip(logprobs.tolist(), mask.tolist(), strict=True)]
    return {
        "prompt_id": sample.prompt_id,
        "sample_index": sample.sample_index,
        "seed": sample.seed,
        "response": sample.response,
        "token_ids": sample.token_ids,
        "finish_reason": sample.finish_reason,
        "response_tokens": len(sample.token_ids),
        "tool_turns": sample.tool_turns,
        "answer": sample.answer,
        "verdict": str(sample.verdict),
        "score": sample.score,
        "detail": sample.detail,
        "response_mask": mask,
        "token_logprobs": logprobs,
    }


def _swap_in(table: Path, schema: "pa.Schema", rows: Iterable[dict[str, Any]], n_files: int) -> None:
    folder = table.resolve()  # a user may have moved it to another disk
    if folder.exists() and not folder.is_dir():
        raise SpoError(f"{table} is not a folder: move it elsewhere, a table is written there")
    fresh, stale = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    if stale.exists():  # an earlier call was killed
        _take_back(stale, folder)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    rows = iter(rows)
    for number in range(n_files):
        name = f"train-{number:05d}-of-{n_files:05d}.parquet"
        _write_file(fresh / name, schema, rows if n_files == 1 else islice(rows, SAMPLES_PER_FILE))
    if folder.exists():
        folder.rename(stale)
    fresh.rename(folder)
    _take_back(stale, folder)


def _take_back(stale: Path, folder: Path) -> None:
    """Move what is not ours from a replaced table into its folder, and delete the rest."""
    folder.mkdir(exist_ok=True)
    for path in stale.iterdir() if stale.is_dir() else ():
        if not OWN_FILE.fullmatch(path.name):
            path.rename(folder / path.name)
    shutil.rmtree(stale, ignore_errors=True)


def _write_file(path: Path, schema: "pa.Schema", rows: Iterable[dict[str, Any]]) -> None:
    import pyarrow as pa

    rows = iter(rows)
    with parquet_writer(path, schema) as writer:
        while group := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=ROW_GROUP)
