"""The tools of a training: the estimate's interpreter, unless the options ask for another one or none.

    options = choose_tools(TrainOptions(offline_values="runs/demo"), policy.tools)        # ToolOptions
    make_loop_settings(options, workers=8, template="retool")            # what agent_loop.yaml says of them
    read_loop_wording(Path("runs/train/agent_loop.yaml"))               # what the chat tells the model of them
    check_interpreter(options)                                     # raises UserError where it cannot be had

`--sandbox` and `--sandbox-unsafe` say where programs run, not what they do: they are no part of a policy.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from spo_data.engines.tool_loop import CODE_START
from spo_data.options import ToolOptions, option_of
from spo_data.prompts.template import AnswerTemplate, tool_wording
from spo_data.provenance import ToolsRecord
from spo_train.plan.train_options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spo_data.prompts.identity import Prompt
from spo_train.hooks.loop_file import LIMITS


def choose_tools(options: TrainOptions, recorded: ToolsRecord | None) -> ToolOptions:
    """What is asked for; for the rest what the values were estimated with, else the defaults of `estimate`.

    Raises UserError for limits of an interpreter that is not there.
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
    """The options that make a training's tools those of its values."""
    if values is None:
        return "--tools none"
    if training is None:
        return "--tools python"  # its limits follow from the values
    differing = {name: field for name, field in LIMITS.items() if getattr(values, field) != getattr(training, field)}
    return " ".join(f"{option_of(name)} {_number(getattr(values, field))}" for name, field in differing.items())


def _number(value: float) -> str:
    """As an option takes it: a whole number is one."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def choose_wording(options: ToolOptions, template: str) -> AnswerTemplate | None:
    """What tells the model of its interpreter."""
    return tool_wording(template) if options.enabled else None


def note_tools(options: ToolOptions, template: str, prompts: "Sequence[Prompt]") -> tuple[str, ...]:
    """What a reader should know of them."""
    if not options.enabled or choose_wording(options, template) is not None:
        return ()
    if any(CODE_START in message.content for prompt in prompts for message in prompt.messages):
        return ()
    return ("no prompt tells the model of its interpreter: --template retool does",)


def check_interpreter(options: ToolOptions) -> None:
    """Raise UserError where this machine cannot have the interpreter."""
    from spo_data.sandbox.open import open_interpreter

    async def opened() -> None:
        async with open_interpreter(options, 1):
            pass

    if options.enabled:
        asyncio.run(opened())
