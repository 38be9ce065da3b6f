"""Options from a YAML file.

    # options.yaml, for `spo-data estimate --config options.yaml`
    model: Qwen3-8B
    max-tokens: 8192
    stop: ["</answer>"]
    chat-template-kwargs: {enable_thinking: false}

The names are those of the command line, and an option on the command line wins over the file's. `spo-data show
RUN --config` makes such a file from a run.
"""

import difflib
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from spo_data.errors import UserError, first_line, reason
from spo_data.files import read_regular
from spo_data.json_text import TOO_DEEP, is_too_deep
from spo_data.printable import printable


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make a file's options the defaults of a command; raises BadParameter for a file that does not fit it."""
    if path is None:
        return None
    import yaml

    try:
        given = yaml.safe_load(read_regular(path).decode())
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {reason(error)}") from error
        # ValueError: a date such as 2024-13-01
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{path} is not YAML: {first_line(error)}") from error
    if is_too_deep(given):
        raise typer.BadParameter(f"{path}: {TOO_DEEP}")
    if not isinstance(given, dict):
        raise typer.BadParameter(f"{path} has no options, as in `model: Qwen3-8B`")
    known = {
        option.removeprefix("--"): parameter
        for parameter in context.command.params
        for option in parameter.opts
        if option not in ("--config", "--help", "-h")
    }
    defaults: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(str(name).replace("_", "-"), known, n=1)
            raise typer.BadParameter(f"{path}: no option {name}{f'; did you mean {near[0]}?' if near else ''}")
        if value is not None:
            defaults[str(known[name].name)] = _as_typed(value, repeated=bool(getattr(known[name], "multiple", False)))
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


CONFIG: Any = typer.Option(
    "--config",
    callback=read_config,
    is_eager=True,
    help="YAML file of options, named as here; the command line wins.",
    show_default=False,
)


def spell_out(command: Sequence[str], context: typer.Context) -> tuple[str, ...]:
    """Return the running command with the options of its `--config` file in place of the file, which may change."""
    if context.params.get("config") is None:
        return tuple(command)
    words = list(command[:2])
    for name, value in _list_given(context).items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{name}"] if each is True else [f"--{name}", str(each)]
    return tuple(words)


def print_config(command: str, context: typer.Context) -> None:
    """Print a run's recorded command as a file for `--config`; raises UserError if it is no `estimate`."""
    import yaml

    words = shlex.split(command)
    if words[1:2] != ["estimate"]:
        raise UserError(f"the run was not made by `spo-data estimate`, but by `{command}`")
    program: Any = context.find_root().command
    given = _list_given(program.commands["estimate"].make_context("estimate", words[2:]))
    text = yaml.safe_dump(given, sort_keys=False, allow_unicode=True)
    if printable(text) != text or not (sys.stdout.encoding or "").lower().startswith("utf"):
        text = yaml.safe_dump(given, sort_keys=False)  # with escapes, which mean the same
    print(text, end="")


def _list_given(context: typer.Context) -> dict[str, Any]:
    """The options that the command line or the file gives, by their names on the command line."""
    given: dict[str, Any] = {}
    for parameter in context.command.params:
        source, value = context.get_parameter_source(str(parameter.name)), context.params.get(str(parameter.name))
        name = max(parameter.opts, key=len).removeprefix("--")
        is_given = source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")
        if is_given and value not in (None, False) and name != "config":
            several = isinstance(value, tuple | list)
            given[name] = list(value) if several else str(value) if isinstance(value, Path) else value
    return given


def _as_typed(value: Any, *, repeated: bool) -> Any:
    """Return a value as the command line gives it: mappings as JSON, or as KEY=VALUE if the option may be repeated."""
    if isinstance(value, dict):
        return [f"{key}={json.dumps(each)}" for key, each in value.items()] if repeated else json.dumps(value)
    if repeated and not isinstance(value, list):
        return [value]
    return value
