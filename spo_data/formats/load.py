"""Offline values, loaded from a run folder, a parquet file, JSON, or the Hub.

    values = load_values("runs/demo")
    values = load_values("org/name", revision="main")     # values.revision is the commit that was downloaded
    values.prompt_ids, values.values, values.provenance, values.completeness

A Hub id is resolved to a commit first, and that commit is downloaded: `datasets.load_dataset(id)` silently
serves a stale cache if the repository is gone or the Hub cannot be reached. Without a network (HF_HUB_OFFLINE) it is
the commit that the Hub's cache names, whose table must be there as a whole.

Values of other tools (`prompt` and `vhat`, or `{prompt: [scores]}`) hold only the first user message: their prompt ids
are those of a conversation with just that message.

Earlier versions wrote a row for a prompt whose samples were not all drawn. Such a row is left out and counted as
unfinished: its value is the mean of the responses that ended first.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spo_data.errors import UserError, first_line
from spo_data.formats.readers.sources import DATA_SUFFIXES
from spo_data.hub.download import HubDataset, reach_dataset
from spo_data.hub.ids import may_be_id
from spo_data.json_text import read_json
from spo_data.provenance import Completeness, Provenance, grader_differs
from spo_data.run.existing import find_manifest
from spo_data.run.manifest import Manifest
from spo_data.run.parquet_tables import are_all_own_files, choose_own_files
from spo_data.values.parquet import open_parquet
from spo_data.values.schema import BATCH, TABLE_FILES, read_completeness, read_provenance, values_schema
from spo_data.values.scores import make_table_of_scores
from spo_data.values.table import ValueTable
from spo_data.values.validate import check_unique, check_values

if TYPE_CHECKING:
    import pyarrow as pa

OTHER_FILES = ("data/*.parquet", "*.parquet")
"""Where folders other than runs keep the reference's columns."""


def load_values(path_or_id: str | Path, revision: str | None = None) -> ValueTable:
    """Load values; raises UserError if they cannot be found or read, or fail a check.

    `revision` is a branch, tag or commit of a Hub dataset.
    """
    name = str(path_or_id)
    local = read_local(name, revision)
    return read_hub(name, revision) if local is None else local


def read_local(name: str, revision: str | None) -> ValueTable | None:
    """The values of a folder or file; None if the name can only be a Hub id."""
    path = Path(name).expanduser()
    is_folder, is_file = os.path.isdir(path), os.path.isfile(path)
    if not is_folder and not is_file:
        if not may_be_id(name, DATA_SUFFIXES):
            raise UserError(f"{name}: no such file or folder, and not a Hub id (org/name)")
        return None
    if revision is not None:
        raise UserError(f"{name} is local: --revision {revision} does not apply to it")
    if is_folder:
        return _read_folder(path, name)
    if path.suffix == ".parquet":
        return _read_files([path], name)
    if path.suffix == ".json":
        return ValueTable(_read_json(path), name)
    raise UserError(f"{name} is neither parquet nor JSON: `spo-data import {name}` reads other formats")


def read_hub(name: str, revision: str | None) -> ValueTable:
    """The values of a Hub dataset, at the commit that the revision names now."""
    with reach_dataset(name, revision) as dataset:
        found = _choose_cached_table(dataset) or _choose_table_files(sorted(dataset.names), name)
        if not found:
            raise UserError(
                f"{name} at {dataset.commit} has no {TABLE_FILES}: `spo-data import {name}` reads other formats"
            )
        paths = dataset.download(found)
    return replace(_read_files(paths, name), revision=dataset.commit)


def _choose_cached_table(dataset: HubDataset) -> list[str]:
    """Our own table in the Hub's cache, if that has no list of files and the names say that it is whole; else nothing.

    `datasets` leaves such a cache.
    """
    if dataset.cached is None or dataset.known_names is not None:
        return []
    folder = dataset.cached.folder
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob(TABLE_FILES))
    return names if are_all_own_files(names) else []


def _choose_table_files(names: Sequence[str], source: str) -> list[str]:
    """The files of the train split, which the reference reads; raises UserError if it is unclear which they are."""
    for pattern in (TABLE_FILES, *OTHER_FILES):
        found = _match_names(names, pattern)
        train = [name for name in found if name.rpartition("/")[2].startswith("train")]
        if len(found) > 1 and not train:
            raise UserError(
                f"{source} has {', '.join(found[:5])}, and the name of none begins with train: load one of the files"
            )
        if found:
            return train or found
    return []


def _match_names(names: Iterable[str], pattern: str) -> list[str]:
    import fnmatch

    return [name for name in names if name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)]


