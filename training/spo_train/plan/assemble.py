"""From `spo-train`'s options to a training run that is ready to start: data, parity, configuration.

    plan = plan_training(TrainOptions(offline_values="runs/demo"), print)
    plan.parity       # the values' policy against the rollout's, to be shown
    plan.check()      # raises UserError for the first problem

Nothing is written: `plan.folder` does that.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spo_data.engines.accelerators import Accelerators, find_accelerators
from spo_train.config.checks import is_sound
from spo_train.config.keys import CHECKPOINTS_KEY, RAY_ADDRESS_KEY
from spo_train.config.setting_kinds import check_kinds
from spo_train.config.train_choice import FEW_GPUS, Choice
from spo_train.filenames import CHECKPOINTS
from spo_train.literal import check_path, check_template
from spo_train.plan.checkpoint_size import CheckpointSize, find_checkpoint_size
from spo_train.plan.composition import choose_preset, compose_choice, note_memory, note_preset
from spo_train.plan.machine import describe_machine
from spo_train.plan.memory_check import MemoryPlan, expect_memory, refuse_memory
from spo_train.plan.ray_resources import reserve_cpus
from spo_train.plan.startup import check_startup, list_notes, refuse_node
from spo_train.plan.train_options import TrainOptions, of_the_paper
from spo_train.plan.written_config import count_steps

if TYPE_CHECKING:
    import pyarrow as pa
    from omegaconf import DictConfig

    from spo_data.models.chat import Chat
    from spo_data.models.heads import Heads
    from spo_data.models.names import Model
    from spo_data.options import ToolOptions
    from spo_data.provenance import Provenance
    from spo_data.values.table import ValueTable
    from spo_train.data.training_rows import TrainingData
    from spo_train.plan.parity import ParityRow
    from spo_train.plan.record import TrainRecord


@dataclass(frozen=True)
class TrainPlan:
    """A training run that is ready to be checked, shown, written and started."""

    options: TrainOptions
    values: "ValueTable | None"
    data: "TrainingData"
    validation: "pa.Table | None"
    model: "Model"
    heads: "Heads | None"
    chat: "Chat"
    tools: "ToolOptions"
    devices: Accelerators
    choice: Choice
    config: "DictConfig"
    parity: "tuple[ParityRow, ...]"
    record: "TrainRecord"
    before: "TrainRecord | None"
    """The record of the training run in the folder; None if there is none."""
    notes: tuple[str, ...]
    """Remarks for the user, one sentence each."""

    @property
    def out(self) -> Path:
        """The folder of the training run."""
        return self.choice.out

    @property
    def checkpoints(self) -> Path:
        """The folder of verl's checkpoints."""
        return Path(str(self.config.trainer.default_local_dir))

    @property
    def steps(self) -> int:
        """The number of training steps."""
        return count_steps(self.config, self.choice.prompts)

    @property
    def checkpoint_size(self) -> CheckpointSize:
        """What the checkpoints take."""
        return find_checkpoint_size(self.config, self.model, self.steps)

    @property
    def reads_first_responses(self) -> bool:
        """Whether first visits are measured with responses of the estimate.

        Another model's tokenizer would read their token ids as other text.
        """
        same_model = all(row.status == "same" for row in self.parity if row.field in ("model", "chat_template"))
        return self.values is not None and self.options.method == "spo" and same_model

    @property
    def memory(self) -> MemoryPlan | None:
        """The memory that training is expected to take; None on a CPU, or if the model's dimensions are unknown."""
        if self.choice.machine is None or not is_sound(self.config):
            return None
        return expect_memory(self.config, self.choice.machine)

    def changed_settings(self) -> list[str]:
        """Return the settings of the training run to resume that this call changes, with both values."""
        from spo_train.plan.changed_settings import list_changed_settings

        return list_changed_settings(self.out, self.config) if self.before and self.options.resume else []

    def as_dict(self) -> dict[str, Any]:
        """The plan for JSON, before or after `check`."""
        from spo_train.plan.resume_point import checkpoint_facts

        values, coverage, actor = self.values, self.data.coverage, self.config.actor_rollout_ref.actor
        return {
            "method": self.options.method,
            "preset": self.choice.preset,
            "model": self.model.name,
            "model_revision": self.model.revision,
            "values": None if values is None else {"source": values.source, "revision": values.revision},
            "parity": [
                {**asdict(row), "allowed": row.status == "differs" and row.field in self.options.allowed}
                for row in self.parity
            ],
            "prompts": coverage.prompts,
            "longest_prompt": self.choice.longest_prompt,
            "validation_rows": 0 if self.validation is None else len(self.validation),
            "prompts_per_step": self.config.data.train_batch_size,
            "responses_per_prompt": self.config.actor_rollout_ref.rollout.n,
            "prompts_per_update": actor.ppo_mini_batch_size,
            "max_prompt_tokens": self.config.data.max_prompt_length,
            "max_response_tokens": self.config.data.max_response_length,
            "learning_rate": actor.optim.lr,
            "clip": [actor.clip_ratio_low, actor.clip_ratio_high],
            "tools": None if self.record.tools is None else str(self.record.tools),
            "device": self.devices.name,
            "devices": self.config.trainer.nnodes * self.config.trainer.n_gpus_per_node,
            "memory": None if self.memory is None else self.memory.as_dict(),
            "changed_settings": self.changed_settings(),
            "notes": list(self.notes),
            "out": str(self.out),
            "checkpoints": str(self.checkpoints),
            **checkpoint_facts(self),
        }

    def check(self) -> None:
        """Raise UserError for the first problem of the plan."""
        from spo_data.engines.tool_loop import refuse_stops
        from spo_data.prompts.template import tool_wording
        from spo_train.config.checks import check_config, check_with_verl
        from spo_train.config.unsupported import refuse_device
        from spo_train.data.first_responses import check_samples_are_cached
        from spo_train.plan.parity import refuse_mismatches
        from spo_train.plan.record import refuse_another
        from spo_train.plan.resume_point import find_resume_point
        from spo_train.plan.tool_options import check_interpreter
        from spo_train.plan.training_prompts import describe_changed_rows

        # Before the parity of the values: values that are graded again, as that would advise, are other values.
        if self.before is not None and self.options.resume:
            describe = partial(describe_changed_rows, self.out, self.data, self.choice.verifier)
            refuse_another(self.before, self.record, self.options.allowed, describe)
        # Only SPO has a baseline, which could belong to a different policy.
        refuse_mismatches(self.parity if self.options.method == "spo" else (), self.options.allowed)
        if self.values is not None and self.reads_first_responses:
            check_samples_are_cached(self.values)
        tool_wording(self.data.template, with_tools=self.tools.enabled)
        if self.tools.enabled:
            refuse_stops(self.choice.stop)
        refuse_device(self.config, on_cpu=self.devices.on_cpu)
        check_config(self.config, self.choice, self.chat.context_length)
        find_resume_point(self)
        check_interpreter(self.tools)
        if self.choice.machine is not None:
            refuse_memory(self.config, self.choice.machine)
        check_with_verl(self.config)
        check_startup(self.config, self.heads, self.checkpoint_size, self.devices)


