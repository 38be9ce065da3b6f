"""Which model is trained, and at which commit."""

from types import SimpleNamespace
from typing import Any

import pytest

import spo_data.models.names
from spo_data.errors import UserError
from spo_train.plan.model import choose_model


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
