"""Mend a damaged journal: a new file with every row that agrees with its checksum.

    mended = mend_journal(path, graders=(manifest.grader,), dataset=prompts)     # None if nothing is damaged
    str(mended)             # "2 damaged samples: … are drawn again; …"

Nothing is changed in the damaged file, which stays beside the new one. What is left out of the new file is drawn or
graded again with the same seeds, as if it had never been there. A damaged prompt is written again from the dataset, if
the dataset's row agrees with the checksum; otherwise its samples are drawn again. Only the run's lock holder calls it.
"""

import os
import shutil
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spo_data.errors import SpoError
from spo_data.prompts.identity import Prompt
from spo_data.provenance import GraderRecord
from spo_data.run.checksums import checksum
from spo_data.run.journal_checks import (
    COMMITS,
    DROPPED,
    FAILURES,
    GRADINGS,
    PROMPTS,
    SAMPLES,
    UNKNOWN,
    VERDICTS,
    Checks,
    Damage,
    DamageError,
    damaged_texts,
    find_damage,
    is_damage,
)
from spo_data.run.journal_rows import (
    INSERT_MANIFEST,
    NOTE_MENDED,
    grading_row,
    manifest_of,
    prompt_row,
)
from spo_data.run.journal_salvage import is_text, read_manifest, read_rows, read_verdicts, salvage_since
from spo_data.run.journal_tables import make_schema

PROBES = 3
"""Verdicts that are read to find the grader of a number whose row is damaged."""


@dataclass(frozen=True)
class Mended:
    """What a damaged journal has lost, and where the damaged file is."""

    damage: Damage
    kept: Path

    def __str__(self) -> str:
        return (
            f"the journal has {self.damage}; what is damaged is drawn and graded again, the rest is kept (the damaged"
            f" file: {self.kept})"
        )


def mend_journal(
    path: Path,
    graders: Collection[GraderRecord],
    dataset: Sequence[Prompt] | None = None,
    *,
    recorded: int = 0,
) -> Mended | None:
    """Check a journal as a whole, and replace it with its sound rows if any is damaged; None if none is.

    `graders` are those that the manifest names, and `recorded` is the number of samples that the run folder counts: the
    new file notes how many of them it lacks. Raises SpoError if a prompt is damaged and there is no dataset, or if
    no part of the file can be read. If `path` is a link, the file that it leads to is replaced, and kept there.
    """
    place = path.resolve()
    fresh = place.with_name(f".{place.name}.new")
    try:
        with closing(sqlite3.connect(f"{place.as_uri()}?mode=rw", uri=True, isolation_level=None)) as old:
            if not (damage := _find(old, next(iter(graders)))):
                return None
            _remove(fresh)
            old.execute("PRAGMA writable_schema = ON")  # else SQLite reads nothing of a file that was cut off
            with closing(sqlite3.connect(fresh, isolation_level=None)) as new, damaged_texts(old):
                make_schema(new, next(iter(graders)), for_writing=True)
                new.execute("BEGIN")
                _copy(old, new, graders, dataset, path)
                new.execute(NOTE_MENDED, (recorded,))
                new.execute("COMMIT")
        return Mended(damage, _swap_in(fresh, place))
    finally:
        _remove(fresh)


def _remove(fresh: Path) -> None:
    for leftover in fresh.parent.glob(f"{fresh.name}*"):
        leftover.unlink()


def _find(old: sqlite3.Connection, grader: GraderRecord) -> Damage:
    try:
        make_schema(old, grader, for_writing=False)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
    return find_damage(old, whole=True)


def _copy(
    old: sqlite3.Connection,
    new: sqlite3.Connection,
    graders: Collection[GraderRecord],
    dataset: Sequence[Prompt] | None,
    path: Path,
) -> None:
    """Copy what agrees with its checksum."""
    checks = Checks({}, {}, salvage_since(old))
    _copy_prompts(old, new, checks, dataset, path)
    if not checks.prompt_ids:
        raise SpoError(f"{path} cannot be mended: none of its prompts can be read; restore a copy of the file")
    _copy_gradings(old, new, checks, graders)
    for table, sql, agrees, columns in (
        ("samples", SAMPLES, checks.agrees_with_sample, _SAMPLE_COLUMNS),
        ("failures", FAILURES, checks.agrees_with_failure, "rowid, prompt_number, sample_index, error, checksum"),
        ("commits", COMMITS, checks.agrees_with_commit, "rowid, call, time, samples, response_tokens, checksum"),
    ):
        rows = (row for row in read_rows(old, sql) if agrees(row) and is_text(row))
        _insert(new, table, columns, rows)
    rows = (row[1:] for row in read_rows(old, DROPPED) if checks.agrees_with_dropped(row) and is_text(row))
    _insert(new, "dropped", "row, reason, detail, checksum", rows)
    rows = (row for row in read_verdicts(old, checks) if checks.agrees_with_verdict(row) and is_text(row))
    _insert(new, "verdicts", VERDICTS.partition(" FROM")[0].removeprefix("SELECT "), rows)
    new.execute(
        "DELETE FROM verdicts WHERE NOT EXISTS (SELECT 1 FROM samples WHERE samples.prompt_number ="
        " verdicts.prompt_number AND samples.sample_index = verdicts.sample_index)"
    )
    if (copy := read_manifest(old)) is not None and manifest_of(copy) is not None:
        new.execute(INSERT_MANIFEST, copy)
    since = checks.since
    if since == UNKNOWN:
        ((since,),) = new.execute(_SINCE)
    new.execute("UPDATE checksums_since SET sample_rowid = ?, checksum = ?", (since, checksum("since", since)))