def _read_folder(folder: Path, name: str) -> ValueTable:
    run = find_manifest(folder)
    manifest = None if run is None else run.manifest
    command = "" if run is None else run.command
    inside = (path for path in (*folder.glob("*"), *folder.glob("*/*")) if path.is_file())
    files = sorted(path.relative_to(folder).as_posix() for path in inside)
    chosen = choose_own_files(_match_names(files, TABLE_FILES)) if manifest else _choose_table_files(files, name)
    paths = [folder / file for file in chosen]
    if manifest is not None and not paths:
        raise UserError(f"{name} has no table of values yet: the run's own command writes it ({command})")
    if not paths:
        raise UserError(f"{name} has no {TABLE_FILES}: it is neither a run folder nor a dataset of values")
    try:
        table = _read_files(paths, name, manifest)
    except UserError as error:
        if not command:
            raise
        raise UserError(f"{error}; to write the run's tables again: {command}") from error
    if run is None or manifest is None:
        return table
    if table.provenance is not None and grader_differs(table.provenance.grader, manifest.grader):
        raise UserError(
            f"{name}: its tables hold the verdicts of {table.provenance.grader.verifier}, but run.json names"
            f" {manifest.grader.verifier}: a regrade was interrupted; run `spo-data regrade {name} --verifier"
            f" {manifest.grader.verifier}` to finish it"
        )
    return replace(
        table,
        provenance=table.provenance or manifest.provenance,
        command=command,
        note=run.note,
        is_outdated=manifest.counts is None,  # a call removes the counts when it begins, and writes them last
    )


def _read_files(paths: Sequence[Path], name: str, manifest: Manifest | None = None) -> ValueTable:
    """Read the files of one table; `manifest` is that of the run, for what the files of earlier versions do not say."""
    import pyarrow as pa

    read = [_read_parquet(path) for path in paths]
    first = read[0]
    if any(other.provenance != first.provenance for other in read):
        raise UserError(f"{name}: its files hold values of different policies: {', '.join(map(str, paths))}")
    if any(other.completeness != first.completeness for other in read):
        raise UserError(f"{name}: its files were written at different times: {', '.join(map(str, paths))}")
    together = pa.concat_tables([each.table for each in read])
    check_unique(together, name)
    record = first.provenance or manifest
    finished = together if record is None else _leave_out_half_drawn(together, record.n)
    completeness = first.completeness or _count_unfinished(len(together), len(finished), manifest)
    return ValueTable(finished, name, None, first.provenance, completeness)


def _leave_out_half_drawn(table: "pa.Table", n: int) -> "pa.Table":
    """Leave out the rows of prompts with fewer samples, tried ones included, than the run asked for."""
    import pyarrow.compute as pc

    return table.filter(pc.fill_null(pc.greater_equal(table.column("n"), n), True))


def _count_unfinished(rows: int, finished: int, manifest: Manifest | None) -> Completeness | None:
    """The completeness of a table that an earlier version wrote, as far as it is known; None if nothing shows.

    If the run's samples are not all drawn, prompts without a valid sample are counted as unfinished too: that version
    did not tell them apart.
    """
    half_drawn = rows - finished
    if manifest is None or manifest.counts is None:
        return Completeness(prompts=rows, unfinished=half_drawn, without_value=0) if half_drawn else None
    counts = manifest.counts
    undrawn = counts.prompts * manifest.n - counts.samples - counts.engine_failures
    unfinished = max(half_drawn, min(counts.prompts - finished, undrawn))
    without = counts.prompts - finished - unfinished
    return Completeness(prompts=counts.prompts, unfinished=unfinished, without_value=without)


class _FileOfValues(NamedTuple):
    table: "pa.Table"
    provenance: Provenance | None
    completeness: Completeness | None


def _read_parquet(path: Path) -> _FileOfValues:
    with open_parquet(path) as file:
        schema = file.schema_arrow
        recorded = read_provenance(schema), read_completeness(schema)
        if "prompt_id" in schema.names:
            return _FileOfValues(_read_own(file, path), *recorded)
        if {"prompt", "vhat"} <= set(schema.names):
            pairs = (
                (row["prompt"], row["vhat"])
                for batch in file.iter_batches(batch_size=BATCH, columns=["prompt", "vhat"])
                for row in batch.to_pylist()
            )
            return _FileOfValues(make_table_of_scores(pairs, str(path)), *recorded)
    raise UserError(
        f"{path} has neither a run's columns (prompt_id, value, …) nor prompt and vhat, but"
        f" {', '.join(schema.names)}: `spo-data import` reads other formats"
    )


def _read_own(file: Any, path: Path) -> "pa.Table":
    """Read a file with our columns; those that an earlier version did not write are null."""
    import pyarrow as pa

    schema = values_schema()
    there = [name for name in schema.names if name in file.schema_arrow.names]
    table = file.read(columns=there)
    columns = []
    for field in schema:
        try:
            columns.append(
                table.column(field.name).cast(field.type)
                if field.name in there
                else pa.nulls(table.num_rows, field.type)
            )
        except (pa.ArrowException, ValueError) as error:
            raise UserError(
                f"{path}: column {field.name} is {table.column(field.name).type}, not {field.type}: {first_line(error)}"
            ) from error
    whole = pa.table(columns, schema=schema)
    check_values(whole, str(path))
    return whole


def _read_json(path: Path) -> "pa.Table":
    """The recipe's `{prompt: [scores]}`."""
    try:
        pairs = read_json(path.read_text(encoding="utf-8"), object_pairs_hook=_Pairs)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {first_line(error)}") from error
    if not isinstance(pairs, _Pairs):
        raise UserError(f"{path} is not a JSON object {{prompt: [scores]}}")
    return make_table_of_scores(pairs, str(path))


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, repeated keys included: a dict would silently keep the last."""
