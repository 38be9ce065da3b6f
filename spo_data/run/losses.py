"""What a run folder has lost: its journal, samples of it, or the manifest that the journal belongs to.

    has_lost_journal(folder, manifest)         # a published run as it was downloaded, a copy without SQLite's files
    refuse_losses(folder, manifest, journal)   # raises UserError with the commands that would be right

A sample that no interpreter failure ended is never deleted, whatever a call does: n raised, prompts added, graded by
another verifier. Only mending a damaged journal leaves samples out, and the journal counts them until the tables are
written again. So a journal that holds fewer of them than the manifest counts, or the table of samples has, is an
older copy, or its write-ahead log was left behind.
"""

import shlex
from pathlib import Path
from typing import NoReturn

from spo_data.errors import UserError
from spo_data.grading.verdict import Verdict
from spo_data.provenance import DatasetRecord
from spo_data.run.journal import Journal, open_journal
from spo_data.run.journal_checks import DamageError
from spo_data.run.manifest import JOURNAL, MANIFEST, Manifest, parse_manifest, policy_differences
from spo_data.values.parquet import open_parquet

_TABLES = ("values", "samples")
_OWN_FILES = tuple(f"{name}/train-?????-of-?????.parquet" for name in _TABLES)
"""Others beside them are a user's."""
_OF_THE_GRADER = frozenset({"verifier", "version", "truncated"})
"""What a grading with another verifier changes, in the manifest first and then in the journal's copy."""


def has_lost_journal(folder: Path, manifest: Manifest) -> bool:
    """Whether a folder holds what was sampled, but no journal."""
    if (folder / JOURNAL).is_file():
        return False
    return manifest.counts is not None or manifest.timings.sampled > 0 or bool(_tables(folder))


def describe_lost_journal(folder: Path, manifest: Manifest) -> str:
    """What is there without a journal, and the commands that would be right, one a line."""
    counted = f", {manifest.counts.samples:,} samples" if manifest.counts else ""
    run = shlex.quote(str(folder))
    lines = [
        f"{folder} has no {JOURNAL}, so this run can be neither continued, graded again nor shown: it is a published or"
        f" copied run of {manifest.policy.model} on {manifest.dataset.source}, n = {manifest.n}{counted}",
    ]
    if _tables(folder):
        lines.append(f"  to train with its values: spo-train --offline-values {run}")
    lines.append(_copy_back(folder))
    return "\n".join(lines)


def refuse_losses(folder: Path, manifest: Manifest, journal: Journal) -> None:
    """Raise UserError if the journal belongs to another manifest, or has lost samples."""
    copied = journal.read_manifest()
    total, whole = journal.count_samples()
    if copied is not None and whole:
        copy = parse_manifest(copied, f"the manifest in {folder / JOURNAL}")
        _refuse_another(folder, manifest, copy)
        if manifest.n < copy.n and (more := journal.count_from(manifest.n)):
            _refuse_older(folder, manifest, copy, more)
    by, recorded = count_recorded(folder, manifest, total)
    if recorded <= whole + journal.count_mended():
        return
    run = shlex.quote(str(folder))
    lines = [
        f"{folder / JOURNAL} holds {whole:,} samples, but {folder / by} counts {recorded:,}: the journal is an older"
        f" copy, or its {JOURNAL}-wal was left behind",
        _copy_back(folder),
    ]
    if copied is not None and manifest.command:
        there = [name for name in (MANIFEST, *_OWN_FILES) if any(folder.glob(name))]
        again = manifest.command_for(folder)
        lines.append(f"  to draw the lost samples again:  (cd {run} && rm {' '.join(there)}) && {again}")
    raise UserError("\n".join(lines))


