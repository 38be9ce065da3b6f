"""The stream: no sample waits for a slow sibling, none is drawn ahead, and every finished one is in the journal."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import spo_data.run.journal
import spo_pipelines.stream as stream_module
from spo_data import Message, Prompt, SpoError, sample_seed
from spo_data.engines.protocol import Completion, EngineError, SampleRequest
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.workers.job import GradeJob
from spo_data.run.journal import Journal
from spo_data.run.sample import Sample
from spo_pipelines.graders import Graders, grade_stored
from spo_pipelines.stream import Progress, stream
from support import scripted
from support.records import GRADER

Script = scripted.Script

PROMPTS = {
    prompt.prompt_id: prompt
    for prompt in (Prompt((Message("user", f"What is {i} + 1?"),), str(i + 1), "test") for i in range(10))
}
N = 6


class Pool:
    """Grades as a grader pool does, in this process."""

    concurrency = 4

    def __init__(self, seconds: float = 0.0, verdict: Callable[[GradeJob], Grade] | None = None) -> None:
        self.graded: list[str] = []
        self._seconds = seconds
        self._verdict = verdict or (lambda job: Grade.scored(float(f"{{{job.ground_truth}}}" in str(job.response)), ""))

    async def grade(self, job: GradeJob) -> Grade:
        await asyncio.sleep(self._seconds)
        self.graded.append(str(job.response))
        return self._verdict(job)


class Run:
    """A stream over all samples of all prompts, and what a test can observe of it."""

    def __init__(self, folder: Path, script: Any = None, pool: Pool | None = None) -> None:
        self.script = script or Script(delay=0.004)
        self.pool = pool or Pool()
        self.path = folder / "journal.sqlite"
        self.progress = Progress(len(PROMPTS) * N, 0)
        self.stop = asyncio.Event()
        self.drawn = 0
        self.heard: list[tuple[int, int]] = []
        self.grading: list[int] = []

    def requests(self) -> Iterator[SampleRequest]:
        for prompt_id in PROMPTS:
            for index in range(N):
                self.drawn += 1
                seed = sample_seed(0, prompt_id, index)
                yield SampleRequest(prompt_id, index, seed, np.zeros(3, dtype=np.int32), 64)

    def listen(self, progress: Progress) -> None:
        self.heard.append((progress.sampled, progress.failed))
        self.grading.append(progress.grading)

    async def go(self, requests: Any = None) -> SpoError | None:
        plan = SimpleNamespace(
            prompt_set=SimpleNamespace(prompts=tuple(PROMPTS.values())),
            options=SimpleNamespace(sampling=SimpleNamespace(logprobs=False)),
        )
        engine = scripted.ScriptedEngine(self.script, plan)
        with Journal(self.path, GRADER) as journal:
            journal.set_prompts(tuple(PROMPTS.values()), ())
            graders = Graders(cast(Any, self.pool), GRADER)
            asked = self.requests() if requests is None else requests
            return await stream(engine, asked, PROMPTS, graders, journal, self.progress, self.listen, self.stop)

    def journaled(self) -> list[tuple[str, int]]:
        return [(row[0], row[1]) for row in scripted.journal_rows(self.path.parent)]


EVERYTHING = [(prompt_id, index) for prompt_id in PROMPTS for index in range(N)]


def test_every_request_is_answered_graded_and_journaled_once(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert asyncio.run(run.go()) is None
    assert run.journaled() == EVERYTHING
    assert run.script.finished != EVERYTHING, "the script finishes out of order"
    assert run.heard == [(count, 0) for count in range(1, 61)]
    assert run.progress.verdicts.total() == run.progress.n_scored == 60
    assert run.progress.score_sum == run.progress.verdicts["correct"]
    assert run.grading[-1] == 0 == min(run.grading) < max(run.grading), "those being graded are counted meanwhile"
    with Journal(run.path, GRADER, read_only=True) as journal:
        assert run.progress.tokens == sum(len(sample.token_ids) for sample in journal.samples())


class SteppedEngine:
    """Finishes a request when the test says so."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.flying: dict[tuple[str, int], asyncio.Future[Completion]] = {}

    async def submit(self, request: SampleRequest) -> Completion:
        key = request.prompt_id, request.sample_index
        self.flying[key] = asyncio.get_running_loop().create_future()
        return await self.flying[key]

    def finish(self, position: int) -> None:
        key = list(self.flying)[position % len(self.flying)]
        self.flying.pop(key).set_result(Completion("{1}", np.ones(1, dtype=np.int32), "stop"))


