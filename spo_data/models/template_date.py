"""Chat templates that write the day's date: a value would belong to the policy of one day.

    refuse_dates(chat, conversations)        # raises UserError with the option that fixes the date

The checksum of such a template (Llama 3.2, Granite, Mistral Small) is the same every day, but its prompts are not, so
samples of two days in one run, or an estimate and a training run, would be of two policies without a word. A template
gets the date from `strftime_now`. One conversation of each sequence of roles is rendered with two clocks.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_data.prompts.identity import Message

if TYPE_CHECKING:
    from spo_data.models.chat import Chat

_CLOCKS = (datetime(2001, 2, 3, 4, 5, 6), datetime(2032, 11, 28, 18, 49, 50))
"""They differ in every part of a date, the weekday too."""
_DATE_NAMES = re.compile(r"\b[a-z_]*(?:date|today)[a-z_]*\b")
"""Names in a template that may be the argument by which it takes the date, such as date_string."""


def refuse_dates(chat: "Chat", conversations: Iterable[Sequence[Message]], allow: str = "") -> None:
    """Raise UserError if the rendering of a conversation depends on the day.

    The error names the argument, or else the options, that fix the date; `allow` follows an argument.
    """
    by_roles = {tuple(message.role for message in messages): messages for messages in conversations}
    for messages in by_roles.values():
        if _is_dated(chat, messages):
            raise UserError(
                "the model's chat template writes today's date into the prompts, so each day has its own policy:"
                f" {_suggest(chat, messages, allow)}"
            )


def _is_dated(chat: "Chat", messages: Sequence[Message]) -> bool:
    first, second = (chat.render(messages, clock.strftime) for clock in _CLOCKS)
    return first != second


def _suggest(chat: "Chat", messages: Sequence[Message], allow: str) -> str:
    formats: list[str] = []

    def note(form: str) -> str:
        formats.append(form)
        return _CLOCKS[0].strftime(form)

    chat.render(messages, note)
    for name in dict.fromkeys(_DATE_NAMES.findall(str(chat.tokenizer.chat_template))):
        for form in dict.fromkeys(formats):
            fixed = _fix(chat, {name: datetime.now().strftime(form)})
            if _is_fixed(fixed, messages) and _shows(fixed, messages, name):
                arguments = json.dumps(dict(fixed.template_kwargs), ensure_ascii=False)
                return f"fix it with --chat-template-kwargs {shlex.quote(arguments)}{allow}"
    file = "--chat-template FILE, a copy of the template with a fixed date"
    if messages[0].role != "system" and _is_fixed(chat, (Message("system", "Be brief."), *messages)):
        return f"give a system prompt (--system TEXT), with which it writes no date, or {file}"
    return f"give {file}"


def _is_fixed(chat: "Chat", messages: Sequence[Message]) -> bool:
    """Whether a rendering that may fail works and does not depend on the day."""
    try:
        return not _is_dated(chat, messages)
    except UserError:
        return False


def _fix(chat: "Chat", more: Mapping[str, Any]) -> "Chat":
    return replace(chat, template_kwargs={**chat.template_kwargs, **more})


def _shows(chat: "Chat", messages: Sequence[Message], name: str) -> bool:
    """Whether the template writes the argument: one that only hides the date is another prompt."""
    return str(chat.template_kwargs[name]) in chat.render(messages)
