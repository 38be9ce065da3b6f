"""A pool of grading processes that survives any response.

    async with GraderPool("math-verify", "dapo") as pool:
        graded = await pool.grade(GradeJob(response, ground_truth))
        second = await pool.grade(GradeJob(response, ground_truth, verifier="dapo"))

Parsing an answer can hang in C code, use up all memory or crash the interpreter. math-verify's own timeout (SIGALRM)
does not help: it needs the main thread, C code ignores it, and it reports "wrong" when it fires. So each job runs in a
spawned process with a memory limit, which is killed and replaced at the time limit (`processes`). That job gets
`grader_timeout` or `grader_error`, never a score, and no other job is affected.

Jobs that wait while the processes are busy are sent in batches, which takes a third of the time. If a batch's process
dies or hangs, each of its jobs is run again alone, and only those that fail alone count as failed.
"""

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from spo_data.errors import SpoError, UserError
from spo_data.grading.verdict import Grade
from spo_data.grading.verifiers.registry import load_verifier, verifier_version
from spo_data.grading.verifiers.reward_function import is_reward_function, split_name
from spo_data.grading.workers.import_guard import ChangedGraderError
from spo_data.grading.workers.job import BATCH_SECONDS, GradeJob, grade, grade_batch, is_loaded, start_process
from spo_data.grading.workers.processes import Processes
from spo_data.options import GraderOptions

START_SECONDS = 60.0
"""The time limit for starting a process, including the import of a reward function."""
BATCH = 16
"""The largest number of jobs in a batch."""

Waiting = tuple[GradeJob, "asyncio.Future[Grade]"]


class GraderPool:
    """Grades in `workers` processes; limits each job to `seconds` and each process to `memory_gb`.

    `versions` are the recorded versions by verifier; without them, those that are there now. A process with other code
    gives no verdict: `grade` then raises GraderCodeError.
    """

    def __init__(
        self,
        verifier: str,
        *others: str,
        versions: Mapping[str, str] | None = None,
        workers: int | None = None,
        seconds: float = 10.0,
        memory_gb: float = 4.0,
    ) -> None:
        self._verifiers = (verifier, *others)
        for name in self._verifiers:
            load_verifier(name)
        folders = {split_name(name)[0].parent for name in self._verifiers if is_reward_function(name)}
        if len(folders) > 1:
            raise UserError(
                f"{' and '.join(self._verifiers)}: the files of two reward functions must be in one folder,"
                " or modules with the same name would be confused"
            )
        self.workers = workers or min(16, os.cpu_count() or 1)
        self._seconds = seconds
        recorded = {name: (versions or {}).get(name) or verifier_version(name) for name in self._verifiers}
        arguments = (recorded, int(memory_gb * (1 << 30)), START_SECONDS)
        self._processes = Processes(start_process, arguments, workers=self.workers, start_seconds=START_SECONDS)
        self._waiting: deque[Waiting] = deque()
        self._suspects: deque[Waiting] = deque()
        """Jobs of batches that failed: each is run again alone."""
        self._running: dict[asyncio.Task[None], list[Waiting]] = {}

    @classmethod
    def from_options(cls, options: GraderOptions, versions: Mapping[str, str]) -> Self:
        """A pool of verifiers with these versions, and with the limits that the user asked for."""
        return cls(
            *versions,
            versions=versions,
            workers=options.grader_workers,
            seconds=options.grader_seconds,
            memory_gb=options.grader_memory_gb,
        )

    @property
    def concurrency(self) -> int:
        """How many calls of `grade` should be in flight so that no process is idle."""
        return BATCH * self.workers

    async def grade(self, job: GradeJob) -> Grade:
        """Grade one response; any failure is a verdict.

        Raises SpoError if the processes do not start, and GraderCodeError if a verifier's code is not of its version.
        """
        answer: asyncio.Future[Grade] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, answer))
        self._send()
        try:
            return await answer
        except asyncio.CancelledError:
            for task, batch in self._running.items():
                if all(other.done() for _, other in batch):
                    task.cancel()  # nobody waits for its results any more
            raise

    def _send(self) -> None:
        """Send waiting jobs to the processes, with at most two batches per process in flight."""
        while (self._suspects or self._waiting) and len(self._running) < 2 * self.workers:
            if self._suspects:
                batch = [self._suspects.popleft()]
            else:
                share = max(1, min(BATCH, len(self._waiting) // self.workers))
                batch = [self._waiting.popleft() for _ in range(share)]
            batch = [(job, answer) for job, answer in batch if not answer.done()]  # leave out cancelled jobs
            if batch:
                task = asyncio.create_task(self._grade(batch))
                self._running[task] = batch
                task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        del self._running[task]
        self._send()

    async def _grade(self, batch: list[Waiting]) -> None:
        jobs = [job for job, _ in batch]
        try:
            if len(batch) == 1:
                graded = [await self._processes.run(grade, jobs[0], self._seconds)]
            else:
                outcome = await self._processes.run(grade_batch, jobs, self._seconds + BATCH_SECONDS)
                if isinstance(outcome, Grade):
                    self._suspects.extend(batch)
                    return
                graded = outcome
        except Exception as error:  # every caller must get an answer, whatever went wrong
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), verdict in zip(batch, graded, strict=False):
            if not answer.done():
                answer.set_result(verdict)
        self._waiting.extendleft(reversed(batch[len(graded) :]))

    async def __aenter__(self) -> Self:
        """Raises UserError if a reward function cannot be loaded, ChangedGraderError if it changed meanwhile."""
        for name in filter(is_reward_function, self._verifiers):
            try:
                failure = (
                    await self._processes.run(is_loaded, GradeJob(None, "", verifier=name), self._seconds)
                ).detail
            except ChangedGraderError:
                await self._processes.close()
                raise
            except SpoError as error:  # importing the function ended the process
                failure = str(error)
            if failure is not None:
                await self._processes.close()
                option = "--verifier" if name == self._verifiers[0] else "--also"
                raise UserError(f"{option} {name} does not load: {failure}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._processes.close()
