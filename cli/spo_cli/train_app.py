"""`spo-train`: Single-stream Policy Optimization on verl, from offline values.

    spo-train --offline-values org/name
    spo-train --offline-values runs/demo --dry-run
    spo-train --offline-values runs/demo --method grpo trainer.total_training_steps=50

Exit status: 0 if the training run took all its steps, 1 if it failed, with the cause on the last line, 2 for wrong
input, 128 + the signal's number after SIGINT, SIGTERM or SIGHUP.
"""

import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.messages import tell
from spo_cli.terminal.parameters import CONTEXT, PROMPTS, TOOLS, VERSION, GivenOptions, parse_json, takes
from spo_cli.terminal.printing import prepare_streams, print_json
from spo_cli.terminal.usage import Command
from spo_data.errors import UserError
from spo_data.run.folders import find_only_run

if TYPE_CHECKING:
    from spo_train.launch.supervise import LaunchOutcome
    from spo_train.plan.assemble import TrainPlan

app = typer.Typer(name="spo-train", context_settings=CONTEXT, pretty_exceptions_enable=False, rich_markup_mode="rich")

FILES_PANEL = "Training files"

FILES = replace(
    PROMPTS.only("dataset_config", "split", "prompt_column", "answer_column", "template", "system"),
    panel=FILES_PANEL,
    helps={
        "template": "Answer instruction of files without one; retool also tells the model about its interpreter"
        " (default: the values').",
    },
)
VALUES_TOOLS = replace(TOOLS, leaves_out_defaults=True, shown_default="the values'")


@app.command(cls=Command)
@takes(files=FILES, tools=VALUES_TOOLS)
def train(
    *,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="verl's own settings; they override the preset's.", show_default=False
        ),
    ] = None,
    offline_values: Annotated[
        str | None,
        typer.Option(
            help="Run folder, parquet or JSON file, or Hub id (default: the one run in runs/).", show_default=False
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of values on the Hub.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="As for estimate (default: the values').", show_default=False),
    ] = None,
    model_revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit of a Hub model (default: the values').", show_default=False),
    ] = None,
    method: Annotated[
        Literal["spo", "grpo", "no-baseline"],
        typer.Option(help="spo, or a method to compare it with: grpo in groups of 8, or no-baseline."),
    ] = "spo",
    preset: Annotated[
        Literal["paper", "small", "demo"] | None,
        typer.Option(
            help="Sizes of the published experiment, small ones for one or two GPUs, or demo for a CPU (default: by the"
            " number of GPUs).",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[int, typer.Option(help="Machines of the Ray cluster.")] = 1,
    gpus_per_node: Annotated[
        int | None, typer.Option(help="Accelerators of each machine, or worker processes on a CPU (default: all).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the training run (default: runs/train-VALUES-METHOD).", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print and check parity and settings; start and write nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print parity, settings and how it ended as JSON on stdout, at the end.")
    ] = False,
    allow_mismatch: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="A row of the parity table that may differ; may be given several times."),
    ] = None,
    train_files: Annotated[
        str | None,
        typer.Option(
            help="As for estimate's --dataset (default: the prompts in the values).",
            rich_help_panel=FILES_PANEL,
            show_default=False,
        ),
    ] = None,
    val_files: Annotated[
        list[str] | None,
        typer.Option(
            help="Validated on every 10 steps; may be given several times.",
            rich_help_panel=FILES_PANEL,
            show_default=False,
        ),
    ] = None,
    files: GivenOptions,
    chat_template: Annotated[
        str | None,
        typer.Option(
            help="As for estimate (default: the values'; else the model's own).",
            rich_help_panel="Policy",
            show_default=False,
        ),
    ] = None,
    chat_template_kwargs: Annotated[
        str | None,
        typer.Option(
            help="Arguments of the model's chat template, as JSON (default: the values').",
            rich_help_panel="Policy",
            show_default=False,
        ),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            help="End a response at this string (default: the values'); may be given several times.",
            rich_help_panel="Policy",
            show_default=False,
        ),
    ] = None,
    verifier: Annotated[
        str | None,
        typer.Option(help="As for estimate (default: the values').", rich_help_panel="Policy", show_default=False),
    ] = None,
    truncated: Annotated[
        Literal["zero", "grade"] | None,
        typer.Option(help="As for estimate (default: the values').", rich_help_panel="Policy", show_default=False),
    ] = None,
    tools: GivenOptions,
    version: Annotated[bool, VERSION] = False,  # noqa: ARG001 # Typer calls VERSION's callback
) -> None:
    """Train a model by SPO on verl: each response is compared with its prompt's offline value.

    Sampling and grading are those of the estimate unless an option changes them. verl's settings follow the options:
    data.train_batch_size=512 trainer.spo.half_divergence=0.03
    """
    with clean_exit() as command:
        from spo_train.plan.train_options import TrainOptions

        reading = files.collect()
        if train_files is None and not val_files and reading.keys() - {"template", "system"}:
            raise UserError(
                "--dataset-config, --split and the columns say how to read --train-files or --val-files: give one"
            )
        if offline_values is None and method == "spo":
            offline_values = str(find_only_run("spo-train --offline-values {run}"))
            tell(f"note: the values are those of {offline_values}, the only run in runs/")
        options = TrainOptions(
            offline_values=offline_values,
            revision=revision,
            model=model,
            model_revision=model_revision,
            train=None if train_files is None else files.make(dataset=train_files),
            validation=tuple(
                files.make(dataset=dataset, dataset_config=None, split=None) for dataset in val_files or ()
            ),
            template=reading.get("template"),
            stop=None if stop is None else tuple(stop),
            chat_template=chat_template,
            chat_template_kwargs=(
                None if chat_template_kwargs is None else parse_json("--chat-template-kwargs", chat_template_kwargs)
            ),
            verifier=verifier,
            truncated=truncated,
            **tools.collect(),
            method=method,
            preset=preset,
            nodes=nodes,
            gpus_per_node=gpus_per_node,
            out=out,
            resume=resume,
            allowed=tuple(allow_mismatch or ()),
            overrides=tuple(overrides or ()),
            command=shlex.join(["spo-train", *sys.argv[1:]]),
        )

        from spo_train.plan.assemble import plan_training

        plan = plan_training(options, tell)
        ended = None
        try:
            if not as_json:
                _print_parity(plan)
            plan.check()
            if not as_json:
                _print_settings(plan)
            for note in plan.notes:
                tell(f"note: {note}")
            command.stop_if_interrupted()
            if not dry_run:
                ended = _run(plan)
        finally:  # a refused plan too: its rows say what differs
            if as_json:
                print_json(_as_dict(plan, ended))
        if ended is not None:
            raise typer.Exit(ended.status)