def plan_training(options: TrainOptions, note: Callable[[str], None] = lambda _: None) -> TrainPlan:
    """Read values, prompts and model, and compose the configuration; raises UserError if one of these fails.

    `note` is called before what takes a while.
    """
    overrides = options.parsed_overrides()
    out = (options.out or options.default_out()).expanduser().absolute()

    from spo_data.formats.load import load_values
    from spo_data.grading.verifiers.registry import load_verifier, verifier_version
    from spo_data.models.cached import check_weights
    from spo_data.models.chat import load_chat, read_chat_template
    from spo_train.data.training_rows import make_training_data
    from spo_train.data.validation_rows import make_validation_rows
    from spo_train.plan.divided_heads import read_heads
    from spo_train.plan.model import choose_model, find_longest_prompt
    from spo_train.plan.parity import check_complete, list_unmatched, rollout_defaults
    from spo_train.plan.record import make_record, refuse_folder
    from spo_train.plan.tool_options import choose_tools, choose_wording, note_tools
    from spo_train.plan.weights import refuse_missing_weights

    asked = {override.key: override.value for override in overrides}
    checkpoints = Path(str(asked.get(CHECKPOINTS_KEY) or out / CHECKPOINTS))
    before = refuse_folder(out, checkpoints, resume=options.resume, again=options.command)
    values = None if options.offline_values is None else load_values(options.offline_values, options.revision)
    provenance = None if values is None else values.provenance
    devices = find_accelerators()
    refuse_node(options.nodes, devices, asked.get(RAY_ADDRESS_KEY))
    gpus = 0 if devices.on_cpu else options.nodes * (options.gpus_per_node or devices.count)
    preset = choose_preset(options.preset, before, gpus)
    notes = [] if values is None or values.note is None else [values.note]
    if preset == "small" and options.preset is None and before is None:
        notes.append(note_preset(preset, gpus))
    if options.preset == "paper" and 0 < gpus <= FEW_GPUS:
        notes.append(note_preset("paper", gpus))
    if values is not None and provenance is None and preset != "demo":
        options = of_the_paper(options, values, notes.append)
    defaults = rollout_defaults(provenance)
    tools = choose_tools(options, defaults.tools)
    verifier = _make_absolute(options.verifier or defaults.verifier)
    load_verifier(verifier)
    model = choose_model(options, defaults)
    check_path("--out", out)
    check_path("--model", model.path)
    check_weights(model)  # of the Hub's cache first: it names the command that fetches them
    if model.hub_revision is None:
        refuse_missing_weights(Path(model.path))
    given = options.chat_template_kwargs
    template = read_chat_template(options.chat_template)
    if options.chat_template is None and (options.model is None or model.name == defaults.model):
        template = defaults.chat_template_text
    if template is not None:
        check_template(template)
    chat = load_chat(model, defaults.chat_template_kwargs if given is None else given, template=template)
    heads = read_heads(model)
    table = _make_empty_values() if values is None else values
    data = make_training_data(table, options.train, options.template)
    if tools.enabled and provenance is None and options.template is None and data.template == "boxed":
        data = replace(data, template="retool")  # estimate's default with tools; it words prompts alike
    chat = replace(chat, wording=choose_wording(tools, data.template))
    validation = make_validation_rows(options.validation, table, notes.append) if options.validation else None
    note(f"counting the tokens of {len(data.prompts):,} prompts …")
    # Values of a template with a date do not say of which day they are: no date equals theirs.
    longest = find_longest_prompt(
        data, validation, chat, "" if provenance is None else " --allow-mismatch chat_template"
    )
    choice = Choice(
        method=options.method,
        preset=preset,
        model=model.path,
        out=out,
        prompts=len(data.prompts),
        longest_prompt=longest,
        validation=validation is not None,
        temperature=defaults.temperature,
        top_p=defaults.top_p,
        top_k=defaults.top_k,
        response_tokens=None if provenance is None else defaults.max_tokens,
        stop=defaults.stop if options.stop is None else options.stop,
        chat_template=template,
        template_kwargs=chat.template_kwargs,
        verifier=verifier,
        verifier_version=verifier_version(verifier),
        truncated=options.truncated or defaults.truncated,
        thinking=chat.opens_thinking,
        nodes=options.nodes,
        gpus_per_node=options.gpus_per_node or devices.count,
        attention_heads=None if heads is None else heads.powers,
        resume=options.resume,
        machine=describe_machine(devices, model),
    )
    config = compose_choice(choice, overrides, on_cpu=devices.on_cpu)
    check_kinds(config)  # the plan itself is derived from these settings
    if is_sound(config):
        reserve_cpus(config, options.nodes)
    if devices.on_cpu:
        notes.append("no accelerator: verl runs on the CPU, with the platform and the settings of verl_cpu")
    else:
        notes += note_memory(config, choice)
    if values is not None:
        notes += list_unmatched(provenance)
    notes += note_tools(tools, data.template, data.prompts)
    if is_sound(config):
        size = find_checkpoint_size(config, model, count_steps(config, choice.prompts))
        notes += list_notes(config, size, devices)
    return TrainPlan(
        options=options,
        values=values,
        data=data,
        validation=validation,
        model=model,
        heads=heads,
        chat=chat,
        tools=tools,
        devices=devices,
        choice=choice,
        config=config,
        parity=(*_compare(choice, config, data, model, chat, tools, provenance), check_complete(values)),
        record=make_record(options, choice, data, model, chat, tools, values),
        before=before,
        notes=(*data.notes, *notes),
    )


