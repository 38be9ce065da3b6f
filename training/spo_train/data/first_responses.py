"""One stored response per prompt, for the divergence of its first visit.

    read_first_responses(load_values("runs/demo"), prompt_ids)        # [FirstResponse(token_ids, mask), None, ...]

It stands for the estimated policy: the response with the lowest sample index whose verdict is an observation. It comes
from the `samples` table of the run folder, or of the Hub commit that the values were loaded from. Without the table it
comes from the run's journal. Values alone (a parquet file, JSON) have no responses.

Only the columns that decide are read, then the token ids of row groups with a chosen response, one group at a time. On
the Hub, only these bytes are downloaded; without a network, its cache must have the whole files. Samples with an
interpreter have a mask beside the token ids.
A model with another tokenizer must start without these token ids.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from spo_data.errors import UserError, first_line
from spo_data.grading.verdict import OBSERVATIONS
from spo_data.hub.cache import find_offline_variable
from spo_data.hub.download import HubDataset, reach_dataset
from spo_data.run.existing import find_manifest
from spo_data.run.parquet_tables import choose_own_files
from spo_data.values.parquet import parquet_file
from spo_data.values.table import ValueTable

SAMPLE_FILES = "samples/*.parquet"
DECIDING = ("prompt_id", "sample_index", "verdict")
TOKEN_IDS, RESPONSE_MASK = "token_ids", "response_mask"


@dataclass(frozen=True, slots=True, eq=False)
class FirstResponse:
    """A response of the estimate; raises ValueError if the mask has another length."""

    token_ids: np.ndarray
    """int32, shape (n_tokens,)."""
    mask: np.ndarray | None = None
    """bool, the same shape, false for tool output; None if the model sampled every token."""

    def __post_init__(self) -> None:
        if self.mask is not None and self.mask.shape != self.token_ids.shape:
            raise ValueError(f"a response of {len(self.token_ids):,} tokens has a mask of {len(self.mask):,}")

    @property
    def own(self) -> np.ndarray:
        """Whether the model sampled each token: bool, shape (n_tokens,)."""
        return np.ones(len(self.token_ids), np.bool_) if self.mask is None else self.mask


def read_first_responses(values: ValueTable, prompt_ids: Sequence[str]) -> list[FirstResponse | None]:
    """Return each prompt's first response, or None if none is stored.

    Raises UserError if the samples cannot be read.
    """
    import pyarrow as pa

    wanted = frozenset(prompt_ids)
    try:
        if values.revision is not None:
            found = _read_hub(values.source, values.revision, wanted)
        else:
            found = _read_folder(Path(values.source).expanduser(), wanted)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{values.source}: its samples cannot be read: {first_line(error)}") from error
    return [found.get(prompt_id) for prompt_id in prompt_ids]


def _read_folder(folder: Path, wanted: Collection[str]) -> dict[str, FirstResponse]:
    if files := choose_own_files(sorted(map(str, folder.glob(SAMPLE_FILES)))):
        return _read_tables(files, lambda name: Path(name).open("rb"), wanted)
    run = find_manifest(folder)
    if run is None or not run.has_journal:
        return {}
    found: dict[str, FirstResponse] = {}
    with run.open_journal() as journal:
        for sample in journal.samples():
            if sample.prompt_id in wanted and sample.verdict.is_observation and len(sample.token_ids):
                found.setdefault(sample.prompt_id, FirstResponse(sample.token_ids, sample.response_mask))
    return found


def _read_hub(repository: str, commit: str, wanted: Collection[str]) -> dict[str, FirstResponse]:
    from huggingface_hub import HfFileSystem

    hub = HfFileSystem()

    def open_file(name: str) -> Any:
        # No cache: it would read five megabytes ahead of every column.
        return hub.open(f"datasets/{repository}@{commit}/{name}", cache_type="none")

    with reach_dataset(repository, commit) as dataset:
        files = _choose_sample_files(dataset)
        if dataset.cached is not None:
            return _read_tables(list(map(str, dataset.download(files))), lambda name: Path(name).open("rb"), wanted)
        return _read_tables(files, open_file, wanted)


def check_samples_are_cached(values: ValueTable) -> None:
    """Raise UserError if the samples of values on the Hub are to be read without a network, and are not cached."""
    if values.revision is not None and find_offline_variable() is not None:
        with reach_dataset(values.source, values.revision) as dataset:
            dataset.download(_choose_sample_files(dataset))


def _choose_sample_files(dataset: HubDataset) -> list[str]:
    names = sorted(name for name in dataset.names if name.count("/") == 1 and fnmatchcase(name, SAMPLE_FILES))
    return choose_own_files(names)


def _read_tables(
    names: Sequence[str], open_file: Callable[[str], Any], wanted: Collection[str]
) -> dict[str, FirstResponse]:
    with ExitStack() as opened:
        raw = [opened.enter_context(open_file(name)) for name in names]
        files = [opened.enter_context(parquet_file(file)) for file in raw]
        if not all({*DECIDING, TOKEN_IDS} <= set(file.schema_arrow.names) for file in files):
            return {}  # samples of another tool, or text alone
        places = sorted((*place[1:], prompt_id) for prompt_id, place in _choose_responses(files, wanted).items())
        found: dict[str, FirstResponse] = {}
        for (number, group), chosen in groupby(places, key=lambda place: (place[0], place[1])):
            names_there = [name for name in (TOKEN_IDS, RESPONSE_MASK) if name in files[number].schema_arrow.names]
            table = files[number].read_row_group(group, columns=names_there)
            for _, _, row, prompt_id in chosen:
                ids, *masks = (table.column(name)[row].values for name in names_there)
                if ids is not None and len(ids):
                    mask = None if not masks or masks[0] is None else _to_array(masks[0], np.bool_)
                    found[prompt_id] = FirstResponse(_to_array(ids, np.int32), mask)
        return found


def _to_array(values: Any, dtype: type) -> np.ndarray:
    return np.asarray(values.to_numpy(zero_copy_only=False).astype(dtype))


def _choose_responses(files: Sequence[Any], wanted: Collection[str]) -> dict[str, tuple[int, int, int, int]]:
    """Return the sample index, file, row group and row of each prompt's first response."""
    chosen: dict[str, tuple[int, int, int, int]] = {}
    for number, file in enumerate(files):
        for group in range(file.num_row_groups):
            columns = file.read_row_group(group, columns=list(DECIDING)).to_pydict()
            for row, (prompt_id, index, verdict) in enumerate(zip(*map(columns.get, DECIDING), strict=True)):
                if verdict in OBSERVATIONS and prompt_id in wanted:
                    place = index, number, group, row
                    chosen[prompt_id] = min(place, chosen.get(prompt_id, place))
    return chosen