def _refuse_another(folder: Path, manifest: Manifest, copied: Manifest) -> None:
    """Raise UserError if a manifest and the journal's copy are of different runs, policies, seeds or datasets.

    A file that has moved, or a higher limit, changes a part of the dataset in the manifest first, and then in the copy.
    So datasets are only compared if earlier versions wrote one of the two, without a run id.
    """
    found = policy_differences(copied, manifest)
    named = [
        f"{name} {theirs!r} (in the journal {ours!r})"
        for name, (ours, theirs) in found.items()
        if name not in _OF_THE_GRADER
    ]
    ours, theirs = copied.dataset, manifest.dataset
    if None in (copied.run_id, manifest.run_id):
        if ours.fingerprint != theirs.fingerprint and _place_of(ours) != _place_of(theirs):
            named.append(f"dataset {theirs.source!r} (in the journal {ours.source!r})")
    elif copied.run_id != manifest.run_id:
        if ours != theirs:
            named.append(f"dataset {_describe(theirs)} (in the journal {_describe(ours)})")
        if not named:
            named.append(f"run_id {manifest.run_id!r} (in the journal {copied.run_id!r})")
    if named:
        path = folder / MANIFEST
        raise UserError(
            f"{path} is not the manifest of {folder / JOURNAL}: {', '.join(named)}\n{_mend_manifest(folder)}"
        )


def _refuse_older(folder: Path, manifest: Manifest, copied: Manifest, more: int) -> NoReturn:
    """Raise UserError: the journal has samples that no run of the manifest's n has."""
    raise UserError(
        f"{folder / MANIFEST} is older than {folder / JOURNAL}: n = {manifest.n} (in the journal {copied.n}), but"
        f" {more:,} samples have a higher index\n{_mend_manifest(folder)}"
    )


def _mend_manifest(folder: Path) -> str:
    """The commands that give a journal its own manifest, one a line."""
    path = shlex.quote(str(folder / MANIFEST))
    return f"{_copy_back(folder, MANIFEST)}\n  to use the journal's own copy:  rm {path}"


def _place_of(dataset: DatasetRecord) -> tuple[str | None, ...]:
    return dataset.source, dataset.config, dataset.split


def _describe(dataset: DatasetRecord) -> str:
    return f"{dataset.source!r} with fingerprint {dataset.fingerprint[:12]}"


def leave_out_lost(folder: Path, copied: Manifest) -> tuple[Manifest, str]:
    """The journal's copy of a lost manifest without counts that would refuse it for good, and what a note says then.

    Where the tables are gone too, as after the command of `refuse_losses`, only the copy itself still counts samples
    that the journal has lost.
    """
    if copied.counts is None or any(map(any, map(folder.glob, _OWN_FILES))):
        return copied, ""
    _, recorded = count_recorded(folder, copied)
    try:
        with open_journal(folder / JOURNAL, copied.grader, check=False) as journal:
            _, whole = journal.count_samples()
            mended = journal.count_mended()
    except DamageError:  # what mends or reads the journal says so
        return copied, ""
    if recorded <= whole + mended:
        return copied, ""
    said = f", without its counts ({recorded:,} samples, but the journal holds {whole:,}),"
    return copied.model_copy(update={"counts": None}), said


def count_recorded(folder: Path, manifest: Manifest, total: int = 0) -> tuple[str, int]:
    """Where it is written how many samples a journal with `total` rows should have at least, and the number.

    A call that has begun removes the manifest's counts; then it is the table of samples, read only if it has more rows
    than the journal.
    """
    if (counts := manifest.counts) is not None:
        return MANIFEST, counts.samples - counts.verdicts.get(Verdict.TOOL_ERROR, 0)
    paths = sorted(folder.glob(_OWN_FILES[1]))
    try:
        if sum(map(_count_rows, paths)) <= total:
            return "samples/", 0
        return "samples/", sum(map(_count_whole, paths))
    except (UserError, KeyError):  # damaged, or no table of ours: it says nothing
        return "samples/", 0


def _count_rows(path: Path) -> int:
    with open_parquet(path) as file:
        return int(file.metadata.num_rows)


def _count_whole(path: Path) -> int:
    with open_parquet(path) as file:
        return sum(reason != "tool_error" for reason in file.read(["finish_reason"])["finish_reason"].to_pylist())


def _tables(folder: Path) -> list[str]:
    return [name for name in _TABLES if any((folder / name).glob("*.parquet"))]


def _copy_back(folder: Path, name: str = f"{JOURNAL} and, if there is one, {JOURNAL}-wal") -> str:
    return f"  to continue that run:   copy {name} back into {folder} from where the run was made"
