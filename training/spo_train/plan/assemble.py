"""From `spo-train`'s options to a training that is ready to start: data, parity, configuration.

    plan = plan_training(TrainOptions(offline_values="runs/demo"), print)
    plan.parity       # the values' policy against the rollout's, to be shown
    plan.check()      # raises UserError for the first thing that is wrong with it

Nothing is written: `training_folder` does that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.errors import UserError
from spo_train.config.compose import Override, compose_config
from spo_train.config.keys import CHECKPOINTS_KEY
from spo_train.config.preset import Choice, Preset, preset_overrides, sizes_of
from spo_train.filenames import CHECKPOINTS
from spo_train.plan.accelerators import Accelerators, check_attention, find_accelerators
from spo_train.plan.train_options import TrainOptions, of_the_paper

if TYPE_CHECKING:
    import pyarrow as pa
    from omegaconf import DictConfig

    from spo_data.models.chat import Chat
    from spo_data.models.names import Model
    from spo_data.options import ToolOptions
    from spo_data.provenance import Provenance
    from spo_data.values.table import ValueTable
    from spo_train.data.training_rows import TrainingData
    from spo_train.plan.parity import ParityRow, RolloutDefaults
    from spo_train.plan.record import TrainRecord


@dataclass(frozen=True)
class TrainPlan:
    """A training that is ready to be checked, shown, written and started."""

    options: TrainOptions
    values: "ValueTable | None"
    data: "TrainingData"
    validation: "pa.Table | None"
    model: "Model"
    chat: "Chat"
    tools: "ToolOptions"
    devices: Accelerators
    choice: Choice
    config: "DictConfig"
    parity: "tuple[ParityRow, ...]"
    record: "TrainRecord"
    before: "TrainRecord | None"
    """What was trained in the folder before."""
    notes: tuple[str, ...]
    """What a reader should know, one sentence each."""

    @property
    def out(self) -> Path:
        """The folder of the training."""
        return self.choice.out

    @property
    def checkpoints(self) -> Path:
        """Where verl keeps its checkpoints."""
        return Path(str(self.config.trainer.default_local_dir))

    @property
    def steps(self) -> int:
        """How many steps it takes."""
        steps = self.config.trainer.total_training_steps
        an_epoch = self.choice.prompts // int(self.config.data.train_batch_size)
        return int(steps or an_epoch * self.config.trainer.total_epochs)

    def check(self) -> None:
        """Raise UserError for the first thing that is wrong with it."""
        from spo_data.engines.tool_loop import refuse_stops
        from spo_data.prompts.template import tool_wording
        from spo_train.config.checks import check_config, check_with_verl
        from spo_train.config.unsupported import refuse_device
        from spo_train.plan.parity import refuse_mismatches
        from spo_train.plan.record import refuse_another
        from spo_train.plan.tool_options import check_interpreter

        # Other methods have no baseline that could be another policy's.
        refuse_mismatches(self.parity if self.options.method == "spo" else (), self.options.allowed)
        tool_wording(self.data.template, with_tools=self.tools.enabled)
        if self.tools.enabled:
            refuse_stops(self.choice.stop)
        refuse_device(self.config, on_cpu=self.devices.on_cpu)
        check_config(self.config, self.choice, self.chat.context_length)
        if self.before is not None and self.options.resume:
            refuse_another(self.before, self.record)
        check_interpreter(self.tools)
        check_with_verl(self.config)
        if not self.devices.on_cpu:
            check_attention(self.config)


def plan_training(options: TrainOptions, note: Callable[[str], None] = lambda _: None) -> TrainPlan:
    """Read values, prompts and model, and compose the configuration; raises UserError where one of them cannot be.

    `note` is told of what takes a while.
    """
    overrides = options.parsed_overrides()
    out = (options.out or options.default_out()).expanduser().absolute()

    from spo_data.grading.verifiers.registry import load_verifier
    from spo_data.load import load_values
    from spo_data.models.chat import load_chat
    from spo_train.data.training_rows import make_training_data, make_validation_rows
    from spo_train.plan.parity import list_unmatched, rollout_defaults
    from spo_train.plan.record import refuse_folder
    from spo_train.plan.tool_options import choose_tools, choose_wording, note_tools

    asked = {override.key: override.value for override in overrides}
    checkpoints = Path(str(asked.get(CHECKPOINTS_KEY) or out / CHECKPOINTS))
    before = refuse_folder(out, checkpoints, resume=options.resume, again=options.command)
    values = None if options.offline_values is None else load_values(options.offline_values, options.revision)
    provenance = None if values is None else values.provenance
    devices = find_accelerators()
    preset: Preset = options.preset or ("demo" if devices.on_cpu else "paper")
    notes: list[str] = []
    if values is not None and provenance is None and preset == "paper":
        options = of_the_paper(options, values, notes.append)
    defaults = rollout_defaults(provenance)
    tools = choose_tools(options, defaults.tools)
    verifier = _absolute(options.verifier or defaults.verifier)
    load_verifier(verifier)
    model = _model(options, defaults)
    given = options.chat_template_kwargs
    chat = load_chat(model, defaults.chat_template_kwargs if given is None else given)
    table = _no_values() if values is None else values
    data = make_training_data(table, options.train, options.template)
    if tools.enabled and provenance is None and options.template is None and data.template == "boxed":
        data = replace(data, template="retool")  # the default with tools, as in `estimate`: the same prompts
    chat = replace(chat, wording=choose_wording(tools, data.template))
    validation = make_validation_rows(options.validation, table, notes.append) if options.validation else None
    note(f"counting the tokens of {len(data.prompts):,} prompts …")
    longest = _longest(data, validation, chat)
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
        template_kwargs=chat.template_kwargs,
        verifier=verifier,
        thinking=chat.opens_thinking,
        nodes=options.nodes,
        gpus_per_node=options.gpus_per_node or devices.count,
        attention_heads=_attention_heads(model),
        resume=options.resume,
    )
    config = compose_choice(choice, overrides, on_cpu=devices.on_cpu)
    if devices.on_cpu:
        notes.append("no accelerator: verl runs on the CPU, by the platform and the settings in verl_cpu")
    if values is not None:
        notes += list_unmatched(provenance)
    notes += note_tools(tools, data.template, data.prompts)
    return TrainPlan(
        options=options,
        values=values,
        data=data,
        validation=validation,
        model=model,
        chat=chat,
        tools=tools,
        devices=devices,
        choice=choice,
        config=config,
        parity=_parity(choice, config, data, model, chat, tools, provenance),
        record=_record(options, choice, data, model, chat, tools, values),
        before=before,
        notes=(*data.notes, *notes),
    )


def compose_choice(choice: Choice, overrides: Sequence[Override] = (), *, on_cpu: bool) -> "DictConfig":
    """The configuration of a choice: the preset's settings, those of a CPU, the user's overrides."""
    sizes = sizes_of(choice, {override.key: override.value for override in overrides})
    settings = preset_overrides(choice, sizes)
    if on_cpu:
        from verl_cpu.overrides import cpu_overrides

        workers = choice.nodes * choice.gpus_per_node
        settings |= cpu_overrides(choice.model, sizes.context_length, workers, sizes.rollout_devices)
    return compose_config(settings, overrides)


def _model(options: TrainOptions, defaults: "RolloutDefaults") -> "Model":
    """The model to train, at the commit that the values are of where it is the same one."""
    from spo_data.models.names import resolve_model

    if options.model is None:
        if defaults.model is None:
            raise UserError(f"{options.offline_values} does not say which model its values are of: give --model")
        return resolve_model(defaults.model, options.model_revision or defaults.model_revision)
    model = resolve_model(options.model, options.model_revision)
    if model.name == defaults.model and options.model_revision is None and defaults.model_revision is not None:
        return resolve_model(model.name, defaults.model_revision)
    return model


def _absolute(verifier: str) -> str:
    """A reward function's file is loaded by processes that start in other folders."""
    path, found, function = verifier.rpartition(".py:")
    return f"{Path(path).expanduser().absolute()}{found}{function}" if found else verifier


