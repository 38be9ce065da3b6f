"""Write verl's training rows, each with its value.

    write_verl(load_values("runs/demo"), Path("train.parquet"))

`data_source`, `prompt` (the messages), `ability`, `reward_model` (`style` "rule", `ground_truth`) and `extra_info`, as
verl's own preprocessing scripts write them. `extra_info` has what the run's grader got, so that a `compute_score` gets
the same, and also `index`, `split`, `prompt_id`, `value` and `n_valid`. A prompt without ground truth cannot be trained
on and is left out.

`ability` is "math" if a mathematics verifier graded, else the data source.
"""

from pathlib import Path

from spo_data.formats.writers.selection import WriteReport, keep
from spo_data.values.parquet import ROW_GROUP, parquet_writer
from spo_data.values.table import ValueTable
from spo_data.values.verl_rows import NO_GROUND_TRUTH, make_verl_rows


def write_verl(values: ValueTable, path: Path) -> WriteReport:
    """Write one parquet file; its metadata holds what the values belong to."""
    import pyarrow.compute as pc

    ground_truths = pc.utf8_trim_whitespace(pc.fill_null(values.table.column("ground_truth"), ""))
    table, left_out = keep(values.table, {NO_GROUND_TRUTH: pc.equal(ground_truths, "")})
    rows, notes = make_verl_rows(table, values)
    with parquet_writer(path, rows.schema) as writer:
        writer.write_table(rows, row_group_size=ROW_GROUP)
    lost = ("single scores, bounds, counts of truncated and failed samples, responses", *notes)
    return WriteReport(len(rows), None, 0, left_out, lost)
