"""An engine without a clock: responses end in the order of the times that they would take, as fast as they are graded.

    script = FastRight(capacity=64, stop_after=256)
    outcome = scripted.estimate(options, start_engine=script.start)     # interrupted after 256 responses

Each response is right or wrong by a fair coin of its seed, and a right one takes a twelfth of a wrong one's time. The
next response ends only when the engine has as many requests as it ever will, so the same requests always end in the
same order.
"""

import asyncio
import heapq
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spo_data.engines.protocol import Completion, Devices, SampleRequest

SLOWER = 12
"""A wrong response takes this many times as long as a right one."""


@dataclass
class FastRight:
    """See `spo_data.engines.protocol.Engine`."""

    capacity: int
    stop_after: int = 0
    """After this many responses, the process gets a SIGINT, and no further response ends; 0 for never."""
    present: int = 0
    """Samples that the run has already, so that the engine knows how many will be asked for."""
    submitted: list[tuple[str, int]] = field(default_factory=list)
    devices = Devices("virtual core", 1)
    _ended: int = 0
    _now: float = 0.0
    _waiting: list[tuple[float, int, SampleRequest, asyncio.Future[Completion]]] = field(default_factory=list)

    @property
    def samplers(self) -> int:
        """The most requests that the stream submits at once."""
        return self.capacity + self.capacity // 8 + 2

    @asynccontextmanager
    async def start(self, plan: Any) -> AsyncIterator["FastRight"]:
        """For `start_engine` of `estimate`."""
        self._golds = {prompt.prompt_id: prompt.ground_truth for prompt in plan.prompt_set.prompts}
        self._wanted = plan.n_samples - self.present
        yield self

    async def submit(self, request: SampleRequest) -> Completion:
        """Answer when every response that takes less time has ended."""
        is_right = random.Random(request.seed).random() < 0.5
        number = len(self.submitted)
        self.submitted.append((request.prompt_id, request.sample_index))
        ends = self._now + (1 if is_right else SLOWER) + number * 1e-6
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (ends, number, request, future))
        while self._waiting and len(self._waiting) == min(self.samplers, self._wanted - self._ended):
            if self.stop_after and self._ended == self.stop_after:
                os.kill(os.getpid(), signal.SIGINT)
                break
            self._end_next()
        return await future

    def _end_next(self) -> None:
        self._now, _, request, future = heapq.heappop(self._waiting)
        self._ended += 1
        is_right = random.Random(request.seed).random() < 0.5
        gold = self._golds[request.prompt_id]
        text = f"\\boxed{{{gold if is_right else f'{gold}1'}}}"
        future.set_result(Completion(text, np.arange(1 if is_right else SLOWER, dtype=np.int32), "stop"))
