"""The fields of options as options of a command, declared once for all commands that take them.

    @takes(prompts=PROMPTS.without("dataset"), grader=GRADER.without("also"))
    def check(dataset: str, prompts: Given, grader: Given) -> None:
        options = prompts.make(dataset=dataset)        # a PromptOptions; raises UserError for what it refuses

A field's sentence is its help, its annotation its type, its default what an option that is not given has.
"""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_type_hints

import typer

from spo_data.errors import UserError
from spo_data.options import EngineOptions, GraderOptions, PromptOptions, Sampling, ToolOptions, help_of, option_of

SKIP_CHECK: Any = typer.Option(
    "--skip-check",
    help="Trust the ground truths: do not check that each verifies against itself.",
    rich_help_panel="Grading",
)


@dataclass(frozen=True)
class Given:
    """What a user gave for a group's options."""

    group: "OptionGroup"
    raw: Mapping[str, Any]
    """As parsed by Typer, by field name."""

    def named(self) -> dict[str, Any]:
        """The fields that were given, or have a default, by name; raises UserError for a malformed one."""
        parsed = {name: self.group.parse(name, value) for name, value in self.raw.items() if value is not None}
        return {name: value for name, value in parsed.items() if value not in ((), {})}

    def make(self, **more: Any) -> Any:
        """The options, with `more` fields beside or instead of those given; raises UserError as the options do."""
        return self.group.options(**{**self.named(), **more})


@dataclass(frozen=True)
class OptionGroup:
    """Fields of an options dataclass that a command takes."""

    options: type
    panel: str
    names: tuple[str, ...]
    are_defaults_shown: bool = False
    is_optional: bool = False
    """Whether a field that is not given is left out, instead of having its default."""
    default: str | None = None
    """What the help says of an option that is not given, in place of the field's default."""
    helps: Mapping[str, str] = field(default_factory=dict)
    """Help of a command's own, by field."""

    def only(self, *names: str) -> "OptionGroup":
        """The group with these fields alone."""
        return replace(self, names=tuple(name for name in self.names if name in names))

    def without(self, *names: str) -> "OptionGroup":
        """The group without these fields."""
        return replace(self, names=tuple(name for name in self.names if name not in names))

    def parse(self, name: str, value: Any) -> Any:
        """A field's value from what Typer parsed."""
        kind = get_type_hints(self.options)[name]
        if kind == dict[str, Any]:
            return (
                _key_values(option_of(name), value) if isinstance(value, list) else json_object(option_of(name), value)
            )
        return tuple(value) if isinstance(value, list) else value

    def parameters(self) -> list[inspect.Parameter]:
        """The fields as Typer's parameters."""
        return [self._parameter(name) for name in self.names]

    def _parameter(self, name: str) -> inspect.Parameter:
        own = next(each for each in dataclasses.fields(self.options) if each.name == name)
        kind, default = get_type_hints(self.options)[name], own.default
        if kind == dict[str, Any]:
            kind, default = (list[str] if name in _REPEATED else str) | None, None
        elif kind == tuple[str, ...]:
            kind, default = list[str] | None, None
        elif self.is_optional and kind is not bool:
            kind, default = kind | None, None
        elif default == "":
            default = inspect.Parameter.empty  # has to be given
        option = typer.Option(
            option_of(name),  # spelled out so that a flag has no --no- twin
            help=self._help(name, own.default),
            rich_help_panel=self.panel,
            show_default=False,
        )
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
        )

    def _help(self, name: str, default: Any) -> str:
        if name in self.helps:
            return self.helps[name]
        said = self.default if self.default and name not in _PLACES else None
        if said is None and self.are_defaults_shown and default not in (None, False, ()):
            said = str(default)
        return help_of(self.options, name) + (f" (default: {said})" if said else "")


def takes(**groups: OptionGroup) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of groups; it receives each group's under the group's name, as a `Given`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def parsed(**arguments: Any) -> None:
            given = {
                name: Given(group, {each: arguments.pop(each) for each in group.names})
                for name, group in groups.items()
            }
            command(**arguments, **given)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            group = groups.get(parameter.name)
            parameters += group.parameters() if group else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        parsed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        parsed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return parsed

    return decorate


def json_object(option: str, text: str | None) -> dict[str, Any]:
    """The JSON object that an option holds; raises UserError if it holds none."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{option} {text}: not a JSON object such as '{{\"enable_thinking\": false}}'")
    return value


def _key_values(option: str, pairs: list[str]) -> dict[str, Any]:
    arguments = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise UserError(f"{option} {pair}: not KEY=VALUE")
        try:
            arguments[key.replace("-", "_")] = json.loads(value)
        except ValueError:
            arguments[key.replace("-", "_")] = {"True": True, "False": False, "None": None}.get(value, value)
    return arguments


def _all(options: type) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(options))


_REPEATED = ("engine_arg",)
"""Dictionaries that are given as KEY=VALUE, several times; the others are JSON."""
_PLACES = ("sandbox", "sandbox_unsafe")
"""Where programs run: no part of a policy, so never taken from values."""

PROMPTS = OptionGroup(PromptOptions, "Prompts", _all(PromptOptions))
SAMPLING = OptionGroup(Sampling, "Sampling", _all(Sampling), are_defaults_shown=True, is_optional=True)
ENGINE = OptionGroup(EngineOptions, "Engine (vLLM's names)", _all(EngineOptions))
GRADER = OptionGroup(GraderOptions, "Grading", _all(GraderOptions))
TOOLS = OptionGroup(ToolOptions, "Tools", _all(ToolOptions), are_defaults_shown=True)
