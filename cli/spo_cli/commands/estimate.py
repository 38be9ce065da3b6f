"""`spo-data estimate`: parse, run, print."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from spo_cli.exits import INTERRUPTED, clean_exit
from spo_cli.parameters import (
    SKIP_CHECK,
    engine_option,
    grader_option,
    json_object,
    prompts_option,
    sampling_option,
    tool_option,
)
from spo_data.errors import UserError
from spo_data.options import PRESETS, EngineOptions, GraderOptions, PromptOptions, Sampling, ToolOptions


def estimate(
    model: Annotated[str, typer.Option(help="A folder, org/name on the Hub, or a short name such as Qwen3-8B.")],
    dataset: Annotated[str, prompts_option("dataset")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command continues what is there.")],
    model_revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    dataset_config: Annotated[str | None, prompts_option("dataset_config")] = None,
    split: Annotated[str | None, prompts_option("split")] = None,
    revision: Annotated[str | None, prompts_option("revision")] = None,
    prompt_column: Annotated[str | None, prompts_option("prompt_column")] = None,
    answer_column: Annotated[str | None, prompts_option("answer_column")] = None,
    template: Annotated[str | None, prompts_option("template")] = None,
    system: Annotated[str | None, prompts_option("system")] = None,
    chat_template_kwargs: Annotated[str | None, prompts_option("chat_template_kwargs")] = None,
    limit: Annotated[int | None, prompts_option("limit")] = None,
    shuffle_seed: Annotated[int | None, prompts_option("shuffle_seed")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Sampling of the published values: reference (0.6 / 0.95 / 20).", rich_help_panel="Sampling"),
    ] = None,
    n: Annotated[int | None, sampling_option("n")] = None,
    temperature: Annotated[float | None, sampling_option("temperature")] = None,
    top_p: Annotated[float | None, sampling_option("top_p")] = None,
    top_k: Annotated[int | None, sampling_option("top_k")] = None,
    max_tokens: Annotated[int | None, sampling_option("max_tokens")] = None,
    seed: Annotated[int | None, sampling_option("seed")] = None,
    stop: Annotated[list[str] | None, sampling_option("stop")] = None,
    logprobs: Annotated[bool, sampling_option("logprobs")] = False,
    tools: Annotated[str | None, tool_option("tools")] = None,
    max_tool_turns: Annotated[int, tool_option("max_tool_turns")] = 8,
    tool_seconds: Annotated[float, tool_option("tool_seconds")] = 30.0,
    tool_memory_mb: Annotated[int, tool_option("tool_memory_mb")] = 1024,
    tool_output_chars: Annotated[int, tool_option("tool_output_chars")] = 2000,
    sandbox: Annotated[str, tool_option("sandbox")] = "local",
    sandbox_unsafe: Annotated[bool, tool_option("sandbox_unsafe")] = False,
    verifier: Annotated[str | None, grader_option("verifier")] = None,
    also: Annotated[str | None, grader_option("also")] = None,
    skip_check: Annotated[bool, SKIP_CHECK] = False,
    grader_workers: Annotated[int | None, grader_option("grader_workers")] = None,
    grader_seconds: Annotated[float, grader_option("grader_seconds")] = 10.0,
    grader_memory_gb: Annotated[float, grader_option("grader_memory_gb")] = 4.0,
    tensor_parallel_size: Annotated[int, engine_option("tensor_parallel_size")] = 1,
    gpu_memory_utilization: Annotated[float | None, engine_option("gpu_memory_utilization")] = None,
    max_model_len: Annotated[int | None, engine_option("max_model_len")] = None,
    max_num_seqs: Annotated[int | None, engine_option("max_num_seqs")] = None,
    dtype: Annotated[str, engine_option("dtype")] = "auto",
    enforce_eager: Annotated[bool, engine_option("enforce_eager")] = False,
    deterministic: Annotated[bool, engine_option("deterministic")] = False,
    engine_arg: Annotated[list[str] | None, engine_option("engine_arg")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the preview, the counts and the plan; sample nothing.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Exit with 0 although prompts or samples are missing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> None:
    """Estimate a model's success probability on every prompt of a dataset, into a run folder.

    The same command continues a run that ended early; a higher --n or --limit adds to it.
    """
    with clean_exit(INTERRUPTED):
        asked = {
            "n": n,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "max_tokens": max_tokens,
            "seed": seed,
            "stop": tuple(stop) if stop else None,
        }
        sampling = {**_preset(preset), **{name: value for name, value in asked.items() if value is not None}}
        prompts = PromptOptions(
            dataset=dataset,
            dataset_config=dataset_config,
            split=split,
            revision=revision,
            prompt_column=prompt_column,
            answer_column=answer_column,
            template=template,
            system=system,
            chat_template_kwargs=json_object("--chat-template-kwargs", chat_template_kwargs),
            limit=limit,
            shuffle_seed=shuffle_seed,
        )
        engine = EngineOptions(
            tensor_parallel_size=tensor_parallel_size,
            gpu_memory_utilization=gpu_memory_utilization,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            dtype=dtype,
            enforce_eager=enforce_eager,
            deterministic=deterministic,
            engine_arg=_engine_arguments(engine_arg or []),
        )
        grader = GraderOptions(verifier, also, grader_workers, grader_seconds, grader_memory_gb)
        checked_sampling = Sampling(**sampling, logprobs=logprobs)
        interpreter = ToolOptions(
            tools=tools,
            max_tool_turns=max_tool_turns,
            tool_seconds=tool_seconds,
            tool_memory_mb=tool_memory_mb,
            tool_output_chars=tool_output_chars,
            sandbox=sandbox,
            sandbox_unsafe=sandbox_unsafe,
        )

        from spo_cli.progress import EstimateDisplay
        from spo_pipelines.estimate import estimate as run_estimate
        from spo_pipelines.sampling_plan import EstimateOptions

        options = EstimateOptions(
            model=model,
            out=out,
            prompts=prompts,
            sampling=checked_sampling,
            engine=engine,
            grader=grader,
            tools=interpreter,
            model_revision=model_revision,
            skip_check=skip_check,
            command=("spo-data", *sys.argv[1:]),
        )
        with EstimateDisplay() as display:
            outcome = asyncio.run(run_estimate(options, display, dry_run=dry_run))
        raise typer.Exit(_report(outcome, out, allow_missing=allow_missing, as_json=as_json))


def _report(outcome: Any, out: Path, *, allow_missing: bool, as_json: bool) -> int:
    """Print how it ended; return the exit status."""
    from spo_cli.commands.show import print_summary

    summary = outcome.summary
    if summary is None:
        if as_json:
            print(json.dumps(outcome.plan.as_dict(), indent=2, ensure_ascii=False))
        return 0
    if as_json:
        print(json.dumps(summary.as_dict(), indent=2, ensure_ascii=False))
    else:
        print_summary(summary, out)
    if outcome.engine_error is not None:
        sys.stderr.write(f"error: {outcome.engine_error}\nthe same command continues\n")
        return 1
    if outcome.signal is not None:
        sys.stderr.write(f"{INTERRUPTED}\n")
        return 128 + int(outcome.signal)
    if not summary.complete and not allow_missing:
        missing = f"{summary.missing:,} of {summary.asked:,} samples are not valid (the same command tries them again)"
        dropped = f"{sum(summary.dropped.values()):,} rows were dropped"
        what = " and ".join([missing] * bool(summary.missing) + [dropped] * bool(summary.dropped))
        sys.stderr.write(f"incomplete: {what}; --allow-missing accepts this\n")
        return 1
    return 0


def _preset(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    if name not in PRESETS:
        raise UserError(f"--preset {name}: choose one of {', '.join(PRESETS)}")
    return dict(PRESETS[name])


def _engine_arguments(pairs: list[str]) -> dict[str, Any]:
    arguments = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise UserError(f"--engine-arg {pair}: not KEY=VALUE")
        try:
            arguments[key.replace("-", "_")] = json.loads(value)
        except ValueError:
            arguments[key.replace("-", "_")] = {"True": True, "False": False, "None": None}.get(value, value)
    return arguments
