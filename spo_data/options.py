"""The options of an estimate. The sentence of each field is also its help on the command line.

Sampling(n=8, temperature=1.0)
help_of(Sampling, "temperature")
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from spo_data.engine_arguments import NOT_AN_ENGINE_ARG
from spo_data.errors import UserError

DTYPES = ("auto", "bfloat16", "float16", "float32", "half", "float")


def _option(default: Any, help: str) -> Any:  # noqa: A002 # the name that Typer and argparse use
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


def help_of(options: type, name: str) -> str:
    """The help sentence of a field."""
    return str(next(field for field in dataclasses.fields(options) if field.name == name).metadata["help"])


def option_of(name: str) -> str:
    """A field's name on the command line."""
    return f"--{name.replace('_', '-')}"


MOST_SAMPLES = 2**31 - 1
"""Of a prompt: a sample's index has 32 bits in the tables."""


@dataclass(frozen=True)
class PromptOptions:
    """Which prompts to read, and how to word them."""

    dataset: str = _option(
        "", "Hub id, local parquet/jsonl/json/csv file, glob or folder, or reasoning-gym:NAME?key=value&key=value."
    )
    dataset_config: str | None = _option(None, "Configuration of a Hub dataset.")
    split: str | None = _option(None, "Split to read (default: train, if there is one).")
    revision: str | None = _option(None, "Branch, tag or commit of a Hub dataset; recorded as a commit.")
    prompt_column: str | None = _option(
        None, "Column with the prompt, if the layout is not recognised; a.b is field b of a struct a."
    )
    answer_column: str | None = _option(None, "Column with the ground truth, if the layout is not recognised.")
    template: str | None = _option(
        None,
        "Answer instruction: boxed, retool, dapo, none or FILE.jinja (default: boxed, retool with --tools; none for"
        " chat messages).",
    )
    system: str | None = _option(None, "System prompt; replaces the dataset's.")
    chat_template: str | None = _option(
        None, "Jinja file with a chat template, for a model without one or instead of the model's."
    )
    chat_template_kwargs: dict[str, Any] = _option({}, "Arguments of the model's chat template, as JSON.")
    limit: int | None = _option(None, "Read only this many rows; raise it later to add prompts to the same run.")
    shuffle_seed: int | None = _option(None, "Shuffle the rows with this seed before --limit applies.")

    def __post_init__(self) -> None:
        _require(self.limit is None or self.limit >= 1, f"--limit {self.limit}: must be at least 1")


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn. The defaults are the training policy's."""

    n: int = _option(8, "Samples per prompt; raise it later to add samples to the same run.")
    temperature: float = _option(1.0, "Sampling temperature; use that of training.")
    top_p: float = _option(1.0, "Nucleus sampling; 1 is off.")
    top_k: int = _option(-1, "Sample among the k likeliest tokens; -1 is off.")
    max_tokens: int = _option(16384, "Most tokens of a response; the model's context may end it earlier.")
    seed: int = _option(0, "Run seed: every sample's seed is a hash of it, the prompt id and the sample index.")
    stop: tuple[str, ...] = _option((), "End a response at this string; may be given several times.")
    logprobs: bool = _option(False, "Keep the log-probability of every sampled token.")

    def __post_init__(self) -> None:
        _require(1 <= self.n <= MOST_SAMPLES, f"--n {self.n}: must be from 1 to {MOST_SAMPLES}")
        _require(0 <= self.temperature < math.inf, f"--temperature {self.temperature:g}: must be at least 0")
        _require(0 < self.top_p <= 1, f"--top-p {self.top_p:g}: must be above 0, at most 1")
        _require(self.top_k == -1 or self.top_k >= 1, f"--top-k {self.top_k}: must be at least 1, or -1 for off")
        _require(all(self.stop), "--stop '': an empty string would end every response")
        _require(self.max_tokens >= 1, f"--max-tokens {self.max_tokens}: must be at least 1")


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "reference": {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
}
"""Named sampling settings; the published values were sampled with `reference`, which is not how training samples."""


@dataclass(frozen=True)
class EngineOptions:
    """vLLM's engine arguments, under vLLM's names."""

    tensor_parallel_size: int = _option(1, "GPUs that share one copy of the model.")
    data_parallel_size: int | None = _option(
        None, "Copies of the model that sample side by side (default: as many as the visible GPUs hold)."
    )
    gpu_memory_utilization: float | None = _option(
        None, "Fraction of a GPU's memory for the engine (default: vLLM's; on a CPU, 1/4 of free memory)."
    )
    max_model_len: int | None = _option(
        None, "Context length in tokens, prompt and response together (default: the model's)."
    )
    max_num_seqs: int | None = _option(None, "Responses that the engine generates at once.")
    dtype: str = _option("auto", "Type of weights and activations: auto, bfloat16, float16 or float32.")
    enforce_eager: bool = _option(False, "Skip compilation and CUDA graphs: starts sooner, runs slower.")
    deterministic: bool = _option(False, "Ask vLLM for batch invariance: the same text for the same seed, slower.")
    engine_arg: dict[str, Any] = _option({}, "Any other vLLM engine argument as KEY=VALUE; may be given several times.")

    def __post_init__(self) -> None:
        for name, instead in NOT_AN_ENGINE_ARG.items():
            _require(name not in self.engine_arg, f"--engine-arg {name}=…: {instead}")
        _require(
            self.tensor_parallel_size >= 1, f"--tensor-parallel-size {self.tensor_parallel_size}: must be at least 1"
        )
        _require(
            self.data_parallel_size is None or self.data_parallel_size >= 1,
            f"--data-parallel-size {self.data_parallel_size}: must be at least 1",
        )
        _require(
            self.max_model_len is None or self.max_model_len >= 2,
            f"--max-model-len {self.max_model_len}: must be at least 2",
        )
        _require(
            self.max_num_seqs is None or self.max_num_seqs >= 1,
            f"--max-num-seqs {self.max_num_seqs}: must be at least 1",
        )
        used = self.gpu_memory_utilization
        _require(used is None or 0 < used <= 1, f"--gpu-memory-utilization {used}: must be above 0, at most 1")
        _require(self.dtype in DTYPES, f"--dtype {self.dtype}: choose one of {', '.join(DTYPES)}")


