"""Estimates with an interpreter: a scripted engine writes real programs, and the real sandbox runs them."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from spo_data import UserError, sample_seed
from spo_data.options import GraderOptions
from spo_data.prompts.identity import turn_seed
from spo_data.provenance import ToolsRecord
from spo_data.run.manifest import read_manifest
from spo_data.sandbox.interpreter import Execution, Limits, SandboxError
from spo_pipelines.regrade import RegradeOptions, regrade
from support import scripted
from support.records import journal_of
from support.sandboxes import eventually_nothing_left, left, outside

Script, estimate, options = scripted.Script, scripted.estimate, scripted.options
CODE = "6 * 7"
TOOLS: dict[str, Any] = {"tools": "python", "max_tokens": 400}


def rows_of(run: Path, table: str) -> list[dict[str, Any]]:
    (path,) = (run / table).glob("*.parquet")
    return list(pq.read_table(path).to_pylist())


class Failing:
    """An interpreter that fails every n-th program and may be slow for one of them."""

    concurrency = 2

    def __init__(self, every: int, slow: int = 0) -> None:
        self._every, self._slow = every, slow
        self.runs = 0

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        assert (limits, stdin) == (Limits(), "")
        self.runs += 1
        if self.runs == self._slow:
            await asyncio.sleep(1)
        if self._every and self.runs % self._every == 0:
            raise SandboxError("http://there gave no answer in 5 attempts: 503")
        return Execution(f"{len(code)}\n", "", 0)


def with_interpreter(interpreter: Failing, patch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def opened(*_: object) -> AsyncIterator[Failing]:
        yield interpreter

    patch.setattr("spo_pipelines.estimate.open_interpreter", opened)


def test_programs_run_and_their_output_is_in_the_samples_and_marked(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = estimate(options(dataset, run, n=2, logprobs=True, **TOOLS), Script(code=CODE))
    assert outcome.summary.complete
    assert outcome.summary.value_mean == 1.0
    tokenizer = outcome.plan.chat.tokenizer
    for row in rows_of(run, "samples"):
        assert row["response"].count("<interpreter>\n42\n</interpreter>\n\n") == row["tool_turns"] == 2
        own = [token for token, mine in zip(row["token_ids"], row["response_mask"], strict=True) if mine]
        assert "interpreter" not in tokenizer.decode(own)
        assert tokenizer.decode(row["token_ids"], skip_special_tokens=True) == row["response"]
        assert [value is None for value in row["token_logprobs"]] == [not mine for mine in row["response_mask"]]
    assert {row["tool_turns_mean"] for row in rows_of(run, "values")} == {2.0}
    with journal_of(run) as journal:
        assert all(sample.response_mask.sum() < len(sample.token_ids) for sample in journal.samples())
    manifest = read_manifest(run)
    assert manifest is not None
    assert manifest.policy.template == "retool"
    assert manifest.policy.tools == ToolsRecord(
        interpreter="python", max_turns=8, seconds=30.0, memory_mb=1024, output_chars=2000
    )


def test_each_turn_is_a_request_with_a_seed_of_its_own(dataset: Path, tmp_path: Path) -> None:
    script = Script(code=CODE)
    estimate(options(dataset, tmp_path / "run", n=2, limit=2, **TOOLS), script)
    seeds = [seed for _, _, seed in script.submitted]
    assert len(set(seeds)) == len(seeds) == 2 * 2 * 3
    for prompt_id, index, _ in script.submitted:
        first = sample_seed(0, prompt_id, index)
        assert {first, turn_seed(first, 1), turn_seed(first, 2)} <= set(seeds)


def test_a_stop_string_ends_the_text_of_a_response_with_programs(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine stops at it, but the text of all turns is made of their tokens, which hold it."""
    with_interpreter(Failing(every=0), monkeypatch)
    estimate(options(dataset, tmp_path / "run", n=1, limit=2, stop=("so ",), **TOOLS), Script(code=CODE))
    rows = rows_of(tmp_path / "run", "samples")
    assert [(row["tool_turns"], row["verdict"]) for row in rows] == [(2, "no_answer")] * 2
    assert not any("so " in row["response"] for row in rows)


