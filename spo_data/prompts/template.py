r"""The answer instruction that is added to a prompt's last user message.

    --template boxed        appends "\nThe answer format must be: \boxed{'The final answer goes here.'}"
    --template retool       as boxed, and the chat tells the model about its interpreter (--tools python)
    --template dapo         wraps the problem in DAPO's wording, which asks for a last line "Answer: ..."
    --template none         leaves the prompt as it is
    --template FILE.jinja   replaces the last user message by the rendered file, which is given the message as `prompt`

Prompts that are already chat messages (the verl and messages layouts) carry their own instruction, so their default is
`none`. For all others it is `boxed`, or `retool` with an interpreter.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.errors import UserError, first_line
from spo_data.prompts.identity import Message

if TYPE_CHECKING:
    import jinja2

_BOXED = "\nThe answer format must be: \\boxed{'The final answer goes here.'}"

BUILT_IN = {
    "none": "{{ prompt }}",
    "boxed": "{{ prompt }}" + _BOXED,
    # Never add the instruction twice: a prompt must be the same with and without tools.
    "retool": "{{ prompt }}{% set boxed %}" + _BOXED + "{% endset %}{{ '' if prompt.endswith(boxed) else boxed }}",
    "dapo": (
        "Solve the following math problem step by step. The last line of your response should be of the form"
        " Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n{{ prompt }}\n\n"
        'Remember to put your answer on its own line after "Answer:".'
    ),
}


_PROBE = "A probe of this template. " * 20_000
"""As long as a long problem, so that a template that cuts its prompt does not pass."""


@dataclass(frozen=True)
class AnswerTemplate:
    """A Jinja template for the last user message. The manifest records `name`, which identifies the template."""

    name: str
    source: str

    def apply(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Return the messages with the instruction in the last one, which must be the user's."""
        *before, last = messages
        try:
            content = _compile(self.source).render(prompt=last.content)
        except Exception as error:  # a user's template raises any type: undefined names, syntax, filters
            raise UserError(f"--template {self.name} does not render: {first_line(error)}") from error
        return (*before, Message(last.role, content))

    def without_instruction(self, text: str) -> str:
        """Return the problem inside a templated message; the whole text if the template's words are not around it."""
        before, after = _split_template(self.source)
        inside = len(before) + len(after) <= len(text) and text.startswith(before) and text.endswith(after)
        return text[len(before) : len(text) - len(after)] if inside else text


TOOL_WORDING = AnswerTemplate(
    "retool",
    "Solve the following problem step by step. You now have the ability to selectively write executable Python code to"
    " enhance your reasoning process. The Python code will be executed by an external sandbox, and the output (wrapped"
    " in `<interpreter>output_str</interpreter>`) can be returned to aid your reasoning and help you arrive at the"
    " final answer. The Python code should be complete scripts, including necessary imports. Important: The sandbox is"
    " stateless and non-interactive; thus, prior imports, definitions, and state do not persist between executions and"
    " cannot be referenced.\nEach code snippet is wrapped with `<code>\n```python\ncode snippet\n```\n</code>`.\n"
    "*user question:*\n{{ prompt }}",
)
"""The reference's wording. It is part of the chat, not of the prompt, whose id is the same with and without tools."""


def tool_wording(template: str, *, with_tools: bool = True) -> AnswerTemplate | None:
    """Return what a template tells the model about its interpreter, apart from the answer instruction.

    Raises UserError if the template announces an interpreter and there is none.
    """
    if template != "retool":
        return None
    if not with_tools:
        raise UserError("--template retool tells the model of an interpreter: add --tools python, or choose boxed")
    return TOOL_WORDING


def load_template(name: str) -> AnswerTemplate:
    """Return a built-in template or the one in a file; raises UserError if it does not exist or does not compile."""
    if name in BUILT_IN:
        return AnswerTemplate(name, BUILT_IN[name])
    path = Path(name)
    if not os.path.isfile(path):  # unlike Path.is_file, no error if given a whole template
        raise UserError(f"--template {name}: choose one of {', '.join(BUILT_IN)}, or an existing FILE.jinja")
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--template {name} cannot be read: {first_line(error)}") from error
    rendered = AnswerTemplate(name, source).apply((Message("user", _PROBE),))[0].content
    if _PROBE not in rendered:
        raise UserError(f"--template {name} drops the problem: it must contain {{{{ prompt }}}}")
    return AnswerTemplate(f"{path.name}@{hashlib.sha256(source.encode()).hexdigest()[:12]}", source)


@lru_cache(maxsize=8)
def _split_template(source: str) -> tuple[str, str]:
    """Return what a template writes before and after the problem."""
    before, _, after = _compile(source).render(prompt=_PROBE).partition(_PROBE)
    return before, after


@lru_cache(maxsize=8)
def _compile(source: str) -> "jinja2.Template":
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(source)
