"""`spo-data estimate`: parse, run, print."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from spo_cli.exits import INTERRUPTED, clean_exit
from spo_data.errors import UserError
from spo_data.options import PRESETS, EngineOptions, GraderOptions, PromptOptions, Sampling, help_of


def _option(options: type, name: str, panel: str, default: str | None = None) -> Any:
    # The name is spelled out so that a flag has no --no- twin.
    help_text = help_of(options, name) if default is None else f"{help_of(options, name)} (default: {default})"
    return typer.Option(f"--{name.replace('_', '-')}", help=help_text, rich_help_panel=panel, show_default=False)


def _prompts(name: str) -> Any:
    return _option(PromptOptions, name, "Prompts")


def _sampling(name: str) -> Any:
    default = Sampling.__dataclass_fields__[name].default
    return _option(Sampling, name, "Sampling", None if default in ((), False) else str(default))


def _engine(name: str) -> Any:
    return _option(EngineOptions, name, "Engine (vLLM's names)")


def _grader(name: str) -> Any:
    return _option(GraderOptions, name, "Grading")


def estimate(
    model: Annotated[str, typer.Option(help="A folder, org/name on the Hub, or a short name such as Qwen3-8B.")],
    dataset: Annotated[str, _prompts("dataset")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command continues what is there.")],
    model_revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    dataset_config: Annotated[str | None, _prompts("dataset_config")] = None,
    split: Annotated[str | None, _prompts("split")] = None,
    revision: Annotated[str | None, _prompts("revision")] = None,
    prompt_column: Annotated[str | None, _prompts("prompt_column")] = None,
    answer_column: Annotated[str | None, _prompts("answer_column")] = None,
    template: Annotated[str | None, _prompts("template")] = None,
    system: Annotated[str | None, _prompts("system")] = None,
    chat_template_kwargs: Annotated[str | None, _prompts("chat_template_kwargs")] = None,
    limit: Annotated[int | None, _prompts("limit")] = None,
    shuffle_seed: Annotated[int | None, _prompts("shuffle_seed")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Sampling of the published values: reference (0.6 / 0.95 / 20).", rich_help_panel="Sampling"),
    ] = None,
    n: Annotated[int | None, _sampling("n")] = None,
    temperature: Annotated[float | None, _sampling("temperature")] = None,
    top_p: Annotated[float | None, _sampling("top_p")] = None,
    top_k: Annotated[int | None, _sampling("top_k")] = None,
    max_tokens: Annotated[int | None, _sampling("max_tokens")] = None,
    seed: Annotated[int | None, _sampling("seed")] = None,
    stop: Annotated[list[str] | None, _sampling("stop")] = None,
    logprobs: Annotated[bool, _sampling("logprobs")] = False,
    verifier: Annotated[str | None, _grader("verifier")] = None,
    grader_workers: Annotated[int | None, _grader("grader_workers")] = None,
    grader_seconds: Annotated[float, _grader("grader_seconds")] = 10.0,
    grader_memory_gb: Annotated[float, _grader("grader_memory_gb")] = 4.0,
    tensor_parallel_size: Annotated[int, _engine("tensor_parallel_size")] = 1,
    gpu_memory_utilization: Annotated[float | None, _engine("gpu_memory_utilization")] = None,
    max_model_len: Annotated[int | None, _engine("max_model_len")] = None,
    max_num_seqs: Annotated[int | None, _engine("max_num_seqs")] = None,
    dtype: Annotated[str, _engine("dtype")] = "auto",
    enforce_eager: Annotated[bool, _engine("enforce_eager")] = False,
    deterministic: Annotated[bool, _engine("deterministic")] = False,
    engine_arg: Annotated[list[str] | None, _engine("engine_arg")] = None,
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
    with clean_exit():
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
            chat_template_kwargs=_json_object("--chat-template-kwargs", chat_template_kwargs),
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
        grader = GraderOptions(verifier, grader_workers, grader_seconds, grader_memory_gb)
        checked_sampling = Sampling(**sampling, logprobs=logprobs)

        from spo_pipelines.estimate import estimate as run_estimate
        from spo_pipelines.plan import EstimateOptions

        from spo_cli.display import Display

        options = EstimateOptions(
            model=model,
            out=out,
            prompts=prompts,
            sampling=checked_sampling,
            engine=engine,
            grader=grader,
            model_revision=model_revision,
            command=("spo-data", *sys.argv[1:]),
        )
        with Display() as display:
            outcome = asyncio.run(run_estimate(options, display, dry_run=dry_run))
        raise typer.Exit(_report(outcome, out, allow_missing=allow_missing, as_json=as_json))


def _report(outcome: Any, out: Path, *, allow_missing: bool, as_json: bool) -> int:
    """Print how it ended; return the exit status."""
    from spo_cli.show import print_summary

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


def _json_object(option: str, text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{option} {text}: not a JSON object such as '{{\"enable_thinking\": false}}'")
    return value


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
