"""`run_train.json`: what a training belongs to, so that it goes on as the same one or not at all.

    refuse_folder(out, checkpoints, resume=False, again="spo-train …")     # before anything is written
    refuse_another(read_record(out), record)                               # where it goes on
    record.write(out)

Method, model, prompts, values, verifier and tools stay what they were; settings of verl may change.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from spo_data.errors import UserError
from spo_data.files import write_whole
from spo_data.prompts.identity import Prompt
from spo_data.provenance import Provenance, Record, ToolsRecord
from spo_train.filenames import LATEST, RECORD
from spo_train.spo.settings import Method

SCHEMA_VERSION = 1


class ValuesRecord(Record):
    """The values that the training starts from."""

    source: str
    revision: str | None
    """The commit, for a Hub dataset."""
    fingerprint: str
    """Of each training prompt's scores."""
    provenance: Provenance | None


class TrainRecord(Record):
    """The whole of `run_train.json`."""

    schema_version: int = SCHEMA_VERSION
    method: Method
    model: str
    revision: str
    prompts: int
    prompts_fingerprint: str
    verifier: str
    verifier_version: str
    values: ValuesRecord | None
    """None where the training has none."""
    tools: ToolsRecord | None = None
    """The interpreter; None where responses have none, which is what records from before there was one mean."""
    wording: str | None = None
    """The template that tells the model of it."""
    allowed_mismatches: tuple[str, ...]
    commands: tuple[str, ...]
    """Every command line that worked on it, the first one first."""
    packages: dict[str, str]

    def write(self, out: Path) -> None:
        """Write it into the folder, in place of the one that is there."""
        write_whole(out / RECORD, self.model_dump_json(indent=2) + "\n")


def read_record(out: Path) -> TrainRecord | None:
    """The folder's record, None where it has none; raises UserError where it is not one that we can read."""
    path = out / RECORD
    if not path.is_file():
        return None
    try:
        return TrainRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{path} is no record of a training: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error


def refuse_folder(out: Path, checkpoints: Path, *, resume: bool, again: str) -> TrainRecord | None:
    """Raise UserError where `out` is no place to train in, or to go on in; return the record that is there."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file")
    record = read_record(out)
    if record is None:
        if resume:
            raise UserError(f"--out {out} has no training to resume: the command without --resume starts one")
        if out.is_dir() and {path.name for path in out.iterdir()} - {".lock", f".{RECORD}.new"}:
            raise UserError(f"--out {out} is neither a training nor empty: choose another folder")
    elif (checkpoints / LATEST).exists() and not resume:
        step = (checkpoints / LATEST).read_text().strip()
        raise UserError(f"--out {out} has a training, at step {step}; to go on with it: {again} --resume")
    return record


def refuse_another(before: TrainRecord, now: TrainRecord) -> None:
    """Raise UserError where a training that would go on is another one."""
    differing = []
    moved = before.revision == now.revision  # the same files in another folder
    for name, old, new in (
        ("method", before.method, now.method),
        ("model", before.model, before.model if moved else now.model),
        ("revision", before.revision, now.revision),
        ("prompts", _prompts(before), _prompts(now)),
        ("values", _values(before), _values(now)),
        ("verifier", _verifier(before), _verifier(now)),
        ("tools", before.tools or "none", now.tools or "none"),
        ("template", before.wording or "tells of no tools", now.wording or "tells of no tools"),
    ):
        if old != new:
            differing.append(f"{name} (there: {old}; now: {new})")
    if differing:
        raise UserError(
            f"the training to resume is another one: {'; '.join(differing)}; its own command resumes it"
            f" ({before.commands[0]}), another --out starts a new one"
        )


def prompts_fingerprint(prompts: Sequence[Prompt]) -> str:
    """SHA-256 over ids and ground truths in their order, which the tracker's arrays have too."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(f"{prompt.prompt_id}\0{prompt.ground_truth}\n".encode())
    return digest.hexdigest()


def scores_fingerprint(totals: np.ndarray, counts: np.ndarray) -> str:
    """SHA-256 over the scores that the tracker starts from."""
    return hashlib.sha256(np.asarray(totals, "<f8").tobytes() + np.asarray(counts, "<i8").tobytes()).hexdigest()


def _prompts(record: TrainRecord) -> str:
    return f"{record.prompts:,}, {record.prompts_fingerprint[:12]}"


def _values(record: TrainRecord) -> Any:
    return record.values and f"{record.values.source}, {record.values.fingerprint[:12]}"


def _verifier(record: TrainRecord) -> str:
    name = "FILE.py:FUNCTION" if ".py:" in record.verifier else record.verifier
    return f"{name} ({record.verifier_version})"