@pytest.mark.parametrize(("capacity", "over_full"), [(1, 3), (4, 6), (16, 20)])
def test_the_engine_is_slightly_over_full_until_the_requests_run_out(
    capacity: int, over_full: int, tmp_path: Path
) -> None:
    """The first sample finishes last. If samples waited for their siblings, the engine would run empty."""

    async def go() -> None:
        with Journal(run.path, GRADER) as journal:
            journal.set_prompts(tuple(PROMPTS.values()), ())
            graders = Graders(cast(Any, run.pool), GRADER)
            streaming = asyncio.create_task(
                stream(engine, run.requests(), PROMPTS, graders, journal, run.progress, run.listen, run.stop)
            )
            for finished in range(60):
                for _ in range(20):
                    await asyncio.sleep(0)
                busy.append(len(engine.flying))
                assert busy[-1] == min(over_full, 60 - finished)
                engine.finish(-1)
            assert await streaming is None

    run, engine, busy = Run(tmp_path), SteppedEngine(capacity), list[int]()
    asyncio.run(go())
    assert max(busy) == over_full > capacity
    assert run.journaled() == EVERYTHING


def test_a_slow_sample_delays_no_other(tmp_path: Path) -> None:
    run = Run(tmp_path, Script(slow_prompt=0, slow_seconds=1.0, delay=0.002))
    asyncio.run(run.go())
    assert run.script.submitted[0][:2] == EVERYTHING[0]
    assert run.script.finished[-1] == EVERYTHING[0], "all 59 others were finished before it"
    assert run.journaled() == EVERYTHING


def test_requests_are_taken_only_when_a_place_is_free(tmp_path: Path) -> None:
    run, ahead = Run(tmp_path), []
    run.script.hook = lambda number: ahead.append(run.drawn - len(run.script.finished))  # noqa: ARG005
    asyncio.run(run.go())
    n_samplers = run.script.capacity + run.script.capacity // 8 + 2
    assert max(ahead) == n_samplers
    assert run.drawn == 60


def test_a_slow_grader_holds_the_engine_back_before_memory_fills(tmp_path: Path) -> None:
    run = Run(tmp_path, Script(delay=0.0), Pool(seconds=0.005))
    waiting: list[int] = []
    run.script.hook = lambda number: waiting.append(number - run.progress.sampled)
    asyncio.run(run.go())
    n_samplers = run.script.capacity + 2
    assert max(waiting) <= 3 * n_samplers + run.pool.concurrency
    assert run.journaled() == EVERYTHING


def test_the_engine_generates_while_responses_are_graded(tmp_path: Path) -> None:
    run = Run(tmp_path, Script(delay=0.002), Pool(seconds=0.01))
    submitted_while_ungraded: list[bool] = []
    run.script.hook = lambda number: submitted_while_ungraded.append(
        number > 10 and len(run.script.finished) > run.progress.sampled
    )
    asyncio.run(run.go())
    assert sum(submitted_while_ungraded) > 20


def test_a_truncated_response_is_not_sent_to_the_grader(tmp_path: Path) -> None:
    run = Run(tmp_path)
    asyncio.run(run.go())
    truncated = [seed for *_, seed in run.script.submitted if seed % 4 == 3]
    assert run.progress.verdicts["truncated"] == len(truncated) > 0
    assert len(run.pool.graded) == 60 - len(truncated)


def test_no_requests_end_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert asyncio.run(run.go(requests=())) is None
    assert run.heard == []


def test_stopping_aborts_what_is_generated_and_keeps_what_is_finished(tmp_path: Path) -> None:
    run = Run(tmp_path, Script(slow_prompt=0, slow_seconds=600.0), Pool(seconds=0.01))
    run.script.hook = lambda number: run.stop.set() if number == 20 else None
    started = time.monotonic()
    assert asyncio.run(run.go()) is None
    assert time.monotonic() - started < 300, "it waited for the slow one, which takes ten minutes"
    assert EVERYTHING[0] not in run.journaled()
    assert set(run.journaled()) == set(run.script.finished)
    assert len(run.script.submitted) < 30
    assert run.heard[-1] == (len(run.script.finished), 0)


def test_a_stop_before_the_first_request_draws_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.stop.set()
    assert asyncio.run(run.go()) is None
    assert run.script.submitted == []


def test_a_dead_engine_is_returned_and_what_it_finished_is_kept(tmp_path: Path) -> None:
    run = Run(tmp_path, Script(die_after=25), Pool(seconds=0.003))
    death = asyncio.run(run.go())
    assert isinstance(death, EngineError)
    assert set(run.journaled()) == set(run.script.finished)
    assert 0 < len(run.script.finished) < 25


