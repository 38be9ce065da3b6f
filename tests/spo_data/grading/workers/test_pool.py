"""The grading processes: a hang, a crash or memory growth in one affects nothing else."""

import asyncio
import random
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from spo_data.errors import SpoError, UserError
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.verifiers.registry import load_verifier
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool

T = TypeVar("T")

HANGS = "\\boxed{" + "(" * 3000 + "1" + ")" * 3000 + "}"
HUGE = r"\boxed{\prod_{k=1}^{1000000} (k^2+1)}"
"""math-verify would have to multiply a million numbers."""
RIGHT = GradeJob("<answer>a</answer>", "a")
SLOW = GradeJob("\\boxed{" + "a" * 30_000_000 + "}", "b")
"""Takes `exact` some seconds, because it reads a box one character at a time."""


def run(coroutine: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def workers() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    children = [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


async def until_busy(worker: psutil.Process) -> None:
    idle = worker.cpu_times().user
    while worker.cpu_times().user < idle + 0.3:
        await asyncio.sleep(0.02)


@pytest.mark.slow
def test_a_job_that_hangs_or_explodes_fails_alone_and_the_others_are_graded() -> None:
    """math-verify's own timeout said "wrong" when it fired, and never fired while C code ran."""
    easy = [GradeJob(rf"\boxed{{\frac{{{k}}}{{2}}}}", str(k / 2)) for k in range(12)]
    wrong = GradeJob(r"\boxed{x+1}", "x+2")
    no_gold = GradeJob(r"\boxed{1/0}", r"\frac{1}{0}")

    async def grade() -> list[Grade]:
        async with GraderPool("math-verify", workers=2, seconds=1) as pool:
            jobs = [GradeJob(HANGS, "5"), *easy, GradeJob(HUGE, "5"), wrong, no_gold]
            return await asyncio.gather(*map(pool.grade, jobs))

    hung, *right, huge, differs, undefined = run(grade())
    assert (hung.verdict, hung.score, hung.detail) == (Verdict.GRADER_TIMEOUT, None, "over 1 s")
    assert [graded.verdict for graded in right] == [Verdict.CORRECT] * len(easy)
    assert huge.verdict in (Verdict.GRADER_TIMEOUT, Verdict.GRADER_ERROR)
    assert huge.score is None
    assert (differs.verdict, differs.score) == (Verdict.WRONG, 0.0)
    assert (undefined.verdict, undefined.score) == (Verdict.GOLD_UNPARSEABLE, None)


@pytest.mark.slow
def test_the_clock_starts_with_the_job_and_not_with_the_queue(tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text("import time\ndef judge(**_): return time.sleep(0.3) or 1.0\n")

    async def grade() -> list[Grade]:
        async with GraderPool(f"{tmp_path}/reward.py:judge", workers=1, seconds=1) as pool:
            return await asyncio.gather(*(pool.grade(RIGHT) for _ in range(5)))

    assert [graded.verdict for graded in run(grade())] == [Verdict.CORRECT] * 5, "the last one waits for 1.2 s"


def test_a_worker_killed_in_a_job_costs_that_job_alone() -> None:
    async def grade() -> list[Grade]:
        async with GraderPool("exact", workers=1, seconds=30) as pool:
            await pool.grade(RIGHT)
            (worker,) = workers()
            jobs = [asyncio.create_task(pool.grade(job)) for job in (SLOW, RIGHT, RIGHT, RIGHT)]
            await until_busy(worker)
            worker.kill()
            return [*await asyncio.gather(*jobs), await pool.grade(RIGHT)]

    killed, *others = run(grade())
    assert (killed.verdict, killed.score) == (Verdict.GRADER_ERROR, None)
    assert [graded.verdict for graded in others] == [Verdict.CORRECT] * 4


@pytest.mark.slow
def test_a_worker_killed_while_it_waits_is_replaced() -> None:
    """If the out-of-memory killer took an idle process, the pool broke for good and every later job raised SpoError."""

    async def grade() -> Grade:
        async with GraderPool("exact", workers=2, seconds=10) as pool:
            await pool.grade(RIGHT)
            workers()[0].kill()
            await asyncio.sleep(0.5)
            return await pool.grade(RIGHT)

    assert run(grade()).verdict is Verdict.CORRECT


@pytest.mark.slow
def test_a_cancelled_job_frees_its_process() -> None:
    async def grade() -> tuple[Grade, bool]:
        async with GraderPool("exact", workers=1, seconds=30) as pool:
            await pool.grade(RIGHT)
            (worker,) = workers()
            slow = asyncio.create_task(pool.grade(GradeJob("\\boxed{" + "a" * 100_000_000 + "}", "b")))
            await until_busy(worker)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            return await pool.grade(RIGHT), worker.is_running()

    graded, still_runs = run(grade())
    assert graded.verdict is Verdict.CORRECT
    assert not still_runs, "the next job waited for the cancelled one"


@pytest.mark.parametrize(
    ("memory_gb", "verdict"),
    [(0.4, Verdict.GRADER_ERROR), pytest.param(4.0, Verdict.WRONG, marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_a_job_gets_no_more_memory_than_its_process_may_have(memory_gb: float, verdict: Verdict) -> None:
    """Splitting the response of 24 MB into words takes half a GB."""
    greedy = GradeJob("<answer>" + "ab " * 8_000_000 + "</answer>", "b")

    async def grade() -> tuple[Grade, Grade]:
        async with GraderPool("exact", workers=1, seconds=120, memory_gb=memory_gb) as pool:
            return await pool.grade(greedy), await pool.grade(RIGHT)

    graded, after = run(grade())
    assert graded.verdict is verdict
    assert graded.detail is None or "MemoryError" in graded.detail
    assert after.verdict is Verdict.CORRECT


@pytest.mark.slow
def test_verdicts_do_not_depend_on_the_pool_or_the_order() -> None:
    answers = ["4", "4.0", r"\frac{8}{2}", "5", "x+1", "1+x", r"\{1,2\}", "2,1", "(1,2)", "yes", "", "2^{2}"]
    golds = ["4", "x+1", r"\{1,2\}", "(1,2)", "yes", "?"]
    jobs = [GradeJob(f"\\boxed{{{answer}}}", gold) for answer in answers for gold in golds]
    jobs += [GradeJob(None, gold) for gold in golds]
    verifier = load_verifier("math-verify")
    expected = {
        (job.response, job.ground_truth): verifier.check_gold(job.ground_truth, None)
        if job.response is None
        else verifier.grade(job.response, job.ground_truth, None)
        for job in jobs
    }
    assert {graded.verdict for graded in expected.values()} == {
        Verdict.CORRECT,
        Verdict.WRONG,
        Verdict.NO_ANSWER,
        Verdict.GOLD_UNPARSEABLE,
    }

    async def grade() -> list[tuple[GradeJob, Grade]]:
        async with GraderPool("math-verify", workers=2) as pool:
            graded = []
            for seed in (1, 2):
                shuffled = random.Random(seed).sample(jobs, len(jobs))
                graded += list(zip(shuffled, await asyncio.gather(*map(pool.grade, shuffled)), strict=True))
            return graded

    for job, graded in run(grade()):
        assert graded == expected[job.response, job.ground_truth], job


@pytest.mark.parametrize("error", [pytest.param(None, marks=pytest.mark.slow), KeyError("leaves the block")])
def test_the_processes_are_gone_after_the_pool_closes_even_when_busy(error: Exception | None) -> None:
    seen: list[psutil.Process] = []

    async def grade() -> None:
        async with GraderPool("exact", workers=2, seconds=60) as pool:
            await pool.grade(RIGHT)
            seen.extend(workers())
            job = asyncio.create_task(pool.grade(SLOW))
            await asyncio.sleep(0.3)
            if error is not None:
                raise error
        job.cancel()

    if error is None:
        run(grade())
    else:
        with pytest.raises(KeyError):
            run(grade())
    assert len(seen) == 2
    assert not any(process.is_running() for process in seen)
    assert workers() == []


def test_a_pool_that_was_never_used_starts_no_process_and_closes() -> None:
    async def enter() -> list[psutil.Process]:
        async with GraderPool("exact", workers=2):
            return workers()

    assert run(enter()) == []


def test_a_closed_pool_raises_one_line_rather_than_a_verdict() -> None:
    async def grade() -> Grade:
        async with GraderPool("exact", workers=1) as pool:
            pass
        return await pool.grade(RIGHT)

    with pytest.raises(SpoError, match="the grading processes are closed"):
        run(grade())


def test_an_unknown_verifier_is_refused_before_a_process_starts() -> None:
    with pytest.raises(
        UserError, match="choose one of math-verify, math-verify-plain, dapo, exact, choice, reasoning-gym, or FILE"
    ):
        GraderPool("guess")


def test_processes_do_not_hear_ctrl_c() -> None:
    """A Ctrl-C while they imported their modules printed a KeyboardInterrupt traceback for each of them."""

    async def masks() -> list[int]:
        async with GraderPool("exact", workers=1) as pool:
            assert (await pool.grade(RIGHT)).verdict is Verdict.CORRECT
            statuses = [Path(f"/proc/{worker.pid}/status").read_text() for worker in workers()]
        return [int(status.partition("SigBlk:")[2].split()[0], 16) for status in statuses]

    (blocked,) = run(masks())
    assert blocked & 1 << (signal.SIGINT - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this process still does"
