"""The tools of a training run: which ones it uses, what refuses them, and one shared interpreter per process."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ray", reason="verl is not installed")
import spo_data.sandbox.open
import spo_train.hooks.shared_interpreter
from spo_data.errors import UserError
from spo_data.options import ToolOptions
from spo_data.prompts.identity import Message, Prompt
from spo_data.prompts.template import TOOL_WORDING, tool_wording
from spo_data.provenance import ToolsRecord
from spo_data.sandbox.interpreter import Execution, Limits, SandboxError
from spo_data.values.schema import values_schema
from spo_data.values.table import ValueTable
from spo_train.data.loop_file import make_loop_settings, read_loop_options, read_loop_wording
from spo_train.hooks import failures
from spo_train.hooks.shared_interpreter import concurrency_of, share_interpreter
from spo_train.plan.record import read_record, refuse_another
from spo_train.plan.tool_options import check_interpreter, choose_tools, choose_wording, note_tools
from spo_train.plan.train_options import TrainOptions, of_the_paper
from support.records import make_train_record
from support.tool_scripts import ScriptedInterpreter

RECORDED = ToolsRecord(interpreter="python", max_turns=4, seconds=5.0, memory_mb=512, output_chars=300)
PYTHON = ToolOptions(tools="python")
NONE = ToolOptions(tools="none")


def asked(**options: Any) -> TrainOptions:
    return TrainOptions(offline_values="runs/demo", **options)


def test_left_alone_the_tools_are_the_values() -> None:
    assert ToolsRecord.of(choose_tools(asked(), RECORDED)) == RECORDED
    assert ToolsRecord.of(choose_tools(asked(), None)) is None
    assert ToolsRecord.of(choose_tools(asked(tools="none"), RECORDED)) is None
    assert choose_tools(asked(tools="python"), None) == PYTHON


@pytest.mark.parametrize(
    ("model", "tools", "found"),
    [
        (None, None, "python"),
        ("Qwen3-8B", None, "python"),
        ("qwen3-8b", None, "python"),
        ("Qwen/Qwen3-8B", None, "python"),
        ("Qwen/Qwen3-8B", "none", "none"),
        ("Qwen/Qwen3-4B", None, None),
    ],
)
def test_values_that_say_nothing_are_those_of_the_papers_policy(
    model: str | None, tools: str | None, found: str | None
) -> None:
    """The paper's model was assumed but not its interpreter, so the published values silently served another policy."""
    notes: list[str] = []
    nothing = ValueTable(values_schema().empty_table(), "published")
    options = of_the_paper(asked(model=model, tools=tools), nothing, notes.append)
    assert (options.tools, options.model) == (found, model or "Qwen/Qwen3-8B")
    assert any(note.startswith("--tools python: the paper's policy") for note in notes) == (tools != found)


def test_what_is_asked_for_changes_that_alone() -> None:
    options = choose_tools(asked(max_tool_turns=2, sandbox="http://localhost:1"), RECORDED)
    assert ToolsRecord.of(options) == RECORDED.model_copy(update={"max_turns": 2})
    assert options.sandbox == "http://localhost:1"
    assert choose_tools(asked(sandbox_unsafe=True), RECORDED).sandbox_unsafe


