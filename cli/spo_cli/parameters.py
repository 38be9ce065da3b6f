"""Options that several commands take, with the help of the fields that they fill."""

import json
from typing import Any

import typer

from spo_data.errors import UserError
from spo_data.options import EngineOptions, GraderOptions, PromptOptions, Sampling, ToolOptions, help_of, option_of

SKIP_CHECK: Any = typer.Option(
    "--skip-check",
    help="Trust the ground truths: do not check that each verifies against itself.",
    rich_help_panel="Grading",
)


def prompts_option(name: str) -> Any:
    """A prompt option."""
    return _option(PromptOptions, name, "Prompts")


def sampling_option(name: str) -> Any:
    """A sampling option."""
    default = Sampling.__dataclass_fields__[name].default
    return _option(Sampling, name, "Sampling", None if default in ((), False) else str(default))


def engine_option(name: str) -> Any:
    """An engine option."""
    return _option(EngineOptions, name, "Engine (vLLM's names)")


def grader_option(name: str) -> Any:
    """A grading option."""
    return _option(GraderOptions, name, "Grading")


def tool_option(name: str, default: str | None = None) -> Any:
    """An option of the code interpreter; `default` is what is said of it, its own value otherwise."""
    own = ToolOptions.__dataclass_fields__[name].default
    return _option(ToolOptions, name, "Tools", default or (None if own in (None, False) else f"{own}"))


def json_object(option: str, text: str | None) -> dict[str, Any]:
    """The JSON object that an option holds; raises UserError where it holds none."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{option} {text}: not a JSON object such as '{{\"enable_thinking\": false}}'")
    return value


def _option(options: type, name: str, panel: str, default: str | None = None) -> Any:
    # The name is spelled out so that a flag has no --no- twin.
    help_text = help_of(options, name) if default is None else f"{help_of(options, name)} (default: {default})"
    return typer.Option(option_of(name), help=help_text, rich_help_panel=panel, show_default=False)
