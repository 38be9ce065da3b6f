"""Chat templates that write the date: found on any day, and refused with the option that fixes it."""

import copy
import dataclasses
import json
import re
import shlex
from datetime import datetime
from typing import Any

import pytest

from spo_data.errors import UserError
from spo_data.models.chat import Chat, load_chat
from spo_data.models.names import resolve_model
from spo_data.models.template_date import refuse_dates
from spo_data.prompts.identity import Message

TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
TEMPLATES = {
    "llama": """{%- if not date_string is defined %}{%- if strftime_now is defined %}
{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "May 2024" %}{%- endif %}{%- endif %}
{%- if messages[0]["role"] == "system" %}{%- set system = messages[0]["content"] %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = "" %}{%- endif %}
<|system|>Knowledge cutoff: December 2023
Today: {{ date_string }}
{{ system }}"""
    + TURNS,
    "granite": """{%- if messages[0]["role"] != "system" %}<|system|>Knowledge cutoff: April 2024.
Today's Date: {{ strftime_now("%B %d, %Y") }}. You are a helpful assistant.{% endif %}"""
    + TURNS,
    "mistral": """{%- set today = strftime_now("%Y-%m-%d") %}
{%- if messages[0]["role"] != "system" %}[SYSTEM]Consider the date, {{ today }}.[/SYSTEM]{% endif %}"""
    + TURNS,
    "fixed": """{%- if messages[0]["role"] == "tool" %}{{ strftime_now("%Y") }}{% endif %}""" + TURNS,
    "hidden": """{% if not with_date is defined %}{{ strftime_now("%Y") }}{% endif %}""" + TURNS,
    "picky": """{% if messages[0].role == "system" %}{{ raise_exception("no system") }}{% endif %}
{{ strftime_now("%Y") }}"""
    + TURNS,
    "always": """{{ strftime_now("%A") }}""" + TURNS,
}
ASKED = [Message("user", "What is 2 + 2?")]
TOLD = [Message("system", "Be brief."), *ASKED]


@pytest.fixture(scope="module")
def chat() -> Chat:
    return load_chat(resolve_model("smollm2-135m"))


def with_template(chat: Chat, name: str, **arguments: Any) -> Chat:
    tokenizer = copy.copy(chat.tokenizer)
    tokenizer.chat_template = TEMPLATES[name]
    return dataclasses.replace(chat, tokenizer=tokenizer, template_kwargs=arguments)


def refusal(chat: Chat, *conversations: list[Message], allow: str = "") -> str:
    with pytest.raises(UserError) as refused:
        refuse_dates(chat, conversations, allow)
    said = str(refused.value)
    start = "the model's chat template writes today's date into the prompts, so each day has its own policy: "
    assert said.startswith(start)
    assert "\n" not in said
    return said.removeprefix(start)


def test_a_date_that_is_an_argument_is_fixed_by_it(chat: Chat) -> None:
    """The checksum of Llama 3.2's template is the same every day: a run over midnight had two policies."""
    dated = with_template(chat, "llama", enable_thinking=False)
    said = refusal(dated, ASKED, allow=" --allow-mismatch chat_template")
    words = shlex.split(said)
    assert words[:3] == ["fix", "it", "with"]
    assert words[3] == "--chat-template-kwargs"
    arguments = json.loads(words[4])
    assert words[5:] == ["--allow-mismatch", "chat_template"]
    assert arguments.keys() == {"enable_thinking", "date_string"}
    assert datetime.strptime(arguments["date_string"], "%d %b %Y")
    fixed = with_template(chat, "llama", **arguments)
    refuse_dates(fixed, [ASKED, TOLD])
    assert f"Today: {arguments['date_string']}" in fixed.render(ASKED)
    assert refusal(dated, TOLD)


@pytest.mark.parametrize("name", ["granite", "mistral"])
def test_a_date_in_the_default_system_prompt_is_fixed_by_a_system_prompt(chat: Chat, name: str) -> None:
    dated = with_template(chat, name)
    said = refusal(dated, TOLD, ASKED)
    assert said.startswith(
        "give a system prompt (--system TEXT), with which it writes no date, or --chat-template FILE, "
    )
    refuse_dates(dated, [TOLD])


@pytest.mark.parametrize("name", ["always", "hidden", "picky"])
def test_a_date_that_nothing_else_fixes_needs_another_template(chat: Chat, name: str) -> None:
    """An argument that hides the date would make another prompt."""
    assert refusal(with_template(chat, name), ASKED).startswith("give --chat-template FILE, a copy of the ")


@pytest.mark.parametrize("name", ["fixed", None])
def test_a_template_that_writes_no_date_passes(chat: Chat, name: str | None) -> None:
    refuse_dates(chat if name is None else with_template(chat, name), [ASKED, TOLD])
    refuse_dates(chat, [])


def test_the_clock_is_the_template_s_alone(chat: Chat) -> None:
    """Nothing else in the process may see another time: the two clocks are arguments of one rendering."""
    dated = with_template(chat, "always")
    before = dated.render(ASKED)
    refusal(dated, ASKED)
    assert re.match(datetime.now().strftime("%A"), before)
    assert dated.render(ASKED) == before
