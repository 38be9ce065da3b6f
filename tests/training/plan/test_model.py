"""Which model is trained, and at which commit."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import spo_data.models.names
from spo_data.errors import UserError
from spo_data.models.chat import load_chat
from spo_data.models.names import resolve_model
from spo_data.prompts.identity import Message, Prompt
from spo_train.plan.model import choose_model, find_longest_prompt


def choose(
    model: str | None = None, revision: str | None = None, *, values: tuple[str | None, str | None] = (None, None)
) -> Any:
    options: Any = SimpleNamespace(offline_values="runs/x", model=model, model_revision=revision)
    defaults: Any = SimpleNamespace(model=values[0], model_revision=values[1])
    return choose_model(options, defaults)


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is its name and the revision that is asked for."""
    monkeypatch.setattr(
        spo_data.models.names, "resolve_model", lambda *given: SimpleNamespace(name=given[0], at=given[1])
    )


@pytest.mark.parametrize(
    ("given", "values", "name", "at"),
    [
        ((None, None), ("a/b", "c0ffee"), "a/b", "c0ffee"),
        ((None, "main"), ("a/b", "c0ffee"), "a/b", "main"),
        (("a/b", None), ("a/b", "c0ffee"), "a/b", "c0ffee"),
        (("a/b", "main"), ("a/b", "c0ffee"), "a/b", "main"),
        (("x/y", None), ("a/b", "c0ffee"), "x/y", None),
        (("x/y", None), (None, None), "x/y", None),
    ],
)
def test_the_values_model_at_their_commit_unless_another_is_asked_for(
    given: tuple[str | None, str | None], values: tuple[str | None, str | None], name: str, at: str | None
) -> None:
    model = choose(*given, values=values)
    assert (model.name, model.at) == (name, at)


def test_values_that_name_no_model_need_one() -> None:
    with pytest.raises(UserError, match="runs/x does not name the model of its values: give --model"):
        choose()


def test_a_chat_template_that_writes_the_date_is_refused_in_training_too() -> None:
    """The same values would have been trained on under another prompt each day."""
    chat = load_chat(
        resolve_model("smollm2-135m"), template="{{ strftime_now('%A') if not date else date }}{{ messages }}"
    )
    data: Any = SimpleNamespace(prompts=[Prompt((Message("user", "2 + 2?"),), "4", "")])
    with pytest.raises(
        UserError, match=r"--chat-template-kwargs '{\"date\": \"\w+day\"}' --allow-mismatch chat_template$"
    ):
        find_longest_prompt(data, None, chat, " --allow-mismatch chat_template")
    assert find_longest_prompt(data, None, replace(chat, template_kwargs={"date": "Monday"})) > 5
