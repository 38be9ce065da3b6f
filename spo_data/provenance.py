"""The policy, dataset and grader that values belong to, and how complete they are. Every copy carries it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from spo_data.options import MOST_SAMPLES, ToolOptions, Truncated

SCHEMA_VERSION = 7
GRADED_MARK = ", truncated responses graded"
"""The end of a grader's key if truncated responses are graded."""


class Record(BaseModel):
    """A record that is written to disk: frozen, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolsRecord(Record):
    """A policy's interpreter and its limits."""

    interpreter: str
    max_turns: int
    seconds: float
    memory_mb: int
    output_chars: int

    @staticmethod
    def of(options: ToolOptions) -> "ToolsRecord | None":
        """The record of the options; None if they enable no tools."""
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
        """The interpreter and where its programs run, for messages."""
        return f"{self}, run by {options.sandbox}{', UNPROTECTED' if options.sandbox_unsafe else ''}"

    def __repr__(self) -> str:  # messages show the old and the new record
        return str(self)

    def __str__(self) -> str:
        return (
            f"{self.interpreter} ({self.max_turns} turns, {self.seconds:g} s, {self.memory_mb:,} MB,"
            f" {self.output_chars:,} characters)"
        )


class PolicyRecord(Record):
    """The policy that values belong to. Values of one policy are not values of another."""

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
    """Checksum of the chat template."""
    chat_template_kwargs: dict[str, Any]
    opens_thinking: bool | None = None
    """Whether the rendered prompt ends inside the thinking, so that a response begins there; None if not recorded."""
    tools: ToolsRecord | None = None
    chat_template_text: str | None = None
    """The chat template, if it is not the model's own."""


class DatasetRecord(Record):
    """Where the prompts came from. Two datasets are the same if their prompts and ground truths are."""

    source: str
    config: str | None
    split: str | None
    revision: str | None
    layout: str
    rows: int
    duplicates: int
    fingerprint: str


class GraderRecord(Record):
    """The grader that gave the verdicts."""

    verifier: str
    version: str
    truncated: Truncated = "zero"
    """The score of a response that hit its length limit: 0, or that of the verifier; zero in older records."""

    def __str__(self) -> str:
        return f"{self.verifier} ({self.version}){GRADED_MARK if self.truncated == 'grade' else ''}"

    @property
    def key(self) -> str:
        """The identity, and how truncated responses are scored: what tells two graders of one version apart."""
        return self.identity if self.truncated == "zero" else f"{self.identity}{GRADED_MARK}"

    @property
    def identity(self) -> str:
        """The verifier, without the path of a reward function's file: the version identifies the file's content."""
        return "FILE.py:FUNCTION" if ".py:" in self.verifier else self.verifier


class Provenance(Record):
    """The policy, dataset and grader that values belong to."""

    schema_version: int = SCHEMA_VERSION
    policy: PolicyRecord
    dataset: DatasetRecord
    grader: GraderRecord
    """The grader whose verdicts count; the journal keeps those of others."""
    also: GraderRecord | None = None
    """The second grader, whose verdicts are only compared."""
    n: int = Field(le=MOST_SAMPLES)
    seed: int


class Completeness(Record):
    """How many of a run's prompts have a value, when its table of values was written."""

    prompts: int
    unfinished: int
    """Prompts with samples that are not drawn yet; they have no value."""
    without_value: int
    """Other prompts that have no value: none of their samples is valid."""

    @property
    def finished(self) -> int:
        """Prompts whose samples were all drawn, or tried."""
        return self.prompts - self.unfinished


def grader_differs(old: GraderRecord, new: GraderRecord) -> bool:
    """Whether two graders may give different verdicts."""
    return (old.key, old.version) != (new.key, new.version)
