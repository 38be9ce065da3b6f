"""The options of `spo-train`.

    options = TrainOptions(offline_values="runs/demo", overrides=("trainer.spo.half_divergence=0.03",))
    options.parsed_overrides()

Options that are not given follow from the values, the preset or the machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_data.models.names import full_name
from spo_data.options import PUBLISHED_PROMPTS, PromptOptions, Truncated
from spo_train.config.compose import Override, parse_overrides
from spo_train.config.keys import (
    CHAT_TEMPLATE_KEY,
    GPUS_KEY,
    LOOP_FILE_KEY,
    MODEL_PATH_KEY,
    NODES_KEY,
    REWARD_KWARGS,
    SPO,
    TEMPLATE_KWARGS_KEY,
    TRAIN_FILES_KEY,
    VAL_FILES_KEY,
)
from spo_train.config.train_choice import Preset
from spo_train.spo.settings import Method

if TYPE_CHECKING:
    from spo_data.values.table import ValueTable

PAPER_MODEL = "Qwen/Qwen3-8B"
OWN_OPTIONS = {
    MODEL_PATH_KEY: "--model",
    TRAIN_FILES_KEY: "--train-files",
    VAL_FILES_KEY: "--val-files",
    CHAT_TEMPLATE_KEY: "--chat-template",
    TEMPLATE_KWARGS_KEY: "--chat-template-kwargs",
    NODES_KEY: "--nodes",
    GPUS_KEY: "--gpus-per-node",
    f"{SPO}.method": "--method",
    f"{SPO}.values": "--offline-values",
    f"{REWARD_KWARGS}.verifier": "--verifier",
    f"{REWARD_KWARGS}.stop": "--stop",
    f"{REWARD_KWARGS}.truncated": "--truncated",
    LOOP_FILE_KEY: "--tools, --stop and --template, from which spo-train writes the file",
}
"""Settings of verl that have an option, because spo-train derives more from them."""


@dataclass(frozen=True)
class TrainOptions:
    """The user's options; None for what follows from the values, the preset or the machine."""

    offline_values: str | None
    revision: str | None = None
    model: str | None = None
    model_revision: str | None = None
    train: PromptOptions | None = None
    validation: tuple[PromptOptions, ...] = ()
    template: str | None = None
    """Also in `train` and `validation`; here for the values' own prompts, as in `make_training_data`."""
    stop: tuple[str, ...] | None = None
    chat_template: str | None = None
    """A file."""
    chat_template_kwargs: Mapping[str, Any] | None = None
    verifier: str | None = None
    truncated: Truncated | None = None
    tools: str | None = None
    """This and the next six options are fields of `ToolOptions`."""
    max_tool_turns: int | None = None
    tool_seconds: float | None = None
    tool_memory_mb: int | None = None
    tool_output_chars: int | None = None
    sandbox: str | None = None
    sandbox_unsafe: bool = False
    method: Method = "spo"
    preset: Preset | None = None
    nodes: int = 1
    gpus_per_node: int | None = None
    out: Path | None = None
    resume: bool = False
    allowed: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    command: str = "spo-train …"

    def __post_init__(self) -> None:
        if self.offline_values is None and self.method == "spo":
            raise UserError("--method spo starts from --offline-values: a run folder, a file or a Hub id")
        if self.offline_values is None and (self.train is None or self.model is None):
            raise UserError(f"--method {self.method} needs --offline-values, or --train-files and --model")
        for option, number in (("--nodes", self.nodes), ("--gpus-per-node", self.gpus_per_node)):
            if number is not None and number < 1:
                raise UserError(f"{option} {number}: must be at least 1")

    def parsed_overrides(self) -> tuple[Override, ...]:
        """Parse the overrides; raises UserError for one that is malformed or has an option of its own."""
        overrides = parse_overrides(self.overrides)
        for override in overrides:
            for key, option in OWN_OPTIONS.items():
                if override.key == key or override.key.startswith(f"{key}."):
                    raise UserError(f"{override.text}: use {option}")
        return overrides

    def default_out(self) -> Path:
        """Return the folder if the user names none, after the values, or the training files, and the method."""
        source = Path(self.offline_values or (self.train.dataset if self.train else "training"))
        name = source.stem if source.suffix in (".parquet", ".json", ".jsonl") else source.name
        return Path("runs") / f"train-{name}-{self.method}"


def of_the_paper(options: TrainOptions, values: "ValueTable", note: Callable[[str], None]) -> TrainOptions:
    """Fill in the paper's model, interpreter and prompts for values without a manifest, if the user gave none.

    `note` is called for each. The interpreter is only filled in for the paper's model: whether another ran programs is
    unknown.
    """
    import pyarrow.compute as pc

    model = options.model or PAPER_MODEL
    if options.model is None:
        options = replace(options, model=model)
        note(f"--model {PAPER_MODEL}: the paper's model, since the values do not name theirs")
    if options.tools is None and full_name(model) == PAPER_MODEL:
        options = replace(options, tools="python")
        note("--tools python: the paper's policy runs programs, and the values do not say otherwise (--tools none)")
    if options.train is None and not pc.any(pc.not_equal(values.table.column("ground_truth"), "")).as_py():
        options = replace(options, train=replace(PUBLISHED_PROMPTS, template=options.template))
        note(
            f"--train-files {PUBLISHED_PROMPTS.dataset} --dataset-config {PUBLISHED_PROMPTS.dataset_config}:"
            " the paper's prompts, since the values have no ground truths"
        )
    return options
