"""Validation data in verl's rows, worded as training data is.

rows = make_validation_rows(PromptOptions(dataset="aime24.parquet"), values, print)
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spo_data.join.match import read_training_prompts
from spo_data.options import PromptOptions
from spo_data.values.scores import make_table
from spo_data.values.table import ValueTable
from spo_data.values.verl_rows import make_verl_rows
from spo_train.data.training_rows import make_unscored_row

if TYPE_CHECKING:
    import pyarrow as pa


def make_validation_rows(
    options: PromptOptions | Sequence[PromptOptions],
    values: ValueTable,
    note: Callable[[str], None] = lambda _: None,
) -> "pa.Table":
    """Return validation data in verl's columns, worded as training data is; `note` is called for what is left out.

    A repeated prompt stays repeated. A file without a `data_source` gets its own name as one, by which verl groups
    metrics. Several data sets make one table, since verl cannot read files whose `extra_info` differ.
    """
    import pyarrow as pa

    tables = []
    for wanted in [options] if isinstance(options, PromptOptions) else options:
        found = read_training_prompts(values, wanted)
        found.refuse_contradictions()
        for reason, count in found.dropped_by_reason().items():
            note(f"{wanted.dataset}: {count:,} of {found.n_rows:,} rows are left out of validation: {reason}")
        name = Path(wanted.dataset).stem if Path(wanted.dataset).expanduser().exists() else wanted.dataset
        named = [
            replace(prompt, data_source=name) if prompt.data_source == wanted.dataset else prompt
            for prompt in found.prompts
        ]
        repeats = [1 + found.repeats.get(row, 0) for row in found.rows]
        tables.append(make_table(map(make_unscored_row, named)).take(np.repeat(np.arange(len(named)), repeats)))
    rows, notes = make_verl_rows(pa.concat_tables(tables), values, "test")
    for sentence in notes:
        note(f"validation: {sentence}")
    return rows
