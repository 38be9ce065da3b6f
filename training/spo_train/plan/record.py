"""`run_train.json`: what a training run belongs to, so that only the same run can continue.

    refuse_folder(out, checkpoints, resume=False, again="spo-train …")     # before anything is written
    refuse_another(read_record(out), record, options.allowed)              # with --resume
    record.write(out)

Method, model, prompts, chat template, stop strings, values, verifier and tools must not change; settings of verl may.
The user can allow another version of the same verifier, because an upgrade changes it.
"""

import hashlib
import importlib.metadata
import shlex
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from spo_data.errors import UserError
from spo_data.files import write_whole
from spo_data.options import Truncated
from spo_data.printable import printable_json
from spo_data.provenance import Provenance, Record, ToolsRecord
from spo_train.config.keys import CHECKPOINTS_KEY
from spo_train.config.train_choice import Preset
from spo_train.filenames import RECORD
from spo_train.plan.resume_point import describe_checkpoints
from spo_train.plan.training_prompts import prompts_fingerprint, rows_fingerprint
from spo_train.spo.settings import Method

if TYPE_CHECKING:
    from spo_data.models.chat import Chat
    from spo_data.models.names import Model
    from spo_data.options import ToolOptions
    from spo_data.values.table import ValueTable
    from spo_train.config.train_choice import Choice
    from spo_train.data.training_rows import TrainingData
    from spo_train.plan.train_options import TrainOptions

SCHEMA_VERSION = 1
_ALLOW = "--allow-mismatch verifier"


class ValuesRecord(Record):
    """The values that a training run starts from."""

    source: str
    revision: str | None
    """The commit, for a Hub dataset."""
    fingerprint: str
    """SHA-256 over each training prompt's scores."""
    provenance: Provenance | None


class TrainRecord(Record):
    """The whole of `run_train.json`."""

    schema_version: int = SCHEMA_VERSION
    method: Method
    preset: Preset | None = None
    """None in older records."""
    model: str
    revision: str
    prompts: int
    prompts_fingerprint: str
    rows_fingerprint: str | None = None
    """SHA-256 over all of them that a response or a reward depends on; as the next two, None in older records."""
    chat_template: str | None = None
    """Checksum of the chat template and its arguments."""
    stop: tuple[str, ...] | None = None
    verifier: str
    verifier_version: str
    truncated: Truncated = "zero"
    values: ValuesRecord | None
    """None if the method needs no values."""
    tools: ToolsRecord | None = None
    """The interpreter; None if responses have none, as in records older than this field."""
    wording: str | None = None
    """The template that tells the model about the interpreter."""
    allowed_mismatches: tuple[str, ...]
    commands: tuple[str, ...]
    """Every command line of the training run, the first one first."""
    packages: dict[str, str]

    def write(self, out: Path) -> None:
        """Write the record into the folder, replacing an earlier one."""
        write_whole(out / RECORD, printable_json(self.model_dump_json(indent=2)) + "\n")


def read_record(out: Path) -> TrainRecord | None:
    """Return the folder's record, or None if it has none; raises UserError if the record cannot be read."""
    path = out / RECORD
    if not path.is_file():
        return None
    try:
        return TrainRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{path} is not the record of a training run: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error