def _no_values() -> "ValueTable":
    from spo_data.values.schema import values_schema
    from spo_data.values.table import ValueTable

    return ValueTable(values_schema().empty_table(), "no values")


def _longest(data: "TrainingData", validation: "pa.Table | None", chat: "Chat") -> int:
    from spo_data.prompts.identity import Message

    conversations = [prompt.messages for prompt in data.prompts]
    turns = [] if validation is None else validation.column("prompt").to_pylist()
    conversations += [tuple(Message(turn["role"], turn["content"]) for turn in each) for each in turns]
    return max(map(len, chat.tokenize(conversations)))


def _attention_heads(model: "Model") -> int | None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model.path, revision=model.hub_revision).get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    return heads if isinstance(heads, int) else None


def _parity(
    choice: Choice,
    config: "DictConfig",
    data: "TrainingData",
    model: "Model",
    chat: "Chat",
    tools: "ToolOptions",
    provenance: "Provenance | None",
) -> "tuple[ParityRow, ...]":
    """What is compared is what the configuration has, whoever set it."""
    from spo_data.grading.verifiers.registry import verifier_version
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
        verifier_version=verifier_version(choice.verifier),
    )
    return compare_policies(provenance, policy, data.coverage)


def _record(
    options: TrainOptions,
    choice: Choice,
    data: "TrainingData",
    model: "Model",
    chat: "Chat",
    tools: "ToolOptions",
    values: "ValueTable | None",
) -> "TrainRecord":
    import importlib.metadata

    from spo_data.grading.verifiers.registry import verifier_version
    from spo_data.provenance import ToolsRecord
    from spo_data.run.manifest import package_versions
    from spo_train.plan.record import TrainRecord, ValuesRecord, prompts_fingerprint, scores_fingerprint

    start = None
    if values is not None:
        scores = scores_fingerprint(data.score_totals, data.score_counts)
        start = ValuesRecord(
            source=values.source, revision=values.revision, fingerprint=scores, provenance=values.provenance
        )
    return TrainRecord(
        method=options.method,
        model=model.name,
        revision=model.revision,
        prompts=len(data.prompts),
        prompts_fingerprint=prompts_fingerprint(data.prompts),
        verifier=choice.verifier,
        verifier_version=verifier_version(choice.verifier),
        values=start,
        tools=ToolsRecord.of(tools),
        wording=None if chat.wording is None else chat.wording.name,
        allowed_mismatches=options.allowed,
        commands=(options.command,),
        packages=package_versions() | {package: importlib.metadata.version(package) for package in ("verl", "ray")},
    )
