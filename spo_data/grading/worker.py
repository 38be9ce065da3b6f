"""What a grading process does: gets ready once, then one job at a time.

Reward functions are imported while it gets ready, so that no job's clock pays for it; one that cannot be imported is
remembered, and the pool refuses it in one line.
"""

import contextlib
import logging
import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from spo_data.errors import UserError, first_line
from spo_data.grading.verdict import Graded, Verdict
from spo_data.grading.verifiers.registry import Verifier, load_verifier
from spo_data.grading.verifiers.reward_function import RewardFunction, is_reward_function, plain_text
from spo_data.prompts.identity import Prompt

BATCH_SECONDS = 0.1
"""After so long a batch comes back, graded or not: a slow job does not eat the time of those behind it."""


@dataclass(frozen=True, slots=True)
class GradeJob:
    """One response to grade; with `response` None, the ground truth is checked against itself."""

    response: str | None
    ground_truth: str
    extra_info: Mapping[str, Any] | None = None
    data_source: str = ""
    verifier: str | None = None
    """One of the pool's verifiers; None for its first."""
    thinking: bool = False
    """Whether the prompt's end had opened the thinking, as some chat templates do."""

    @staticmethod
    def of(prompt: Prompt, response: str | None, *, verifier: str | None = None, thinking: bool = False) -> "GradeJob":
        """A response to a prompt."""
        return GradeJob(response, prompt.ground_truth, prompt.extra_info, prompt.data_source, verifier, thinking)


_verifiers: dict[str | None, Verifier]
"""By name, and the first one by None."""


def start_process(names: Sequence[str], memory_bytes: int, start_seconds: float, pids: Path) -> None:
    """Get a process ready: its verifiers loaded, its limits set, its number marked in the folder `pids`."""
    global _verifiers  # a process has its verifiers for life
    with contextlib.suppress(OSError):
        (pids / str(os.getpid())).touch()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # stdout is the command's: what a reward prints stays out of it
    os.setpgid(0, 0)  # a signal to the command's process group is the parent's to handle: it drains us first
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its timeout is off, which is our doing
    _verifiers = {name: load_verifier(name) for name in names}
    _verifiers[None] = _verifiers[names[0]]
    if "math-verify" in names:
        _verifiers["math-verify"].check_gold("x + 1")  # imports sympy before any job's clock runs
    for name in filter(is_reward_function, names):
        _not_loaded[name] = _load(cast(RewardFunction, _verifiers[name]), start_seconds)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def grade(job: GradeJob) -> Graded:
    """One job, in a process that `start_process` got ready. Whatever a verifier raises is a verdict."""
    verifier = _verifiers[job.verifier]
    try:
        if job.response is None:
            return verifier.check_gold(job.ground_truth, job.extra_info, job.data_source)
        opened = "<think>" if job.thinking and verifier.reads_thinking else ""
        return verifier.grade(opened + job.response, job.ground_truth, job.extra_info, job.data_source)
    except BaseException as error:  # whatever a verifier raises, it has not judged the policy
        verdict = Verdict.GOLD_UNPARSEABLE if job.response is None else Verdict.GRADER_ERROR
        return Graded.failed(verdict, _describe(error))


def grade_batch(jobs: Sequence[GradeJob]) -> list[Graded]:
    """The verdicts of as many of the jobs as were graded in `BATCH_SECONDS`, of the first one at least."""
    end = time.monotonic() + BATCH_SECONDS
    graded = []
    for job in jobs:
        graded.append(grade(job))
        if time.monotonic() >= end:
            break
    return graded


def is_loaded(job: GradeJob) -> Graded:
    """Whether a reward function was loaded when this process started."""
    failure = _not_loaded.get(job.verifier or "")
    return Graded.scored(1.0, None) if failure is None else Graded.failed(Verdict.GRADER_ERROR, failure)


_not_loaded: dict[str, str | None] = {}


def _load(function: RewardFunction, seconds: float) -> str | None:
    """Import a reward function's file before any job's clock runs; what went wrong, None where nothing did."""

    def give_up(_number: int, _frame: object) -> None:
        raise TimeoutError(f"not imported in {seconds:g} s")

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        function.load()
    except BaseException as error:  # a user's file may raise anything
        return str(error) if isinstance(error, UserError | TimeoutError) else _describe(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return None


def _describe(error: BaseException) -> str:
    try:
        return plain_text(f"{type(error).__name__}: {first_line(error)}")
    except BaseException:  # an exception that cannot even be printed
        return plain_text(type(error).__name__)
