"""Requests go to the replica that has the fewest in flight."""

from contextlib import ExitStack

import numpy as np

from spo_data.engines.balance import Balance
from spo_data.engines.protocol import SampleRequest

IDS = np.arange(3, dtype=np.int32)


def request(index: int, turn: int = 0) -> SampleRequest:
    return SampleRequest("p", index, index, IDS, 8, turn=turn)


def test_a_free_replica_is_filled_before_a_busy_one() -> None:
    """vLLM 0.24 forgets its counts every five seconds, so replicas at the front got more than the others."""
    balance = Balance(3)
    with ExitStack() as long:
        for index in range(9):
            long.enter_context(balance.place(request(index)))
        assert balance.in_flight == [3, 3, 3]
        for index in range(9, 40):  # each ends before the next begins: none may drift to one replica
            with balance.place(request(index)):
                assert sorted(balance.in_flight) == [3, 3, 4]
    assert balance.in_flight == [0, 0, 0]


def test_one_replica_needs_no_placement_and_more_get_vllms_argument() -> None:
    with Balance(1).place(request(0)) as alone:
        assert alone == {}
    balance = Balance(2)
    with balance.place(request(0)) as first, balance.place(request(1)) as second:
        assert (first, second) == ({"data_parallel_rank": 0}, {"data_parallel_rank": 1})


def test_the_turns_of_a_response_stay_with_the_replica_that_holds_their_cache() -> None:
    balance = Balance(2)
    with balance.place(request(0)), balance.place(request(1)) as first:
        pass
    with balance.place(request(2)) as other:
        assert other != first
    with balance.place(request(1, turn=1)) as again, balance.place(request(1, turn=2)) as last:
        assert again == last == first


def test_a_request_that_fails_is_no_longer_in_flight() -> None:
    balance = Balance(2)
    try:
        with balance.place(request(0)):
            raise ValueError
    except ValueError:
        pass
    assert balance.in_flight == [0, 0]


def test_only_recent_responses_are_remembered() -> None:
    balance = Balance(2)
    for index in range(70_000):
        with balance.place(request(index)):
            pass
    assert len(balance._last) == 65_536