def refuse_folder(out: Path, checkpoints: Path, *, resume: bool, again: str) -> TrainRecord | None:
    """Return the record in `out`; raises UserError if the training run cannot start, or resume, in this folder."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file")
    record = read_record(out)
    if record is None:
        if resume:
            raise UserError(f"--out {out} has no training run to resume: the command without --resume starts one")
        if out.is_dir() and {path.name for path in out.iterdir()} - {".lock", f".{RECORD}.new"}:
            raise UserError(f"--out {out} is neither a training run nor empty: choose another folder")
    if not resume and (there := describe_checkpoints(checkpoints)):
        if record is None:
            raise UserError(f"{CHECKPOINTS_KEY}={checkpoints} has another training run, {there}: choose another folder")
        raise UserError(f"--out {out} has a training run, {there}; to continue it: {again} --resume")
    return record


def refuse_another(
    before: TrainRecord,
    now: TrainRecord,
    allowed: Collection[str],
    describe_rows: Callable[[], str | None] = lambda: None,
) -> None:
    """Raise UserError if the training run to resume differs from the one in the folder.

    If "verifier" is allowed, the verifier's version may differ, but the verifier may not. `describe_rows` is called if
    the same prompts would be rendered or graded otherwise, and returns what differs, if that can be told.
    """
    differing = {}
    moved = before.revision == now.revision  # the same model files in another folder
    for name, old, new in (
        ("method", before.method, now.method),
        ("model", before.model, before.model if moved else now.model),
        ("revision", before.revision, now.revision),
        ("prompts", _show_prompts(before), _show_prompts(now)),
        ("chat_template", before.chat_template or now.chat_template, now.chat_template),
        ("stop", now.stop if before.stop is None else before.stop, now.stop),
        ("values", _show_values(before), _show_values(now)),
        ("verifier", _show_verifier(before), _show_verifier(now)),
        ("truncated", before.truncated, now.truncated),
        ("tools", before.tools or "none", now.tools or "none"),
        ("template", before.wording or "mentions no tools", now.wording or "mentions no tools"),
    ):
        if old != new:
            differing[name] = f"{name} (there: {old}; now: {new})"
    same_reading = before.verifier == now.verifier and "prompts" not in differing
    if same_reading and before.rows_fingerprint not in (None, now.rows_fingerprint):
        rows = f"rows (there: {str(before.rows_fingerprint)[:12]}; now: {str(now.rows_fingerprint)[:12]})"
        differing["rows"] = describe_rows() or rows
    if before.verifier == now.verifier:
        if "verifier" in allowed:
            differing.pop("verifier", None)
        if differing.keys() == {"verifier"}:
            raise UserError(
                f"the training run began with another version of the {differing['verifier']}, which may grade some"
                f" responses differently; to continue it with this version: {now.commands[-1]} {_ALLOW}"
            )
    if differing:
        raise UserError(
            f"the training run to resume differs: {'; '.join(differing.values())}; {_suggest_own_command(before)},"
            " or start a new one with another --out"
        )


def make_record(
    options: "TrainOptions",
    choice: "Choice",
    data: "TrainingData",
    model: "Model",
    chat: "Chat",
    tools: "ToolOptions",
    values: "ValueTable | None",
) -> TrainRecord:
    """Return the record of a training run that starts now."""
    from spo_data.provenance import ToolsRecord
    from spo_data.run.manifest import package_versions

    start = None
    if values is not None:
        scores = scores_fingerprint(data.score_totals, data.score_counts)
        start = ValuesRecord(
            source=values.source, revision=values.revision, fingerprint=scores, provenance=values.provenance
        )
    return TrainRecord(
        method=options.method,
        preset=choice.preset,
        model=model.name,
        revision=model.revision,
        prompts=len(data.prompts),
        prompts_fingerprint=prompts_fingerprint(data.prompts),
        rows_fingerprint=rows_fingerprint(data.prompts, choice.verifier),
        chat_template=chat.identity,
        stop=choice.stop,
        verifier=choice.verifier,
        verifier_version=choice.verifier_version,
        truncated=choice.truncated,
        values=start,
        tools=ToolsRecord.of(tools),
        wording=None if chat.wording is None else chat.wording.name,
        allowed_mismatches=options.allowed,
        commands=(options.command,),
        packages=package_versions() | {package: importlib.metadata.version(package) for package in ("verl", "ray")},
    )


def scores_fingerprint(totals: np.ndarray, counts: np.ndarray) -> str:
    """Return SHA-256 over the scores that the tracker starts from."""
    return hashlib.sha256(np.asarray(totals, "<f8").tobytes() + np.asarray(counts, "<i8").tobytes()).hexdigest()


def _show_prompts(record: TrainRecord) -> str:
    return f"{record.prompts:,}, {record.prompts_fingerprint[:12]}"


def _show_values(record: TrainRecord) -> Any:
    return record.values and f"{record.values.source}, {record.values.fingerprint[:12]}"


def _show_verifier(record: TrainRecord) -> str:
    name = "FILE.py:FUNCTION" if ".py:" in record.verifier else record.verifier
    return f"{name} ({record.verifier_version})"


def _suggest_own_command(record: TrainRecord) -> str:
    """Return the command that resumes the training run, or why there is none; the last command is known to start."""
    from spo_data.grading.verifiers.registry import verifier_version

    try:
        is_current = record.verifier_version == verifier_version(record.verifier)
    except UserError as error:
        return f"make its verifier readable ({error})"
    command = record.commands[-1]
    if "--resume" not in shlex.split(command):
        command += " --resume"
    if not is_current and "verifier" not in record.allowed_mismatches:
        command += f" {_ALLOW}"
    return f"resume it with its own command ({command})"
