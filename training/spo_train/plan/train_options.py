"""What `spo-train` is asked for.

    options = TrainOptions(offline_values="runs/demo", overrides=("trainer.spo.half_divergence=0.03",))
    options.parsed_overrides()

What was not asked for follows from the values, the preset or the machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_data.models.names import full_name
from spo_data.options import PromptOptions
from spo_train.config.compose import Override, parse_overrides
from spo_train.config.preset import Preset
from spo_train.spo.settings import Method

if TYPE_CHECKING:
    from spo_data.values.table import ValueTable

PAPER_MODEL = "Qwen/Qwen3-8B"
PAPER_PROMPTS = PromptOptions(dataset="open-r1/DAPO-Math-17k-Processed", dataset_config="en")
"""With the answer instruction that `boxed` adds, these are the prompts of the published values."""
OWN_OPTIONS = {
    "actor_rollout_ref.model.path": "--model",
    "data.train_files": "--train-files",
    "data.val_files": "--val-files",
    "data.apply_chat_template_kwargs": "--chat-template-kwargs",
    "trainer.nnodes": "--nodes",
    "trainer.n_gpus_per_node": "--gpus-per-node",
    "trainer.spo.method": "--method",
    "trainer.spo.values": "--offline-values",
    "reward.reward_kwargs.verifier": "--verifier",
    "reward.reward_kwargs.stop": "--stop",
    "actor_rollout_ref.rollout.agent.agent_loop_config_path": "--tools, --stop, --template: it is written of them",
}
"""Settings that more follows from than verl's: they have an option."""


@dataclass(frozen=True)
class TrainOptions:
    """What the user asked for; None for what follows from the values, the preset or the machine."""

    offline_values: str | None
    revision: str | None = None
    model: str | None = None
    model_revision: str | None = None
    train: PromptOptions | None = None
    validation: tuple[PromptOptions, ...] = ()
    template: str | None = None
    """Also in `train` and `validation`; here for the values' own prompts, as in `training_data`."""
    stop: tuple[str, ...] | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    verifier: str | None = None
    tools: str | None = None
    """This and the next ones are `ToolOptions`."""
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
                raise UserError(f"{option} {number}: at least 1")

    def parsed_overrides(self) -> tuple[Override, ...]:
        """The overrides; raises UserError where one is none, and for a setting that has an option."""
        overrides = parse_overrides(self.overrides)
        for override in overrides:
            for key, option in OWN_OPTIONS.items():
                if override.key == key or override.key.startswith(f"{key}."):
                    raise UserError(f"{override.text}: use {option}")
        return overrides

    def default_out(self) -> Path:
        """Where it goes if the user does not say: named after the values, or the training files, and the method."""
        source = Path(self.offline_values or (self.train.dataset if self.train else "training"))
        name = source.stem if source.suffix in (".parquet", ".json", ".jsonl") else source.name
        return Path("runs") / f"train-{name}-{self.method}"


def of_the_paper(options: TrainOptions, values: "ValueTable", note: Callable[[str], None]) -> TrainOptions:
    """The paper's model, interpreter and prompts where values without a manifest leave them open.

    `note` is told of each. Another model than the paper's is another policy: whether it ran programs is not known.
    """
    import pyarrow.compute as pc

    model = options.model or PAPER_MODEL
    if options.model is None:
        options = replace(options, model=model)
        note(f"--model {PAPER_MODEL}: the paper's, as the values do not name theirs")
    if options.tools is None and full_name(model) == PAPER_MODEL:
        options = replace(options, tools="python")
        note("--tools python: the paper's policy runs programs, and the values do not say otherwise (--tools none)")
    if options.train is None and not pc.any(pc.not_equal(values.table.column("ground_truth"), "")).as_py():
        options = replace(options, train=replace(PAPER_PROMPTS, template=options.template))
        note(
            f"--train-files {PAPER_PROMPTS.dataset} --dataset-config {PAPER_PROMPTS.dataset_config}: the paper's, as"
            " the values have no ground truths"
        )
    return options
