"""Options: every value that cannot work is refused in one line that names the option."""

from dataclasses import fields
from typing import Any

import pytest

from spo_data.errors import UserError
from spo_data.options import (
    DTYPES,
    PRESETS,
    EngineOptions,
    GraderOptions,
    PromptOptions,
    Sampling,
    ToolOptions,
    help_of,
)

ALL = (PromptOptions, Sampling, EngineOptions, GraderOptions, ToolOptions)
NAN, INF = float("nan"), float("inf")

BAD: list[tuple[type, str, Any]] = [
    *((PromptOptions, "limit", value) for value in (0, -1)),
    *((Sampling, "n", value) for value in (0, -8)),
    *((Sampling, "temperature", value) for value in (-0.1, NAN, INF)),
    *((Sampling, "top_p", value) for value in (0, -1, 1.01, NAN, INF)),
    *((Sampling, "top_k", value) for value in (0, -2)),
    *((Sampling, "max_tokens", value) for value in (0, -1)),
    *((EngineOptions, "tensor_parallel_size", value) for value in (0, -1)),
    *((EngineOptions, "gpu_memory_utilization", value) for value in (0, -0.5, 1.5, NAN)),
    *((EngineOptions, "max_model_len", value) for value in (0, 1, -1)),
    *((EngineOptions, "max_num_seqs", value) for value in (0, -1)),
    *((EngineOptions, "dtype", value) for value in ("int8", "", "FLOAT32")),
    *((GraderOptions, "grader_workers", value) for value in (0, -1)),
    *((GraderOptions, "grader_seconds", value) for value in (0, -1, NAN)),
    *((GraderOptions, "grader_memory_gb", value) for value in (0, 0.5, -1, NAN, INF)),
    *((ToolOptions, "tools", value) for value in ("ruby", "", "Python")),
    *((ToolOptions, "max_tool_turns", value) for value in (0, -1)),
    *((ToolOptions, "tool_seconds", value) for value in (0, -1, NAN, INF)),
    *((ToolOptions, "tool_memory_mb", value) for value in (0, 64)),
    *((ToolOptions, "tool_output_chars", value) for value in (0, -1)),
    *((ToolOptions, "sandbox", value) for value in ("", "http://", "ftp://there", "there:80", "http:///")),
]


@pytest.mark.parametrize(("options", "name", "value"), BAD)
def test_a_value_that_cannot_work_is_refused_by_its_options_name(options: type, name: str, value: Any) -> None:
    """Infinity was accepted: it made run.json unreadable as a temperature or raised OverflowError as a memory limit."""
    with pytest.raises(UserError) as raised:
        options(**{name: value})
    message = str(raised.value)
    assert message.startswith(f"--{name.replace('_', '-')} {value}: ")
    assert len(message.splitlines()) == 1
    assert raised.value.exit_status == 2


@pytest.mark.parametrize(
    ("name", "value"), [("max_tool_turns", 4), ("sandbox", "http://there"), ("sandbox_unsafe", True)]
)
def test_what_only_an_interpreter_would_heed_is_refused_without_one(name: str, value: Any) -> None:
    """A user who forgot --tools python silently got the values of another policy."""
    with pytest.raises(UserError, match="responses have no interpreter; --tools python gives them one") as raised:
        ToolOptions(**{name: value})
    assert str(raised.value).startswith(f"--{name.replace('_', '-')}: ")
    ToolOptions(tools="python", **{name: value})


def test_a_password_in_an_address_is_refused() -> None:
    """The command is recorded in run.json, which is published, so the password was published too."""
    with pytest.raises(UserError, match=r"put user and password into ~/\.netrc") as raised:
        ToolOptions(tools="python", sandbox="http://me:secret@there:80")
    assert "secret" not in str(raised.value)
    ToolOptions(tools="python", sandbox="http://there:80/a@b")


GOOD: list[tuple[type, str, Any]] = [
    *((PromptOptions, "limit", value) for value in (None, 1)),
    *((Sampling, "n", value) for value in (1, 4096)),
    *((Sampling, "temperature", value) for value in (0, 2.5)),
    *((Sampling, "top_p", value) for value in (1e-6, 1)),
    *((Sampling, "top_k", value) for value in (-1, 1)),
    (Sampling, "max_tokens", 1),
    (EngineOptions, "tensor_parallel_size", 1),
    *((EngineOptions, "gpu_memory_utilization", value) for value in (None, 0.01, 1)),
    *((EngineOptions, "max_model_len", value) for value in (None, 2)),
    *((EngineOptions, "max_num_seqs", value) for value in (None, 1)),
    *((EngineOptions, "dtype", value) for value in DTYPES),
    *((GraderOptions, "grader_workers", value) for value in (None, 1)),
    (GraderOptions, "grader_seconds", 0.1),
    (GraderOptions, "grader_memory_gb", 1),
]


@pytest.mark.parametrize(("options", "name", "value"), GOOD)
def test_a_value_at_the_edge_is_taken(options: type, name: str, value: Any) -> None:
    assert getattr(options(**{name: value}), name) == value


def test_the_defaults_are_the_training_policys() -> None:
    sampling = Sampling()
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.n) == (1.0, 1.0, -1, 8)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_sampling(name: str) -> None:
    assert Sampling(**PRESETS[name]) != Sampling()


@pytest.mark.parametrize(("options", "name"), [(options, field.name) for options in ALL for field in fields(options)])
def test_every_option_has_one_sentence_of_help(options: type, name: str) -> None:
    text = help_of(options, name)
    assert text.endswith((".", ")."))
    assert "\n" not in text


def test_options_share_no_default_with_each_other() -> None:
    first, second = EngineOptions(), EngineOptions()
    first.engine_arg["seed"] = 1
    assert second.engine_arg == {}
