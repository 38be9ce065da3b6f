"""Which replica draws a response: the one with the fewest requests in flight.

    balance = Balance(replicas=4)
    with balance.place(request) as placement:        # {"data_parallel_rank": 2}
        ...

vLLM's own balancer does not know how busy the replicas of a dense model are: in 0.24 only those of a mixture of experts
report it, and the counts that it keeps itself are set to 0 every five seconds. It then favours the first replicas, and
the last ones run empty. This process sends every request, so its own counts are exact.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from spo_data.engines.protocol import SampleRequest

_REMEMBERED = 65_536
"""Responses whose replica is remembered. Each is in flight, or in its interpreter, or finished."""


class Balance:
    """Counts the requests of each replica. A response stays with its replica, which holds its earlier turns' cache."""

    def __init__(self, replicas: int) -> None:
        self.in_flight = [0] * replicas
        self._last: dict[tuple[str, int], int] = {}

    @contextmanager
    def place(self, request: SampleRequest) -> Iterator[dict[str, int]]:
        """Give vLLM's arguments that choose the replica while the request is in flight; none if there is only one."""
        if len(self.in_flight) == 1:
            yield {}
            return
        rank = self._choose(request)
        self.in_flight[rank] += 1
        try:
            yield {"data_parallel_rank": rank}
        finally:
            self.in_flight[rank] -= 1

    def _choose(self, request: SampleRequest) -> int:
        response = (request.prompt_id, request.sample_index)
        rank = self._last.pop(response, None) if request.turn else None
        if rank is None:
            rank = min(range(len(self.in_flight)), key=self.in_flight.__getitem__)
        self._last[response] = rank
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        return rank