@pytest.mark.parametrize(
    ("options", "recorded", "says"),
    [
        ({"max_tool_turns": 4}, None, "--max-tool-turns: responses have no interpreter; --tools python"),
        ({"tools": "none", "sandbox": "http://there"}, RECORDED, "--sandbox: responses have no interpreter"),
        ({"sandbox_unsafe": True}, None, "--sandbox-unsafe: responses have no interpreter"),
        ({"tools": "bash"}, None, "--tools bash: choose one of python, none"),
        ({"tool_seconds": 0.0}, RECORDED, "--tool-seconds 0: must be above 0"),
        ({"sandbox": "localhost:8080"}, RECORDED, "--sandbox localhost:8080: local, or http://HOST:PORT"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], recorded: ToolsRecord | None, says: str
) -> None:
    with pytest.raises(UserError) as refused:
        choose_tools(asked(**options), recorded)
    assert str(refused.value).startswith(says)


def test_a_model_is_not_told_of_an_interpreter_that_is_not_there() -> None:
    with pytest.raises(UserError, match="--template retool tells the model of an interpreter: add --tools python"):
        tool_wording("retool", with_tools=False)
    assert tool_wording("boxed", with_tools=False) is None
    assert choose_wording(PYTHON, "retool") == TOOL_WORDING
    assert choose_wording(PYTHON, "boxed") is choose_wording(NONE, "retool") is None


def test_tools_that_no_prompt_tells_of_are_noted() -> None:
    bare = Prompt((Message("user", "1 + 1?"),), "2", "d")
    worded = Prompt((Message("system", "Write <code>…</code>."), Message("user", "1 + 1?")), "2", "d")
    assert note_tools(PYTHON, "boxed", [bare]) == (
        "the prompt does not tell the model about its interpreter: use --template retool",
    )
    assert note_tools(PYTHON, "boxed", [bare, worded]) == ()
    assert note_tools(PYTHON, "retool", [bare]) == ()
    assert note_tools(NONE, "boxed", [bare]) == ()


def test_what_is_written_for_the_agent_loop_is_what_it_reads(tmp_path: Path) -> None:
    options = ToolOptions(tools="python", max_tool_turns=2, tool_seconds=0.5, sandbox_unsafe=True)
    settings = make_loop_settings(options, 3, "retool")
    path = tmp_path / "agent_loop.yaml"
    path.write_text(yaml.safe_dump([{"name": "spo_agent", **settings}]))
    (read,) = yaml.safe_load(path.read_text())
    assert read_loop_options(read["interpreter"], read["sandbox"], read["sandbox_unsafe"]) == options
    assert ToolsRecord(**read["interpreter"]) == ToolsRecord.of(options)
    assert read_loop_wording(path) == TOOL_WORDING
    assert make_loop_settings(NONE, 3, "boxed") == {}
    path.write_text(yaml.safe_dump([{"name": "spo_agent"}]))
    assert read_loop_wording(path) is None


def test_workers_share_the_cores_of_their_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    shares = [(8, 1), (8, 4), (3, 2), (999, 1)]
    assert [concurrency_of(PYTHON, workers, nodes) for workers, nodes in shares] == [8, 32, 32, 1]


def test_workers_share_what_is_sent_to_an_address() -> None:
    """Each of eight workers sent 64 programs at once, which together exceeded the server's queue."""
    there = ToolOptions(tools="python", sandbox="http://there:1")
    assert [concurrency_of(there, workers, 1) for workers in (1, 8, 100)] == [64, 8, 1]


class Opening:
    """Replaces `open_interpreter`. The first `failing` attempts to open it fail."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.opened, self.closed = 0, 0

    @asynccontextmanager
    async def __call__(self, *_: Any, **__: Any) -> AsyncIterator[ScriptedInterpreter]:
        self.opened += 1
        await asyncio.sleep(0.01)
        if self.opened <= self.failing:
            raise UserError("bubblewrap is not installed")
        yield ScriptedInterpreter(())
        self.closed += 1


def test_all_responses_of_a_process_share_one_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """verl makes an agent loop for each response. With its own interpreter, each would start its own sandboxes."""
    opening = Opening()
    monkeypatch.setattr(spo_data.sandbox.open, "open_interpreter", opening)

    async def many() -> set[int]:
        first = await asyncio.gather(*(share_interpreter(PYTHON, 2, is_training=True) for _ in range(5)))
        given_up = asyncio.create_task(share_interpreter(PYTHON, 2, is_training=True))
        await asyncio.sleep(0)
        given_up.cancel()
        return {id(each) for each in (*first, await share_interpreter(PYTHON, 2, is_training=True))}

    assert len(asyncio.run(many())) == 1
    assert (opening.opened, opening.closed) == (1, 0)


def test_an_interpreter_that_could_not_be_opened_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone who waited gets the same failure. In turn, each would wait for an address that does not answer."""
    opening = Opening(failing=1)
    monkeypatch.setattr(spo_data.sandbox.open, "open_interpreter", opening)

    async def twice() -> None:
        failed = await asyncio.gather(
            *(share_interpreter(PYTHON, 2, is_training=True) for _ in range(3)), return_exceptions=True
        )
        assert [str(each) for each in failed] == ["bubblewrap is not installed"] * 3
        await share_interpreter(PYTHON, 2, is_training=True)

    asyncio.run(twice())
    assert opening.opened == 2


class Away:
    """An interpreter, with its own clock, that is unavailable for the first eight programs."""

    concurrency = 4

    def __init__(self) -> None:
        self.now, self.programs = 0.0, 0

    async def run(self, *_: Any) -> Execution:
        self.programs += 1
        there = self.programs > 8
        await asyncio.sleep(0)
        self.now += 10.0
        if not there:
            raise SandboxError("http://there: no connection (5 attempts)")
        return Execution("", "", 0)


@pytest.mark.parametrize(
    ("at_once", "patience", "is_training", "ends"),
    [
        (8, 60.0, True, False),  # all of them met the same outage
        (1, 60.0, True, True),
        (1, 90.0, True, False),
        (1, 60.0, False, False),
    ],
)
def test_an_interpreter_that_is_away_for_long_ends_the_training(
    monkeypatch: pytest.MonkeyPatch, at_once: int, patience: float, is_training: bool, ends: bool
) -> None:
    """Responses were replaced for four batches: if the sandbox did not answer, hours of sampling were wasted.

    An outage of half a minute ends nothing, no matter how many programs it hits. Nor does an outage during a
    validation.
    """
    said: list[str] = []
    away = Away()
    monkeypatch.setattr(failures, "give_up", said.append)
    monkeypatch.setattr(spo_train.hooks.shared_interpreter, "PATIENCE_SECONDS", patience)
    monkeypatch.setattr(spo_train.hooks.shared_interpreter.time, "monotonic", lambda: away.now)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})

    @asynccontextmanager
    async def opening(*_: Any, **__: Any) -> AsyncIterator[Away]:
        yield away

    monkeypatch.setattr(spo_data.sandbox.open, "open_interpreter", opening)

    async def run_all() -> None:
        shared = await share_interpreter(PYTHON, 1, is_training=is_training)
        for _ in range(8 // at_once):
            runs = (shared.run("", Limits()) for _ in range(at_once))
            assert all(isinstance(each, SandboxError) for each in await asyncio.gather(*runs, return_exceptions=True))
        assert bool(said) == ends
        said.clear()
        await shared.run("", Limits())
        away.programs = 0
        with suppress(SandboxError):
            await shared.run("", Limits())
        assert not said, "one that could be run begins the count again"

    asyncio.run(run_all())


def test_why_a_training_was_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(failures, "give_up", said.append)
    monkeypatch.setattr(spo_train.hooks.shared_interpreter, "PATIENCE_SECONDS", 0.0)

    async def run_all() -> None:
        watched = spo_train.hooks.shared_interpreter._WatchedInterpreter(Away(), concurrency=1)
        for _ in range(2):
            with pytest.raises(SandboxError):
                await watched.run("", Limits())

    asyncio.run(run_all())
    (reason,) = said
    assert re.fullmatch(
        r"no program could be run on \S+ for 0 seconds: http://there: no connection .5 attempts.", reason
    )


def test_an_interpreter_that_is_not_to_be_had_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spo_data.sandbox.open, "open_interpreter", Opening(failing=1))
    check_interpreter(NONE)
    with pytest.raises(UserError, match="bubblewrap is not installed"):
        check_interpreter(PYTHON)
    check_interpreter(PYTHON)