def _copy_prompts(
    old: sqlite3.Connection, new: sqlite3.Connection, checks: Checks, dataset: Sequence[Prompt] | None, path: Path
) -> None:
    """Copy the prompts, the damaged ones from the dataset; `checks` gets their ids."""
    ours = {row[5]: row for row in map(prompt_row, dataset or ())}
    by_content = {row[:5]: row for row in ours.values()}
    found: list[tuple[int, int, Sequence[Any]]] = []
    ids: set[str] = set()
    lost = False
    for row in read_rows(old, PROMPTS):
        number, position, *content = row
        if not (checks.agrees_with_prompt(row) and is_text(row)):
            content = list(ours.get(content[5]) or by_content.get(tuple(content[:5])) or ())
            lost = True
        if content and content[0] not in ids:
            ids.add(content[0])
            checks.prompt_ids[number] = content[0]
            found.append((position, number, content))
    lost = lost or {position for position, *_ in found} != set(range(len(found)))
    lost = lost or any(number not in checks.prompt_ids for _, number, *_ in read_rows(old, SAMPLES))
    if lost and dataset is None:
        raise DamageError(f"{path} has damaged prompts")
    columns = "position, prompt_number, prompt_id, messages, ground_truth, data_source, extra_info, checksum"
    # The next call sets the positions anew. Until then, they are 0, 1, 2, ... without those that are lost.
    found.sort(key=lambda each: (each[0] if isinstance(each[0], int) else 0, each[1]))
    _insert(new, "prompts", columns, ((k, number, *content) for k, (_, number, content) in enumerate(found)))


def _copy_gradings(
    old: sqlite3.Connection, new: sqlite3.Connection, checks: Checks, graders: Collection[GraderRecord]
) -> None:
    """Copy the graders. For a number whose row is damaged, the verdicts show whose they are."""
    known = {row[:2]: row for row in map(grading_row, graders)}
    rows: dict[int, Sequence[Any]] = {}
    for number, *content in read_rows(old, GRADINGS):
        if checks.agrees_with_grading((number, *content)) and is_text(content):
            rows[number] = content
            known.setdefault((content[0], content[1]), tuple(content))
    probes: dict[int, list[Sequence[Any]]] = {}
    for verdict in read_verdicts(old, checks):
        found = probes.setdefault(verdict[0], [])
        if len(found) < PROBES:
            found.append(verdict)
    for number, found in probes.items():
        for key in () if number in rows and _belong(found, number, rows[number][:2], checks) else known:
            if _belong(found, number, key, checks):
                rows = {other: row for other, row in rows.items() if tuple(row[:2]) != key}
                rows[number] = known[key]
    checks.graders |= {number: (row[0], row[1]) for number, row in rows.items()}
    _insert(new, "gradings", "grading, identity, version, verifier, checksum", ((k, *row) for k, row in rows.items()))


def _belong(found: Sequence[Sequence[Any]], number: int, key: Sequence[str], checks: Checks) -> bool:
    """Whether one of these verdicts agrees with its checksum if the number stands for a grader with this key."""
    tried = Checks(checks.prompt_ids, {number: (key[0], key[1])}, checks.since)
    return any(tried.agrees_with_verdict(row) for row in found)


def _insert(new: sqlite3.Connection, table: str, columns: str, rows: Any) -> None:
    places = ", ".join("?" * (columns.count(",") + 1))
    new.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", rows)


def _swap_in(fresh: Path, path: Path) -> Path:
    """Put the mended file in the place of the damaged one, which gets another name; returns that.

    The place is never empty: a call that finds no journal would begin a new run.
    """
    names = (path.with_name(f"{path.name}.damaged{number}") for number in ("", *(f"-{k}" for k in range(2, 10_000))))
    kept = next(name for name in names if not name.exists())
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(path, kept)
    except OSError:  # a file system without links
        shutil.copyfile(path, kept)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():  # SQLite would write it into the mended file
        log.rename(kept.with_name(f"{kept.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    fresh.replace(path)
    return kept


_SAMPLE_COLUMNS = SAMPLES.partition(" FROM")[0].removeprefix("SELECT samples.")
_SINCE = """
SELECT CASE
    WHEN EXISTS (SELECT 1 FROM verdicts WHERE checksum IS NULL)
    THEN (SELECT coalesce(max(rowid), 0) FROM samples WHERE checksum IS NULL) ELSE -1 END
"""