def test_a_prompt_has_one_id_with_and_without_an_interpreter_and_the_model_is_told_of_it(
    dataset: Path, tmp_path: Path
) -> None:
    plain = estimate(options(dataset, tmp_path / "plain"), dry_run=True).plan
    tools = estimate(options(dataset, tmp_path / "tools", **TOOLS), dry_run=True).plan
    assert [p.prompt_id for p in plain.prompt_set.prompts] == [p.prompt_id for p in tools.prompt_set.prompts]
    assert "<code>" not in plain.preview
    assert "wrapped with `<code>" in tools.preview
    assert all(len(tools.token_ids[each]) > len(plain.token_ids[each]) + 100 for each in plain.token_ids)


def test_an_interpreter_that_fails_is_never_the_policys_failure_and_is_tried_again(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with_interpreter(Failing(every=5), monkeypatch)
    outcome = estimate(options(dataset, run, n=2, also="dapo", **TOOLS), Script(code=CODE))
    failed = outcome.summary.verdicts["tool_error"]
    assert 0 < failed < 12
    assert not outcome.summary.complete
    assert (outcome.summary.not_valid, outcome.summary.unfinished) == (failed, 0)
    assert outcome.summary.value_mean == 1.0, "what failed for us lowers no value"
    broken = [row for row in rows_of(run, "samples") if row["verdict"] == "tool_error"]
    assert len(broken) == failed
    assert {(row["score"], row["finish_reason"]) for row in broken} == {(None, "tool_error")}
    assert sum(row["n_failed"] for row in rows_of(run, "values")) <= failed
    with journal_of(run) as journal:
        details = {sample.detail for sample in journal.samples() if sample.verdict == "tool_error"}
    assert details == {"http://there gave no answer in 5 attempts: 503"}

    script = Script(code=CODE)
    with_interpreter(Failing(every=0), monkeypatch)
    again = estimate(options(dataset, run, n=2, also="dapo", **TOOLS), script)
    assert again.summary.complete
    assert len({(prompt_id, index) for prompt_id, index, _ in script.submitted}) == failed
    assert {row["verdict"] for row in rows_of(run, "samples")} == {"correct"}


def test_an_interpreter_that_fails_every_response_ends_the_estimate_and_the_command_goes_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every later response was sampled up to its first program and then thrown away."""
    run, script = tmp_path / "run", Script(code=CODE)
    with_interpreter(Failing(every=1), monkeypatch)
    outcome = estimate(options(dataset, run, n=16, **TOOLS), script)
    assert str(outcome.engine_error).startswith("no program could be run for 12 responses: http://there gave no answer")
    assert 12 <= len(script.submitted) < 40
    with_interpreter(Failing(every=0), monkeypatch)
    assert estimate(options(dataset, run, n=16, **TOOLS), Script(code=CODE)).summary.complete


def test_responses_that_were_broken_off_are_nothing_that_a_grader_failed_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If most responses were broken off, `regrade` refused the run and blamed the verifier, on every attempt."""
    run = tmp_path / "run"
    with_interpreter(Failing(every=2), monkeypatch)
    broken = estimate(options(dataset, run, n=2, **TOOLS), Script(code=CODE)).summary.verdicts["tool_error"]
    assert broken > 6
    grader = GraderOptions(verifier="dapo", grader_workers=1)
    regraded = asyncio.run(regrade(RegradeOptions(run, grader), lambda *_: None))
    assert regraded.summary.verdicts["tool_error"] == broken
    assert sum(regraded.summary.tool_errors.values()) == broken
    assert "" not in regraded.summary.tool_errors


@pytest.mark.parametrize(
    "changed",
    [
        {"limit": 3},
        {"limit": 3, "temperature": 0.5},
        {"limit": 3, "shuffle_seed": 5},
        {"other dataset": True},
    ],
    ids=str,
)
@pytest.mark.slow
def test_a_call_after_one_that_only_had_broken_responses_is_the_first_one(
    changed: dict[str, Any], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call's data stayed in the run. Its prompts, which the second call had not asked for, took other
    prompts' places and made that call fail after sampling. Its partial responses, from another policy, stood in a table
    that named this policy.
    """
    run = tmp_path / "run"
    with_interpreter(Failing(every=1), monkeypatch)
    assert estimate(options(dataset, run, n=1, **TOOLS), Script(code=CODE)).summary.verdicts == {"tool_error": 6}
    with_interpreter(Failing(every=0), monkeypatch)
    asked = dict(changed)
    if asked.pop("other dataset", False):
        dataset = scripted.write_rows(tmp_path / "other.jsonl", 7, **{f"r{k}": {"question": f"{k}?"} for k in range(4)})
    outcome = estimate(options(dataset, run, n=1, **TOOLS, **asked), Script(code=CODE))
    wanted = [prompt.prompt_id for prompt in outcome.plan.prompt_set.prompts]
    assert (outcome.summary.complete, outcome.summary.prompts) == (True, len(wanted))
    for table in ("values", "samples"):
        assert [row["prompt_id"] for row in rows_of(run, table)] == wanted
    assert {row["finish_reason"] for row in rows_of(run, "samples")} == {"stop"}
    with journal_of(run) as journal:
        assert sum(commit.samples for commit in journal.commits()) == len(wanted)


@pytest.fixture
def half_broken(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run in which each prompt has one correct sample, and one broken-off sample from a call with a higher n."""
    run = tmp_path / "run"
    for n, every in ((1, 0), (2, 1)):
        with_interpreter(Failing(every), monkeypatch)
        outcome = estimate(options(dataset, run, n=n, **TOOLS), Script(code=CODE))
    assert outcome.summary.verdicts == {"correct": 6, "tool_error": 6}
    with_interpreter(Failing(every=0), monkeypatch)
    return run


def test_a_lower_n_leaves_nothing_of_what_was_broken_off_beyond_it(half_broken: Path, dataset: Path) -> None:
    """The run was complete, but its rows counted one failed sample too many, and the lower bound was too low."""
    outcome = estimate(options(dataset, half_broken, n=1, **TOOLS), Script(code=CODE))
    assert outcome.summary.complete
    assert {(row["n"], row["n_failed"], row["value_low"]) for row in rows_of(half_broken, "values")} == {(1, 0, 1.0)}


@pytest.mark.slow
def test_a_redraw_that_fails_is_counted_once(half_broken: Path, dataset: Path) -> None:
    """The sample counted both as broken off and as failed: three samples instead of two, and a lower bound too low."""
    outcome = estimate(options(dataset, half_broken, n=2, **TOOLS), Script(code=CODE, fail_all=True))
    assert (outcome.summary.drawn, outcome.summary.engine_failures, outcome.summary.tool_errors) == (6, 6, {})
    assert {(row["n"], row["n_failed"], row["value_low"]) for row in rows_of(half_broken, "values")} == {(2, 1, 0.5)}


def test_a_call_that_does_not_begin_leaves_what_was_broken_off(half_broken: Path, dataset: Path) -> None:
    before = scripted.journal_rows(half_broken)
    estimate(options(dataset, half_broken, n=2, **TOOLS), dry_run=True)
    with pytest.raises(UserError):
        estimate(options(dataset, half_broken, n=2, temperature=0.5, **TOOLS), Script(code=CODE))
    assert scripted.journal_rows(half_broken) == before
    assert [verdict for *_, verdict in before].count("tool_error") == 6


def test_only_what_the_model_sampled_counts_as_sampled(dataset: Path, tmp_path: Path) -> None:
    """Tool output was counted in the tokens per second of the display, the card and the report."""
    run = tmp_path / "run"
    outcome = estimate(options(dataset, run, n=1, **TOOLS), Script(code=CODE))
    rows = rows_of(run, "samples")
    own = sum(sum(row["response_mask"]) for row in rows)
    manifest = read_manifest(run)
    assert manifest is not None
    with journal_of(run) as journal:
        assert manifest.timings.sampled_tokens == own == sum(commit.response_tokens for commit in journal.commits())
    assert own < sum(row["response_tokens"] for row in rows) == outcome.summary.response_tokens


@pytest.mark.slow
def test_a_program_that_takes_long_holds_up_no_other_response(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_interpreter(Failing(every=0, slow=1), monkeypatch)
    script = Script(code=CODE)
    estimate(options(dataset, tmp_path / "run", n=2, **TOOLS), script)
    waiting = script.finished[0]
    after = script.finished.index(waiting, script.finished.index(waiting) + 1)
    assert after >= 3 * 11, "all eleven others went through their three turns meanwhile"


def test_cancelling_an_estimate_kills_the_programs_that_run(dataset: Path, tmp_path: Path) -> None:
    """The estimate ended just as fast if it left the programs running."""
    sampling, interrupted = threading.Event(), []

    def interrupt(mark: str) -> None:
        sampling.wait()  # earlier, our own probe program checks whether there is a sandbox
        while not left(mark):
            time.sleep(0.01)
        interrupted.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    script = Script(code="import time; time.sleep(600)", hook=lambda _: sampling.set())
    with outside(tmp_path / "outside") as place:
        threading.Thread(target=interrupt, args=(place.mark,), daemon=True).start()
        outcome = estimate(options(dataset, tmp_path / "run", n=1, **{**TOOLS, "tool_seconds": 600.0}), script)
        assert eventually_nothing_left(place.mark)
    assert outcome.signal == signal.SIGINT
    assert time.monotonic() - interrupted[0] < 300, "it waited for the programs, which take ten minutes"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"template": "retool"}, "--template retool tells the model of an interpreter: add --tools python"),
        pytest.param(
            {"tools": "python", "sandbox": "http://127.0.0.1:9"},
            "--sandbox http://127.0.0.1:9",
            marks=pytest.mark.slow,
        ),
        ({"tools": "python", "stop": ("e>",)}, "--stop 'e>' would end a response at its first program"),
        ({"tools": "python", "stop": ("</code>\n",)}, "between <code> and </code>; remove this stop string"),
    ],
)
def test_what_cannot_be_is_refused_before_the_engine_starts(
    asked: dict[str, Any], message: str, dataset: Path, tmp_path: Path
) -> None:
    script = Script()
    with pytest.raises(UserError) as refusal:
        estimate(options(dataset, tmp_path / "run", **asked), script)
    assert message in str(refusal.value)
    assert script.seen is None


