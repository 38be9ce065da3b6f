"""Write what A*-PO trains from: verl's rows with n responses a prompt, their rewards, and the optimal value V*.

    write_a_star(load_values("runs/demo"), Path("a-star.parquet"), n=8, beta=0.5)

The layout is what `preprocess/data_generation/model_generate.py` of github.com/ZhaolinGao/A-PO publishes: verl's
columns, `response_0` … and `eval_0` …. A further column is `v_star` = β log mean exp(r/β) over the n rewards: the
estimate of the paper (arXiv 2505.20686), which that repository's `verl/utils/dataset/rl_dataset.py` computes from
`eval_i` when it loads the file. β is `data.beta1` there, 0.5 in its scripts.

The responses come from the samples of a run or imported folder. They are in the order of its values, so both tables are
streamed together, and scores that differ between them are refused.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_data.formats.writers.selection import WriteReport, keep
from spo_data.values.parquet import open_parquet, parquet_writer
from spo_data.values.schema import is_valid, make_metadata
from spo_data.values.table import ValueTable
from spo_data.values.verl_rows import NO_GROUND_TRUTH, make_verl_rows

if TYPE_CHECKING:
    import pyarrow as pa

BETA = 0.5
"""A*-PO's β: `data.beta1` in the scripts and the configuration of github.com/ZhaolinGao/A-PO."""
COLUMNS = ["prompt_id", "sample_index", "response", "verdict", "score"]
"""The columns of `samples` that are read."""
SAMPLES_A_GROUP = 1_000
"""Responses in memory at a time: each may have 100,000 characters."""


def write_a_star(values: ValueTable, path: Path, n: int, beta: float) -> WriteReport:
    """Write one parquet file; raises UserError if the source has no responses, or they do not belong to its values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    files = _find_sample_files(values.source)
    lengths = pc.fill_null(pc.list_value_length(values.table.column("vhat")), 0)
    ground_truths = pc.utf8_trim_whitespace(pc.fill_null(values.table.column("ground_truth"), ""))
    table, left_out = keep(
        values.table, {NO_GROUND_TRUTH: pc.equal(ground_truths, ""), f"have fewer than {n} scores": pc.less(lengths, n)}
    )
    cut = sum(length > n for length in pc.list_value_length(table.column("vhat")).to_pylist())
    rows, notes = make_verl_rows(table, values)
    kept = set(table.column("prompt_id").to_pylist())
    drawn = (samples for prompt_id, samples in _read_draws(values, files) if prompt_id in kept)
    schema = _make_schema(rows.schema, values, n)
    with parquet_writer(path, schema) as writer:
        for batch in rows.to_batches(max_chunksize=max(1, SAMPLES_A_GROUP // n)):
            samples = [found[:n] for found in islice(drawn, len(batch))]
            columns = [
                *batch.columns,
                *(pa.array([found[i][1] for found in samples], pa.string()) for i in range(n)),
                *(pa.array([found[i][0] for found in samples], pa.float64()) for i in range(n)),
                pa.array([v_star([score for score, _ in found], beta) for found in samples], pa.float64()),
            ]
            writer.write_table(pa.table(columns, schema=schema))
        for _ in drawn:  # reads on, so that the order of the last prompts' samples is checked too
            pass
    lost = [
        "bounds, counts of truncated and failed samples, seeds, tokens, answers, verdicts",
        f"A*-PO computes v_star again when it loads the file: set data.num_gen_to_use={n} data.beta1={beta:g}",
        *notes,
    ]
    turns = sum(length > 1 for length in pc.list_value_length(table.column("messages")).to_pylist())
    if turns:
        lost.append(f"A*-PO reads only the first message, but {turns:,} prompts have a system prompt or further turns")
    return WriteReport(len(table), n, cut, left_out, tuple(lost))


def v_star(rewards: Sequence[float], beta: float) -> float:
    """β log mean exp(r/β): near the mean reward for a large β, the best reward for a small one."""
    best = max(rewards)
    return best + beta * math.log(sum(math.exp((reward - best) / beta) for reward in rewards) / len(rewards))


def _make_schema(verl: "pa.Schema", values: ValueTable, n: int) -> "pa.Schema":
    import pyarrow as pa

    provenance = values.provenance and values.provenance.model_copy(update={"n": n})
    return pa.schema(
        [
            *verl,
            *((f"response_{i}", pa.string()) for i in range(n)),
            *((f"eval_{i}", pa.float64()) for i in range(n)),
            ("v_star", pa.float64()),
        ],
        make_metadata(provenance, values.completeness),
    )


def _find_sample_files(source: str) -> list[Path]:
    folder = Path(source).expanduser()
    files = sorted(folder.glob("samples/*.parquet")) if folder.is_dir() else []
    if files:
        return files
    where = "is not a folder" if not folder.is_dir() else "has no samples/*.parquet"
    fetch = (
        f": `hf download {source} --repo-type dataset --local-dir FOLDER` fetches those of a Hub dataset"
        if not folder.exists()
        else ""
    )
    raise UserError(f"a-star-po needs the responses, and {source} {where}{fetch}")


def _read_draws(values: ValueTable, files: Sequence[Path]) -> Iterator[tuple[str, list[tuple[float, str]]]]:
    """For each prompt with a value, in order, its (score, response) pairs by sample index."""
    expected = values.rows(("prompt_id", "vhat"))
    known = set(values.prompt_ids)
    place = f"{values.source}/samples"
    wrong = f"{place} and values/ are of different versions: the run's own command or `spo-data regrade` writes both"
    for prompt_id, group in groupby(_read_samples(files), key=lambda sample: str(sample["prompt_id"])):
        if prompt_id not in known:
            continue  # unfinished, or without a valid sample
        row = next(expected, None)
        if row is None or row["prompt_id"] != prompt_id:
            raise UserError(f"{place}: the samples of {prompt_id} are missing or not in the order of the values")
        valid = [sample for sample in sorted(group, key=lambda sample: int(sample["sample_index"])) if is_valid(sample)]
        if [sample["score"] for sample in valid] != row["vhat"]:
            raise UserError(f"{wrong} (prompt {prompt_id} has different scores)")
        if any(sample["response"] is None for sample in valid):
            raise UserError(f"{place}: prompt {prompt_id} has a sample without a response")
        yield prompt_id, [(sample["score"], sample["response"]) for sample in valid]
    if (row := next(expected, None)) is not None:
        raise UserError(f"{wrong} (prompt {row['prompt_id']} has a value but no sample)")


def _read_samples(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for path in files:
        with open_parquet(path, kind="samples") as file:
            if missing := [name for name in COLUMNS if name not in file.schema_arrow.names]:
                raise UserError(f"{path} has no {', '.join(missing)}: these are not a run's samples")
            for batch in file.iter_batches(batch_size=SAMPLES_A_GROUP, columns=COLUMNS):
                yield from batch.to_pylist()