def test_a_failed_request_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    run = Run(tmp_path, Script(fail_every=4))
    assert asyncio.run(run.go()) is None
    failed = {(prompt_id, index) for prompt_id, index, seed in run.script.submitted if seed % 4 == 0}
    assert run.progress.failed == len(failed) > 0
    assert set(run.journaled()) == set(EVERYTHING) - failed
    with Journal(run.path, GRADER, read_only=True) as journal:
        recorded = journal.query("SELECT prompt_id, sample_index FROM failures JOIN prompts USING (prompt_number)")
    assert set(recorded) == failed


def test_a_grader_that_is_gone_ends_the_stream_with_its_error_and_no_finished_response_is_lost(tmp_path: Path) -> None:
    """Finished responses that waited for their verdicts were lost, and drawn again."""

    def gone(_: GradeJob) -> Grade:
        if len(run.pool.graded) > 10:
            raise SpoError("the grading processes do not start")
        return Grade.scored(1.0, "1")

    run = Run(tmp_path, pool=Pool(verdict=gone))
    assert str(asyncio.run(run.go())) == "the grading processes do not start"
    assert run.drawn < 60
    assert set(run.journaled()) == set(run.script.finished)
    with Journal(run.path, GRADER, read_only=True) as journal:
        details = [sample.detail for sample in journal.samples()]
        assert details.count(None) >= 10
        assert set(details) == {None, "not graded yet"}
        assert len(journal.find_ungraded()) == details.count("not graded yet")


def test_a_cancelled_stream_leaves_no_task_behind(tmp_path: Path) -> None:
    async def cancelled() -> set[asyncio.Task[Any]]:
        task = asyncio.create_task(run.go())
        while len(run.script.finished) < 12:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]

    run = Run(tmp_path)
    assert asyncio.run(cancelled()) == set()
    assert run.journaled()


def test_samples_are_durable_while_the_stream_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "COMMIT_TICK_SECONDS", 0.01)
    monkeypatch.setattr(spo_data.run.journal, "COMMIT_SECONDS", 0.02)
    run, durable = Run(tmp_path, Script(delay=0.02)), []
    run.script.hook = lambda number: durable.append(len(run.journaled())) if number == 50 else None
    asyncio.run(run.go())
    (before_the_end,) = durable
    assert 10 <= before_the_end < 60


def test_an_empty_response_is_a_sample(tmp_path: Path) -> None:
    class Silent:
        capacity = 2

        async def submit(self, request: SampleRequest) -> Completion:  # noqa: ARG002 # the protocol's
            return Completion("", np.zeros(0, dtype=np.int32), "stop")

    async def go() -> None:
        with Journal(run.path, GRADER) as journal:
            journal.set_prompts(tuple(PROMPTS.values()), ())
            graders = Graders(cast(Any, Pool(verdict=lambda _: Grade(Verdict.NO_ANSWER, 0.0))), GRADER)
            await stream(Silent(), run.requests(), PROMPTS, graders, journal, run.progress, run.listen, run.stop)

    run = Run(tmp_path)
    asyncio.run(go())
    assert run.progress.verdicts == {"no_answer": 60}
    assert run.progress.tokens == 0


@pytest.mark.parametrize("count", [0, 1, 11])
def test_only_what_we_failed_to_grade_is_graded_again(count: int, tmp_path: Path) -> None:
    def sample(number: int) -> Sample:
        prompt_id, index = EVERYTHING[number]
        failed = number < count
        graded = Grade.failed(Verdict.GRADER_TIMEOUT, "over 10 s") if failed else Grade.scored(0.0, "0")
        completion = Completion(f"{{{PROMPTS[prompt_id].ground_truth}}}", np.ones(2, dtype=np.int32), "stop")
        return Sample.of(prompt_id, index, number, completion, graded)

    with Journal(tmp_path / "journal.sqlite", GRADER) as journal:
        journal.set_prompts(tuple(PROMPTS.values()), ())
        for number in range(20):
            journal.add(sample(number))
        journal.commit()
        pool: Any = Pool()
        assert asyncio.run(grade_stored(journal, GRADER, PROMPTS, Graders(pool, GRADER))) == count
        assert len(pool.graded) == count
        verdicts = [found.verdict for found in journal.samples()]
        details = [found.detail for found in journal.samples()]
    assert verdicts == [Verdict.CORRECT] * count + [Verdict.WRONG] * (20 - count)
    assert details == [None] * 20
