"""The stream: each sample goes from request to engine, grader and journal by itself, without a barrier.

    death = await stream(engine, requests, prompts, graders, journal, progress, listen, stop)

Slightly more requests are submitted than the engine runs at once, so it never waits for us. Each finished response is
graded while the engine keeps generating, and then journaled. Setting `stop` aborts unfinished responses; finished ones
are still graded and journaled before the stream returns.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from spo_data.engines.protocol import Completion, Engine, EngineError, RequestError, SampleRequest
from spo_data.engines.use import EngineUse, use_of
from spo_data.errors import SpoError, first_line
from spo_data.grading.verdict import Grade, Verdict
from spo_data.prompts.identity import Prompt
from spo_data.run.journal import Journal
from spo_data.run.sample import Sample
from spo_pipelines.graders import Graders

COMMIT_TICK_SECONDS = 0.25
"""How often the stream checks whether samples have waited long enough for a commit."""
NOT_GRADED = Grade.failed(Verdict.GRADER_ERROR, "not graded yet")
"""The verdict on a response that is left to the next call."""


@dataclass
class Progress:
    """Counts of a run's samples, kept as they reach the journal."""

    total: int
    """Samples of the whole run."""
    present: int
    """Samples that earlier calls drew."""
    sampled: int = 0
    tokens: int = 0
    """Sampled tokens, excluding tool output."""
    failed: int = 0
    grading: int = 0
    """Finished responses that are being graded, or wait for it."""
    verdicts: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    """When the engine was ready, on the monotonic clock."""
    score_sum: float = 0.0
    n_scored: int = 0
    engine_use: EngineUse | None = None
    """What the engine reported when the last sample reached the journal."""

    def add(self, sample: Sample) -> None:
        """Count a sample."""
        self.sampled += 1
        self.tokens += sample.sampled_tokens
        self.verdicts[sample.verdict] += 1
        if sample.score is not None:
            self.score_sum += sample.score
            self.n_scored += 1


class ProgressListener(Protocol):
    """Called after every change of a Progress."""

    def __call__(self, progress: Progress) -> None: ...


async def stream(
    engine: Engine,
    requests: Iterable[SampleRequest],
    prompts: Mapping[str, Prompt],
    graders: Graders,
    journal: Journal,
    progress: Progress,
    listen: ProgressListener,
    stop: asyncio.Event,
) -> SpoError | None:
    """Draw, grade and journal every request until all are done or `stop` is set.

    Returns the error that ended the stream, or None. If a single request fails, the journal records it and the stream
    continues. If the interpreter fails for more responses in a row than there are samplers, the stream ends with that
    error: further responses would be sampled in vain. It ends too if graders cannot give verdicts any more, as when
    their code changed: the journal then keeps finished responses as ungraded, and the next call grades them.
    """
    pending = iter(requests)
    n_samplers = engine.capacity + engine.capacity // 8 + 2
    finished: asyncio.Queue[tuple[SampleRequest, Completion] | None] = asyncio.Queue(maxsize=2 * n_samplers)
    generating: set[asyncio.Task[Completion]] = set()
    death: SpoError | None = None
    broken = 0
    all_graders = (graders.current, *graders.others)

    async def sample() -> None:
        nonlocal death, broken
        for request in pending:
            if stop.is_set():
                return
            response = asyncio.create_task(engine.submit(request))
            generating.add(response)
            try:
                completion = await response
            except asyncio.CancelledError:
                if stop.is_set():
                    return
                raise
            except RequestError as error:
                journal.add_failure(request.prompt_id, request.sample_index, first_line(error))
                progress.failed += 1
                listen(progress)
                continue
            except EngineError as error:
                death = death or error
                stop.set()
                return
            finally:
                generating.discard(response)
            progress.grading += 1
            await finished.put((request, completion))
            broken = broken + 1 if completion.finish_reason == "tool_error" else broken * (completion.tool_turns == 0)
            if broken > n_samplers:
                death = death or EngineError(f"no program could be run for {broken} responses: {completion.detail}")
                stop.set()
                return

    async def grade() -> None:
        nonlocal death
        while (item := await finished.get()) is not None:
            request, completion = item
            prompt = prompts[request.prompt_id]
            if completion.finish_reason == "tool_error":
                failed = Grade.failed(Verdict.TOOL_ERROR, completion.detail or "the interpreter failed")
                verdicts = dict.fromkeys(all_graders, failed)
            else:
                cut = completion.finish_reason == "length"
                asked = (graders.grade(prompt, completion.text, grader, is_truncated=cut) for grader in all_graders)
                try:
                    verdicts = dict(zip(all_graders, await asyncio.gather(*asked), strict=True))
                except SpoError as error:
                    death = error
                    stop.set()
                    verdicts = dict.fromkeys(all_graders, NOT_GRADED)
            graded = verdicts.pop(graders.current)
            sample = Sample.of(request.prompt_id, request.sample_index, request.seed, completion, graded)
            journal.add(sample, verdicts)
            progress.grading -= 1
            progress.add(sample)
            progress.engine_use = use_of(engine)
            listen(progress)

    async def commit() -> None:
        while True:
            await asyncio.sleep(COMMIT_TICK_SECONDS)
            journal.commit_if_due()

    async def abort() -> None:
        await stop.wait()
        for response in generating:
            response.cancel()

    try:
        async with asyncio.TaskGroup() as group:
            attendants = [group.create_task(commit()), group.create_task(abort())]
            grading = [group.create_task(grade()) for _ in range(graders.pool.concurrency)]
            await asyncio.wait([group.create_task(sample()) for _ in range(n_samplers)])
            for _ in grading:
                await finished.put(None)
            await asyncio.wait(grading)
            for attendant in attendants:
                attendant.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors  # one thing went wrong; the others were cancelled for it
    journal.commit()
    return death