def main() -> None:
    """Run the command with the arguments of this process, and exit."""
    prepare_streams()
    app()


def _as_dict(plan: "TrainPlan", ended: "LaunchOutcome | None") -> dict[str, object]:
    outcome = None
    if ended is not None:
        from spo_train.checkpoints import read_latest
        from spo_train.filenames import LOG, METRICS

        outcome = {
            **asdict(ended),
            "steps": plan.steps,
            "checkpoint": read_latest(plan.checkpoints),
            "log": str(plan.out / LOG),
            "metrics": str(plan.out / METRICS),
        }
    return {**plan.as_dict(), "outcome": outcome}


def _run(plan: "TrainPlan") -> "LaunchOutcome":
    """Write the folder, train, and print how it ended."""
    from spo_cli.terminal.train_progress import TrainDisplay
    from spo_data.files import clear_write_errors, folder_lock
    from spo_train.filenames import LOG
    from spo_train.launch.supervise import launch
    from spo_train.plan.folder import write_folder
    from spo_train.plan.next_command import suggest_resuming
    from spo_train.plan.resume_point import last_step

    with folder_lock(plan.out, "spo-train"):
        with clear_write_errors(plan.out):
            environment = write_folder(plan)
        with TrainDisplay(plan.steps, baseline=plan.options.method == "spo") as display:
            display.on_start(plan.out)
            ended = launch(plan.out, environment, display, last_step=last_step(plan))
        display.on_end(plan.out, plan.checkpoints)
    again = suggest_resuming(plan.options.command, plan.checkpoints)
    if ended.signal is not None:
        tell(f"interrupted: all processes have ended; to continue from the last checkpoint: {again}")
    elif ended.status != 0:
        tell(f"to continue from the last checkpoint: {again}")
        tell(f"error: {ended.cause} (full log: {plan.out / LOG})")
    return ended


def _print_parity(plan: "TrainPlan") -> None:
    from spo_cli.terminal.printing import add_row, make_console, make_table

    if plan.values is None:
        return
    rows = make_table("field", "", "values", "training", flexible=2)
    marks = {"same": "", "unknown": "?", "differs": "≠"}
    for row in plan.parity:
        allowed = row.status == "differs" and row.field in plan.options.allowed
        add_row(rows, row.field, "allowed" if allowed else marks[row.status], row.values, row.rollout)
    make_console().print(rows)


def _print_settings(plan: "TrainPlan") -> None:
    from spo_cli.terminal.printing import make_console, print_facts
    from spo_train.plan.resume_point import describe_deletions, find_resume_point

    config, values = plan.config, plan.values
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    prompts, responses = config.data.train_batch_size, rollout.n
    updates = -(-prompts // actor.ppo_mini_batch_size)
    devices = config.trainer.nnodes * config.trainer.n_gpus_per_node
    coverage, point = plan.data.coverage, find_resume_point(plan)
    facts = [
        ("method", f"{plan.options.method} ({config.trainer.v1.trainer_mode}), preset {plan.choice.preset}"),
        ("model", f"{plan.model.name} at {plan.model.revision}"),
    ]
    if values is not None:
        facts.append(("values", values.source + (f" at {values.revision}" if values.revision else "")))
    facts += [
        ("prompts", f"{coverage.prompts:,}, the longest {plan.choice.longest_prompt:,} tokens"),
        ("batch", f"{prompts:,} prompts x {responses}, {updates} updates a step"),
        ("steps", f"{plan.steps:,}"),
        *([] if point is None else [("resume", point.describe(plan.steps))]),
        ("checkpoints", plan.checkpoint_size.describe()),
        *([("", deletions)] if (deletions := describe_deletions(plan, point)) else []),
        (
            "tokens",
            f"at most {config.data.max_prompt_length:,} per prompt, {config.data.max_response_length:,} per response",
        ),
        ("learning", f"rate {actor.optim.lr:g}, clip {actor.clip_ratio_low:g} / {actor.clip_ratio_high:g}"),
        *([("tools", plan.record.tools.run_by(plan.tools))] if plan.record.tools else []),
        ("validation", _describe_validation(plan)),
        ("device", f"{devices} x {plan.devices.name}"),
        *([] if plan.memory is None else [("memory", f"at an update {plan.memory.line()}")]),
        ("out", str(plan.out)),
        *(("changed" if position == 0 else "", line) for position, line in enumerate(plan.changed_settings())),
    ]
    out = make_console()
    out.print()
    print_facts(out, facts)


def _describe_validation(plan: "TrainPlan") -> str:
    if plan.validation is None:
        return "none (--val-files)"
    config = plan.config
    return (
        f"{len(plan.validation):,} rows x {config.actor_rollout_ref.rollout.val_kwargs.n},"
        f" every {config.trainer.test_freq} steps"
    )