def test_a_training_goes_on_with_its_own_tools(tmp_path: Path) -> None:
    record = make_train_record()
    with_tools = record.model_copy(update={"tools": RECORDED, "wording": "retool"})
    with_tools.write(tmp_path)
    assert read_record(tmp_path) == with_tools
    refuse_another(with_tools, with_tools, ())
    with pytest.raises(UserError, match=r"tools .there: python .4 turns, 5 s, 512 MB, 300 characters.; now: none"):
        refuse_another(with_tools, record, ())
    with pytest.raises(UserError, match=r"tools .there: none; now: python"):
        refuse_another(record, with_tools, ())
    with pytest.raises(UserError, match=r"template .there: retool; now: mentions no tools"):
        refuse_another(with_tools, with_tools.model_copy(update={"wording": None}), ())


def test_a_record_from_before_there_were_tools_is_read(tmp_path: Path) -> None:
    fields = '"method": "spo", "model": "m", "revision": "r", "prompts": 1, "prompts_fingerprint": "f"'
    more = '"verifier": "exact", "verifier_version": "1", "values": null, "allowed_mismatches": [], "commands": ["c"]'
    (tmp_path / "run_train.json").write_text(f'{{"schema_version": 1, {fields}, {more}, "packages": {{}}}}')
    record = read_record(tmp_path)
    assert record is not None
    assert (record.tools, record.wording) == (None, None)
