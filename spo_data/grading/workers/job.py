"""The code that runs in a grading process: preparing it once, then grading one job at a time.

Reward functions are imported during the preparation, so that the import takes no job's time. If one cannot be imported,
the process keeps the error, and the pool raises it as a UserError.
"""

import importlib
import logging
import os
import resource
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from spo_data.errors import UserError, first_line
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.verifiers.registry import VERIFIERS, Verifier, load_verifier
from spo_data.grading.verifiers.reward_function import RewardFunction, is_reward_function, plain_text
from spo_data.grading.workers.import_guard import ChangedGraderError, GraderCodeError, ImportGuard
from spo_data.grading.workers.pool_folder import mark_process
from spo_data.printable import protect_streams
from spo_data.prompts.identity import Prompt

BATCH_SECONDS = 0.1
"""After this time a batch returns even if jobs are left, so that a slow job does not use up the time of later ones."""


@dataclass(frozen=True, slots=True)
class GradeJob:
    """One response to grade. If `response` is None, the ground truth is checked against itself."""

    response: str | None
    ground_truth: str
    extra_info: Mapping[str, Any] | None = None
    data_source: str = ""
    verifier: str | None = None
    """The name of one of the pool's verifiers; None means the first."""
    thinking: bool = False
    """Whether the end of the prompt opens the thinking, as in some chat templates."""

    @staticmethod
    def of(prompt: Prompt, response: str | None, *, verifier: str | None = None, thinking: bool = False) -> "GradeJob":
        """The job for a response to a prompt."""
        return GradeJob(response, prompt.ground_truth, prompt.extra_info, prompt.data_source, verifier, thinking)


_verifiers: dict[str | None, Verifier] = {}
"""By name; the first is also under None."""


_guard = ImportGuard({})


def start_process(versions: Mapping[str, str], memory_bytes: int, start_seconds: float, folder: Path) -> None:
    """Prepare a process: leave its mark in the pool's folder, load the verifiers, set the limits.

    `versions` are those of the verifiers, the first one first. If the code is not theirs, every job raises the error.
    """
    global _guard  # a process keeps its verifiers for life
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a reward function's prints must not reach the command's stdout
    protect_streams()  # nor the escape sequences of a response, in what it or a library says on stderr
    os.setpgid(0, 0)  # only the parent gets signals to its process group: it drains us first
    mark_process(folder)
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its timeout is off, as we want it
    _guard = ImportGuard(versions)
    try:
        _guard.install()
        _load_verifiers(list(versions), start_seconds)
        _guard.watch()
    except GraderCodeError:
        pass  # the guard keeps it, for every job
    except UserError as error:  # a file was removed after it was compared
        _guard.problem = ChangedGraderError(str(error))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def grade(job: GradeJob) -> Grade:
    """Grade one job, after `start_process`. An exception from the verifier becomes a failure verdict.

    Raises GraderCodeError if the process does not have the code that the verifiers' versions name.
    """
    _guard.raise_problem()
    graded = _grade(job)
    _guard.raise_problem()
    return graded


def _grade(job: GradeJob) -> Grade:
    verifier = _verifiers[job.verifier]
    try:
        if job.response is None:
            return verifier.check_gold(job.ground_truth, job.extra_info, job.data_source)
        opened = "<think>" if job.thinking and verifier.reads_thinking else ""
        return verifier.grade(opened + job.response, job.ground_truth, job.extra_info, job.data_source)
    except BaseException as error:  # an exception says nothing about the policy
        verdict = Verdict.GOLD_UNPARSEABLE if job.response is None else Verdict.GRADER_ERROR
        return Grade.failed(verdict, _describe(error))


def grade_batch(jobs: Sequence[GradeJob]) -> list[Grade]:
    """Grade jobs in order until `BATCH_SECONDS` are over, at least one; return the verdicts so far."""
    end = time.monotonic() + BATCH_SECONDS
    graded: list[Grade] = []
    for job in jobs:
        try:
            graded.append(grade(job))
        except GraderCodeError:
            if not graded:
                raise
            break  # the verdicts so far are right
        if time.monotonic() >= end:
            break
    return graded


def is_loaded(job: GradeJob) -> Grade:
    """`correct` if the job's reward function was loaded when this process started, else `grader_error` and why.

    Raises GraderCodeError as `grade` does.
    """
    _guard.raise_problem()
    failure = _load_errors.get(job.verifier or "")
    return Grade.scored(1.0, None) if failure is None else Grade.failed(Verdict.GRADER_ERROR, failure)


_load_errors: dict[str, str | None] = {}


def _load_verifiers(names: Sequence[str], start_seconds: float) -> None:
    """Load the verifiers, and import what they need before any job's clock runs."""
    _verifiers.update({name: load_verifier(name) for name in names})
    _verifiers[None] = _verifiers[names[0]]
    for name in names:
        if name in VERIFIERS and name.startswith("math-verify"):
            _verifiers[name].check_gold("x + 1")  # imports sympy
        elif name == "reasoning-gym":
            with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # cellpylib's
                importlib.import_module("reasoning_gym.factory")
    for name in filter(is_reward_function, names):
        _load_errors[name] = _import(cast(RewardFunction, _verifiers[name]), start_seconds)


def _import(function: RewardFunction, seconds: float) -> str | None:
    """Import a reward function's file before any job's clock runs; return the error, or None."""

    def give_up(_number: int, _frame: object) -> None:
        raise TimeoutError(f"not imported in {seconds:g} s")

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        function.load(_guard.read)
    except BaseException as error:  # a user's file may raise anything
        return str(error) if isinstance(error, UserError | TimeoutError) else _describe(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return None


def _describe(error: BaseException) -> str:
    try:
        return plain_text(f"{type(error).__name__}: {first_line(error)}")
    except BaseException:  # an exception whose text cannot be read
        return plain_text(type(error).__name__)