def _make_absolute(verifier: str) -> str:
    """Make a reward function's path absolute: the processes that load it start in other folders."""
    path, found, function = verifier.rpartition(".py:")
    return f"{Path(path).expanduser().absolute()}{found}{function}" if found else verifier


def _make_empty_values() -> "ValueTable":
    from spo_data.values.schema import values_schema
    from spo_data.values.table import ValueTable

    return ValueTable(values_schema().empty_table(), "no values")


def _compare(
    choice: Choice,
    config: "DictConfig",
    data: "TrainingData",
    model: "Model",
    chat: "Chat",
    tools: "ToolOptions",
    provenance: "Provenance | None",
) -> "tuple[ParityRow, ...]":
    """Compare the values' policy with that of the configuration, whoever set it."""
    from spo_data.provenance import ToolsRecord
    from spo_train.plan.parity import RolloutPolicy, compare_policies

    rollout = config.actor_rollout_ref.rollout
    policy = RolloutPolicy(
        model=model.name,
        revision=model.revision,
        temperature=float(rollout.temperature),
        top_p=float(rollout.top_p),
        top_k=int(rollout.top_k),
        max_tokens=int(rollout.response_length),
        stop=choice.stop,
        template=data.template,
        system=data.system,
        chat_template=chat.template_sha256,
        chat_template_kwargs=choice.template_kwargs,
        tools=ToolsRecord.of(tools),
        verifier=choice.verifier,
        verifier_version=choice.verifier_version,
        truncated=choice.truncated,
    )
    return compare_policies(provenance, policy, data.coverage)
