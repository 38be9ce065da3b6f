"""Check that the samples in a folder belong to its values.

    check_samples(load_values("runs/demo"), [Path("runs/demo/samples/train-00000-of-00001.parquet")])

A folder that was put together by hand may hold the values of one run beside the samples of another.
"""

from collections.abc import Sequence
from pathlib import Path

from spo_data.errors import UserError
from spo_data.values.parquet import open_parquet
from spo_data.values.schema import BATCH, is_valid, read_provenance
from spo_data.values.table import ValueTable
from spo_data.values.validate import TOLERANCE

NEEDED = ("prompt_id", "score")


def check_samples(values: ValueTable, files: Sequence[Path]) -> None:
    """Raise UserError if samples have another policy, dataset or grader than the values, or other scores.

    For each prompt, the number of valid samples and their mean are compared, but not responses or their order.
    """
    drawn: dict[str, list[float]] = {}
    for path in files:
        _add_file(path, values, drawn)
    place = f"{values.source}/samples does not belong to its values"
    for row in values.rows(("prompt_id", "value", "n_valid")):
        found = drawn.get(row["prompt_id"])
        if found is None:
            raise UserError(f"{place}: prompt {row['prompt_id']} has a value but no sample")
        count, total = found
        if row["n_valid"] is None:
            continue
        if not count or count != row["n_valid"]:
            raise UserError(
                f"{place}: prompt {row['prompt_id']} has {count:.0f} samples with a score, but n_valid {row['n_valid']}"
            )
        if not abs(total / count - row["value"]) <= TOLERANCE:  # also true for a NaN
            raise UserError(
                f"{place}: the scores of prompt {row['prompt_id']} have the mean {total / count:g}, but its value"
                f" is {row['value']:g}"
            )


def _add_file(path: Path, values: ValueTable, drawn: dict[str, list[float]]) -> None:
    """Add a file's valid samples to the count and the sum of scores of each prompt."""
    import pyarrow as pa

    with open_parquet(path, kind="samples") as file:
        names = file.schema_arrow.names
        if missing := [name for name in NEEDED if name not in names]:
            raise UserError(f"{path} has no {', '.join(missing)}: these are not samples")
        if not pa.types.is_floating(file.schema_arrow.field("score").type):
            raise UserError(f"{path}: column score is not float: these are not samples")
        provenance = read_provenance(file.schema_arrow)
        if provenance and values.provenance and provenance != values.provenance:
            differing = [
                name
                for name in type(provenance).model_fields
                if getattr(provenance, name) != getattr(values.provenance, name)
            ]
            raise UserError(f"{path} holds samples of another run than the values: different {', '.join(differing)}")
        columns = [*NEEDED, *(["verdict"] if "verdict" in names else [])]
        for batch in file.iter_batches(batch_size=BATCH, columns=columns):
            for sample in batch.to_pylist():
                found = drawn.setdefault(sample["prompt_id"], [0, 0.0])
                if is_valid(sample):
                    found[0] += 1
                    found[1] += sample["score"]