MOST_GRADERS = 1_000
"""Grading processes that one call may start; each takes about 100 MB."""
Truncated = Literal["zero", "grade"]
TRUNCATED: tuple[Truncated, ...] = get_args(Truncated)


@dataclass(frozen=True)
class GraderOptions:
    """How responses are graded."""

    verifier: str | None = _option(
        None,
        "math-verify, math-verify-plain (the library as it is), dapo, exact, choice, reasoning-gym or FILE.py:FUNCTION"
        " with verl's compute_score signature (default: math-verify; reasoning-gym for generated text answers).",
    )
    also: str | None = _option(
        None, "Second verifier, whose verdicts are kept and compared but never enter the values."
    )
    truncated: Truncated | None = _option(
        None,
        "Score of a response that hit its length limit: zero, or grade what is there, as verl's dapo manager does"
        " (default: zero).",
    )
    grader_workers: int | None = _option(None, "Grading processes (default: one per core, at most 16).")
    grader_seconds: float = _option(10.0, "Seconds that grading one response may take, without its time in the queue.")
    grader_memory_gb: float = _option(4.0, "Memory limit of a grading process, in GB.")

    def __post_init__(self) -> None:
        _require(
            self.truncated is None or self.truncated in TRUNCATED,
            f"--truncated {self.truncated}: choose one of {', '.join(TRUNCATED)}",
        )
        _require(self.also is None or self.also != self.verifier, f"--also {self.also}: that is already the verifier")
        _require(
            self.grader_workers is None or self.grader_workers >= 1,
            f"--grader-workers {self.grader_workers}: must be at least 1",
        )
        _require(
            self.grader_workers is None or self.grader_workers <= MOST_GRADERS,
            f"--grader-workers {self.grader_workers}: must be at most {MOST_GRADERS:,}",
        )
        _require(0 < self.grader_seconds < math.inf, f"--grader-seconds {self.grader_seconds:g}: must be above 0")
        _require(
            1 <= self.grader_memory_gb < math.inf, f"--grader-memory-gb {self.grader_memory_gb:g}: must be at least 1"
        )


TOOLS = ("python", "none")


@dataclass(frozen=True)
class ToolOptions:
    """The code interpreter that a policy may use."""

    tools: str | None = _option(None, "python (run the programs that responses write between <code> tags) or none.")
    max_tool_turns: int = _option(8, "Programs that a response may run; a response that asks for more is truncated.")
    tool_seconds: float = _option(30.0, "Time limit of one program, in seconds.")
    tool_memory_mb: int = _option(1024, "Memory limit of one program, in MB.")
    tool_output_chars: int = _option(
        2000, "Characters of a program's output that the model sees; the middle of a longer output is left out."
    )
    sandbox: str = _option(
        "local", "local (bubblewrap on this machine), or http://HOST:PORT of `spo-data sandbox` or SandboxFusion."
    )
    sandbox_unsafe: bool = _option(
        False, "Run programs without bubblewrap: they can read, write and send whatever you can."
    )

    def __post_init__(self) -> None:
        _require(self.tools is None or self.tools in TOOLS, f"--tools {self.tools}: choose one of {', '.join(TOOLS)}")
        _require(self.max_tool_turns >= 1, f"--max-tool-turns {self.max_tool_turns}: must be at least 1")
        _require(0 < self.tool_seconds < math.inf, f"--tool-seconds {self.tool_seconds:g}: must be above 0")
        _require(self.tool_memory_mb >= 128, f"--tool-memory-mb {self.tool_memory_mb}: must be at least 128")
        _require(self.tool_output_chars >= 1, f"--tool-output-chars {self.tool_output_chars}: must be at least 1")
        is_http = self.sandbox.startswith(("http://", "https://")) and self.sandbox.partition("//")[2].strip("/") != ""
        _require(is_http or self.sandbox == "local", f"--sandbox {self.sandbox}: local, or http://HOST:PORT")
        _require(
            not is_http or "@" not in self.sandbox.partition("//")[2].partition("/")[0],
            "--sandbox: run.json would record the password with the command; put user and password into ~/.netrc",
        )
        _require(not (is_http and self.sandbox_unsafe), "--sandbox-unsafe applies only to --sandbox local")

        for name in () if self.enabled else list(self.__dataclass_fields__)[1:]:
            default = self.__dataclass_fields__[name].default
            _require(
                getattr(self, name) == default,
                f"{option_of(name)}: responses have no interpreter; --tools python gives them one",
            )

    @property
    def enabled(self) -> bool:
        """Whether responses have an interpreter."""
        return self.tools == "python"


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UserError(otherwise)


PUBLISHED_PROMPTS = PromptOptions(dataset="open-r1/DAPO-Math-17k-Processed", dataset_config="en")
"""With the answer instruction of `boxed`, these are the prompts of the published values."""