def test_a_run_with_other_tools_is_refused_with_both(dataset: Path, tmp_path: Path) -> None:
    estimate(options(dataset, tmp_path / "run", n=1, **TOOLS), Script(code=CODE))
    with pytest.raises(UserError) as refusal:
        estimate(options(dataset, tmp_path / "run", n=1, max_tool_turns=4, **TOOLS), Script(code=CODE))
    assert "tools python (8 turns, 30 s, 1,024 MB, 2,000 characters) (now python (4 turns" in str(refusal.value)


@pytest.mark.parametrize(
    ("nth", "when"), [(5, "after"), *(pytest.param(nth, "before", marks=pytest.mark.slow) for nth in (1, 14))]
)
@pytest.mark.slow
def test_a_run_that_is_killed_between_the_turns_of_its_responses_goes_on(
    nth: int, when: str, dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    argv = ["estimate", "--model", scripted.MODEL, "--dataset", str(dataset), "--out", str(run), "--n", "2"]
    argv += ["--max-tokens", "400", "--verifier", "exact", "--grader-workers", "1", "--tools", "python"]
    engine = {"code": CODE, "delay": 0.05}
    kill = {"at": "spo_data.sandbox.local:LocalInterpreter.run", "nth": nth, "when": when}
    killed = scripted.server().run({"argv": argv, "engine": engine, "kill": kill, "commit_samples": 1})
    assert killed["status"] == -9, killed["stderr"]
    before = scripted.journal_rows(run)
    resumed = scripted.server().run({"argv": [*argv, "--json"], "engine": engine})
    assert resumed["status"] == 0, resumed["stderr"]
    summary = json.loads(resumed["stdout"])
    assert (summary["complete"], summary["verdicts"]) == (True, {"correct": 12})
    after = scripted.journal_rows(run)
    assert len(after) == 12
    assert set(before) <= set(after)
