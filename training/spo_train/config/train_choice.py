"""What `spo-train` trains, and how large a step is, by preset, method and the user's settings.

choice = Choice(method="spo", preset="paper", model="Qwen/Qwen3-8B", out=Path("runs/train"), prompts=13_904)
sizes_of(choice, {"data.train_batch_size": 512}).prompts        # 512; without the user's setting 2048
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from spo_data.options import Truncated
from spo_train.config.keys import (
    BATCH_KEY,
    EPOCHS_KEY,
    MODE_KEY,
    PROMPT_TOKENS_KEY,
    RESPONSE_TOKENS_KEY,
    RESPONSES_KEY,
    ROLLOUT,
    ROLLOUT_NODES_KEY,
    STEPS_KEY,
    SYNC,
)
from spo_train.config.memory_settings import Machine
from spo_train.spo.settings import Method

Preset = Literal["paper", "small", "demo"]

SAMPLES = {"paper": 2048, "small": 256, "demo": 16}
"""Responses in a step."""
UPDATES = {"paper": 8, "small": 4, "demo": 2}
"""Updates of the model in a step."""
STEPS = {"paper": 500, "small": 500, "demo": 20}
PROMPT_TOKENS = {"paper": 2_048, "small": 2_048, "demo": 64}
RESPONSE_TOKENS = {"paper": 16_384, "small": 16_384, "demo": 96}
FEW_GPUS = 2
"""With at most so many, a step of the paper's size would take hours."""
GROUP = 8
"""Responses to one prompt with GRPO."""


@dataclass(frozen=True)
class Choice:
    """The model, the prompts, and how responses are drawn and graded."""

    method: Method
    preset: Preset
    model: str
    """A folder, or a Hub id."""
    out: Path
    prompts: int
    """How many training prompts there are."""
    longest_prompt: int = 0
    """Tokens of the longest one."""
    validation: bool = False
    """Whether there are validation prompts."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    response_tokens: int | None = None
    """None for the preset's length."""
    stop: tuple[str, ...] = ()
    chat_template: str | None = None
    """None for the model's own."""
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    verifier: str = "math-verify"
    verifier_version: str = ""
    """The version that must grade; empty for the one that is there when training starts."""
    truncated: Truncated = "zero"
    thinking: bool = False
    """Whether a response begins inside a thinking block."""
    nodes: int = 1
    gpus_per_node: int = 8
    attention_heads: int | None = None
    """None if the model's configuration does not say; sequence and tensor parallel sizes must divide it."""
    resume: bool = False
    machine: Machine | None = None
    """What an update has to fit into; None on a CPU, or if the model's dimensions are unknown."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a step, from which other settings are derived."""

    prompts: int
    responses: int
    """Responses to one prompt."""
    prompt_tokens: int
    response_tokens: int
    steps: int | None
    """None if the user counts epochs."""
    rollout_devices: int
    """Devices that sample while others train; 0 if the same devices do both."""

    @property
    def context_length(self) -> int:
        """Tokens of the longest prompt and response together."""
        return self.prompt_tokens + self.response_tokens


def sizes_of(choice: Choice, asked: Mapping[str, Any]) -> Sizes:
    """Return the preset's sizes, each replaced by the user's setting if `asked` has one."""
    preset = choice.preset
    responses = GROUP if choice.method == "grpo" else 1
    prompts = SAMPLES[preset] // responses
    prompt_tokens = PROMPT_TOKENS[preset]
    mode = asked.get(MODE_KEY, SYNC)
    if preset == "demo":
        # Asynchronous modes have as many prompts in flight as in a batch.
        free = choice.prompts if mode == SYNC else choice.prompts // 2
        prompts = min(prompts, free // UPDATES[preset] * UPDATES[preset]) or 1
        prompt_tokens = max(prompt_tokens, _round_up(choice.longest_prompt, 64))
    return Sizes(
        prompts=_get_integer(asked, BATCH_KEY, prompts),
        responses=_get_integer(asked, RESPONSES_KEY, responses),
        prompt_tokens=_get_integer(asked, PROMPT_TOKENS_KEY, prompt_tokens),
        response_tokens=_get_integer(asked, RESPONSE_TOKENS_KEY, choice.response_tokens or RESPONSE_TOKENS[preset]),
        steps=None if EPOCHS_KEY in asked and STEPS_KEY not in asked else _get_integer(asked, STEPS_KEY, STEPS[preset]),
        rollout_devices=_get_integer(asked, ROLLOUT_NODES_KEY, 0)
        * _get_integer(asked, f"{ROLLOUT}.n_gpus_per_node", choice.gpus_per_node),
    )


def _get_integer(asked: Mapping[str, Any], key: str, default: int) -> int:
    value = asked.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
