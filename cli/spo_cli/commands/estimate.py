"""`spo-data estimate`: estimate the values of a dataset's prompts into a run folder."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spo_cli.terminal.config_file import CONFIG, spell_out
from spo_cli.terminal.exits import clean_exit, tell_interrupted
from spo_cli.terminal.messages import own_command, tell
from spo_cli.terminal.parameters import ENGINE, GRADER, PROMPTS, SAMPLING, SKIP_CHECK, TOOLS, GivenOptions, takes
from spo_cli.terminal.printing import print_json
from spo_data.errors import UserError
from spo_data.options import PRESETS, PUBLISHED_PROMPTS, PromptOptions, Sampling, help_of
from spo_data.run.folders import default_folder

if TYPE_CHECKING:
    from spo_pipelines.estimate import EstimateOutcome

INTERRUPTED = ("nothing that was sampled is lost", "continue")


@takes(
    prompts=PROMPTS.without("dataset"),
    sampling=SAMPLING,
    tools=TOOLS,
    verifiers=GRADER.only("verifier", "also", "truncated"),
    pool=GRADER.without("verifier", "also", "truncated"),
    engine=ENGINE,
)
def estimate(
    *,
    context: typer.Context,
    model: Annotated[str, typer.Option(help="A folder, org/name on the Hub, or a short name such as Qwen3-8B.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help=f"{help_of(PromptOptions, 'dataset')} (default: the published values'"
            f" {PUBLISHED_PROMPTS.dataset}, configuration {PUBLISHED_PROMPTS.dataset_config})",
            rich_help_panel=PROMPTS.panel,
            show_default=False,
        ),
    ] = None,
    prompts: GivenOptions,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder; the same command continues an existing run (default: runs/MODEL-DATASET).",
            show_default=False,
        ),
    ] = None,
    model_revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Sampling of the published values: reference (temperature 0.6, top-p 0.95, top-k 20).",
            rich_help_panel="Sampling",
        ),
    ] = None,
    sampling: GivenOptions,
    tools: GivenOptions,
    verifiers: GivenOptions,
    skip_check: Annotated[bool, SKIP_CHECK] = False,
    pool: GivenOptions,
    engine: GivenOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the preview, the counts and the plan; sample nothing.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Exit with 0 even if prompts or samples are missing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
    config: Annotated[Path | None, CONFIG] = None,  # noqa: ARG001 # its callback makes the file's options defaults
) -> None:
    """Estimate a model's success probability on every prompt of a dataset, into a run folder.

    The same command continues a run that ended early; a higher --n or --limit adds to it.
    """
    with clean_exit(*INTERRUPTED) as command:
        asked = prompts.make(dataset=dataset) if dataset is not None else _take_published(prompts)
        run = default_folder(model, asked.dataset) if out is None else out
        if out is None:
            tell(f"note: the run folder is {run} (--out names another)")
        groups = {
            "prompts": asked,
            "engine": engine.make(),
            "grader": verifiers.make(**pool.collect()),
            "sampling": Sampling(**{**_find_preset(preset), **sampling.collect()}),
            "tools": tools.make(),
        }

        from spo_cli.terminal.progress import EstimateDisplay
        from spo_pipelines.estimate import estimate as run_estimate
        from spo_pipelines.sampling_plan import EstimateOptions

        options = EstimateOptions(
            model=model,
            out=run,
            model_revision=model_revision,
            skip_check=skip_check,
            command=spell_out(("spo-data", *sys.argv[1:]), context),
            **groups,
        )
        with EstimateDisplay() as display:
            outcome = command.run(run_estimate(options, display, dry_run=dry_run))
        raise typer.Exit(_print(outcome, run, allow_missing=allow_missing, as_json=as_json))


def _print(outcome: "EstimateOutcome", out: Path, *, allow_missing: bool, as_json: bool) -> int:
    """Print how the estimate ended; return the exit status."""
    from spo_cli.commands.show import print_summary

    summary = outcome.summary
    if summary is None:
        if as_json:
            print_json(outcome.plan.as_dict())
        return 0
    if as_json:
        print_json(summary.as_dict())
    else:
        print_summary(summary, out)
    if outcome.engine_error is not None:
        tell(f"error: {outcome.engine_error}; to continue: {own_command()}")
        return 1
    if outcome.signal is not None:
        tell_interrupted(*INTERRUPTED)
        return 128 + int(outcome.signal)
    if not summary.complete and not allow_missing:
        undrawn = f"{summary.not_drawn:,} of {summary.asked:,} samples are not drawn yet (the same command draws them)"
        failed = f"{summary.not_valid:,} of {summary.asked:,} samples are not valid (the same command tries them again)"
        dropped = f"{sum(summary.dropped.values()):,} rows were dropped"
        counts = ((undrawn, summary.not_drawn), (failed, summary.not_valid), (dropped, len(summary.dropped)))
        reasons = [reason for reason, count in counts if count]
        tell(f"incomplete: {' and '.join(reasons)}; --allow-missing accepts this")
        return 1
    return 0


def _take_published(given: GivenOptions) -> PromptOptions:
    """Return the prompts of the published values, with what the user gives besides."""
    taken = replace(PUBLISHED_PROMPTS, **given.collect())
    tell(
        f"note: the prompts are those of the published values, {taken.dataset}, configuration {taken.dataset_config}"
        " (--dataset names others)"
    )
    return taken


def _find_preset(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    if name not in PRESETS:
        raise UserError(f"--preset {name}: choose one of {', '.join(PRESETS)}")
    return dict(PRESETS[name])
