"""What a table of values belongs to: policy, dataset and grader. It goes with the values wherever they go."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from spo_data.options import ToolOptions

SCHEMA_VERSION = 4


class Record(BaseModel):
    """A record that is written to disk: frozen, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolsRecord(Record):
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


class PolicyRecord(Record):
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
    """What decided the verdicts."""

    verifier: str
    version: str

    @property
    def identity(self) -> str:
        """The verifier, without the folder that a reward function's file lies in: its version names the content."""
        return "FILE.py:FUNCTION" if ".py:" in self.verifier else self.verifier


class Provenance(Record):
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


def grader_differs(old: GraderRecord, new: GraderRecord) -> bool:
    """Whether two graders may give different verdicts."""
    return (old.identity, old.version) != (new.identity, new.version)
