"""Options dataclasses as the options of a command, declared once for all commands that take them.

    @takes(prompts=PROMPTS.without("dataset"), grader=GRADER.without("also"))
    def check(dataset: str, prompts: Given, grader: Given) -> None:
        options = prompts.make(dataset=dataset)        # PromptOptions; raises UserError for a value that they refuse

A field's sentence is the option's help, its annotation the option's type, and its default the option's default.
"""

import functools
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, get_type_hints

import typer

from spo_data.errors import UserError
from spo_data.json_text import read_json
from spo_data.options import EngineOptions, GraderOptions, PromptOptions, Sampling, ToolOptions, help_of, option_of

SKIP_CHECK: Any = typer.Option(
    "--skip-check",
    help="Trust the ground truths: do not check that each verifies against itself.",
    rich_help_panel="Grading",
)
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "color": False}
"""Of the first command. `color` is about the one line that Typer colours past rich, when it installs completions."""


def print_version(asked: bool) -> None:
    """Print the version and exit, if it is asked for."""
    if asked:
        print(importlib.metadata.version("spo-data"))
        raise typer.Exit


VERSION: Any = typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
_REPEATED = ("engine_arg",)
"""Dictionaries that are given as KEY=VALUE, several times; the others are JSON."""
_PLACES = ("sandbox", "sandbox_unsafe")
"""Fields that say where programs run: they are not part of a policy, so they are never taken from values."""


@dataclass(frozen=True)
class OptionGroup:
    """Fields of an options dataclass that a command takes, under one heading of its help."""

    options: type
    panel: str
    names: tuple[str, ...]
    shows_defaults: bool = False
    leaves_out_defaults: bool = False
    """Whether `GivenOptions.collect` leaves out a field that the user does not give, instead of giving its default."""
    shown_default: str | None = None
    """What the help shows instead of the fields' own defaults."""
    helps: Mapping[str, str] = field(default_factory=dict)
    """Help sentences of one command that replace the fields' own."""

    @classmethod
    def of(cls, options: type, panel: str, **settings: Any) -> "OptionGroup":
        """Return the group of all fields."""
        return cls(options, panel, tuple(each.name for each in fields(options)), **settings)

    def only(self, *names: str) -> "OptionGroup":
        """Return the group with these fields alone."""
        return replace(self, names=tuple(name for name in self.names if name in names))

    def without(self, *names: str) -> "OptionGroup":
        """Return the group without these fields."""
        return replace(self, names=tuple(name for name in self.names if name not in names))

    def parse(self, name: str, value: Any) -> Any:
        """Return a field's value from what Typer parsed; raises UserError for malformed JSON or KEY=VALUE."""
        if name in _REPEATED:
            return _parse_pairs(option_of(name), value)
        if _annotation(self.options, name) == dict[str, Any]:
            return parse_json(option_of(name), value)
        return tuple(value) if isinstance(value, list) else value

    def parameters(self) -> list[inspect.Parameter]:
        """Return the fields as keyword parameters that Typer reads."""
        return [self._make_parameter(name) for name in self.names]

    def _make_parameter(self, name: str) -> inspect.Parameter:
        own_default = next(each.default for each in fields(self.options) if each.name == name)
        kind, default = _annotation(self.options, name), own_default
        if kind == dict[str, Any]:
            kind, default = (list[str] if name in _REPEATED else str) | None, None
        elif kind == tuple[str, ...]:
            kind, default = list[str] | None, None
        elif self.leaves_out_defaults and kind is not bool:
            kind, default = kind | None, None
        elif default == "":
            default = inspect.Parameter.empty  # Typer then requires the option
        option = typer.Option(
            option_of(name),  # an explicit name keeps Typer from adding --no-NAME to a flag
            help=self._make_help(name, own_default),
            rich_help_panel=self.panel,
            show_default=False,
        )
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
        )

    def _make_help(self, name: str, default: Any) -> str:
        if name in self.helps:
            return self.helps[name]
        if self.shown_default is not None and name not in _PLACES:
            default = self.shown_default
        elif not self.shows_defaults or default in (None, False, ()):
            return help_of(self.options, name)
        return f"{help_of(self.options, name)} (default: {default})"


@dataclass(frozen=True)
class GivenOptions:
    """The options of one group as a user gave them."""

    group: OptionGroup
    raw: Mapping[str, Any]
    """What Typer parsed, by field."""

    def collect(self) -> dict[str, Any]:
        """Return values by field, without those that are None or empty; raises UserError for a malformed value."""
        parsed = {name: self.group.parse(name, value) for name, value in self.raw.items() if value is not None}
        return {name: value for name, value in parsed.items() if value not in ((), {})}

    def make(self, **more: Any) -> Any:
        """Return the options; `more` adds or replaces fields. Raises UserError for a value that they refuse."""
        return self.group.options(**{**self.collect(), **more})


PROMPTS = OptionGroup.of(PromptOptions, "Prompts")
SAMPLING = OptionGroup.of(Sampling, "Sampling", shows_defaults=True, leaves_out_defaults=True)
ENGINE = OptionGroup.of(EngineOptions, "Engine (vLLM's names)")
GRADER = OptionGroup.of(GraderOptions, "Grading")
TOOLS = OptionGroup.of(ToolOptions, "Tools", shows_defaults=True)


def takes(**groups: OptionGroup) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of groups; each parameter with a group's name receives its `GivenOptions`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def call(**arguments: Any) -> None:
            given = {
                name: GivenOptions(group, {each: arguments.pop(each) for each in group.names})
                for name, group in groups.items()
            }
            command(**arguments, **given)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            group = groups.get(parameter.name)
            parameters += group.parameters() if group else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def parse_json(option: str, text: str) -> dict[str, Any]:
    """Return the JSON object that an option's text holds; raises UserError if it holds none."""
    try:
        value = read_json(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{option} {text}: not a JSON object such as '{{\"enable_thinking\": false}}'")
    return value


def _parse_pairs(option: str, pairs: list[str]) -> dict[str, Any]:
    arguments = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise UserError(f"{option} {pair}: not KEY=VALUE")
        try:
            arguments[key.replace("-", "_")] = read_json(value)
        except ValueError:
            arguments[key.replace("-", "_")] = {"True": True, "False": False, "None": None}.get(value, value)
    return arguments


def _annotation(options: type, name: str) -> Any:
    return get_type_hints(options)[name]
