"""The tools of a training run: the estimate's interpreter, unless the options ask for another one or none.

    options = choose_tools(TrainOptions(offline_values="runs/demo"), policy.tools)        # ToolOptions
    check_interpreter(options)                      # raises UserError if the interpreter cannot be opened

`--sandbox` and `--sandbox-unsafe` say where programs run, not what they do, so they are not part of a policy.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from spo_data.engines.tool_loop import CODE_START, NO_TOOL_WORDING
from spo_data.options import ToolOptions, option_of
from spo_data.prompts.template import AnswerTemplate, tool_wording
from spo_data.provenance import ToolsRecord
from spo_train.data.loop_file import LIMITS
from spo_train.plan.train_options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spo_data.prompts.identity import Prompt


def choose_tools(options: TrainOptions, recorded: ToolsRecord | None) -> ToolOptions:
    """Return the tools that are asked for, completed from the estimate's, or else from the defaults of `estimate`.

    Raises UserError for limits of an interpreter without an interpreter.
    """
    given: dict[str, Any] = {name: value for name in LIMITS if (value := getattr(options, name)) is not None}
    place: dict[str, Any] = {"sandbox_unsafe": options.sandbox_unsafe}
    if options.sandbox is not None:
        place["sandbox"] = options.sandbox
    tools = options.tools or ("none" if recorded is None else "python")
    asked = ToolOptions(tools=tools, **given, **place)
    if recorded is None or not asked.enabled:
        return asked
    estimated = {name: getattr(recorded, field) for name, field in LIMITS.items()}
    return ToolOptions(tools=tools, **{**estimated, **given}, **place)


def suggest_options(values: ToolsRecord | None, training: ToolsRecord | None) -> str:
    """Return the options that make the tools of the training run equal to the values'."""
    if values is None:
        return "--tools none"
    if training is None:
        return "--tools python"  # its limits follow from the values
    differing = {name: field for name, field in LIMITS.items() if getattr(values, field) != getattr(training, field)}
    return " ".join(f"{option_of(name)} {_format_number(getattr(values, field))}" for name, field in differing.items())


def _format_number(value: float) -> str:
    """Format a number as an option takes it."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def choose_wording(options: ToolOptions, template: str) -> AnswerTemplate | None:
    """Return the wording that tells the model about its interpreter; None without one."""
    return tool_wording(template) if options.enabled else None


def note_tools(options: ToolOptions, template: str, prompts: "Sequence[Prompt]") -> tuple[str, ...]:
    """Return remarks on the tools for the user."""
    if not options.enabled or choose_wording(options, template) is not None:
        return ()
    if any(CODE_START in message.content for prompt in prompts for message in prompt.messages):
        return ()
    return (NO_TOOL_WORDING,)


def check_interpreter(options: ToolOptions) -> None:
    """Raise UserError if the interpreter cannot be opened on this machine."""
    from spo_data.sandbox.open import open_interpreter

    async def open_once() -> None:
        async with open_interpreter(options, 1):
            pass

    if options.enabled:
        asyncio.run(open_once())
