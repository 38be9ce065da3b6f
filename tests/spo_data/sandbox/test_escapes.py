"""No program escapes its sandbox or exceeds its limits, and the next program still runs."""

import asyncio
from collections.abc import Iterator

import pytest

from spo_data.sandbox.interpreter import CAPTURED_BYTES, Execution, Limits
from spo_data.sandbox.local import LocalInterpreter
from support.hostile_programs import HOSTILE, PRELUDE, Hostile
from support.sandboxes import SECRET, Outside, left, outside


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(tmp_path_factory.mktemp("outside")) as found:
        yield found


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_program_is_contained(hostile: Hostile, place: Outside) -> None:
    limits = Limits(hostile.seconds, hostile.memory_mb)

    async def both() -> tuple[Execution, list[int], Execution]:
        async with LocalInterpreter(1) as interpreter:
            execution = await interpreter.run(place.filled(PRELUDE + hostile.code), limits)
            remaining = left(place.mark)
            return execution, remaining, await interpreter.run("print(6 * 7)", Limits(20, 256))

    execution, remaining, following = asyncio.run(both())
    said = f"{execution.stdout[-2000:]}\n{execution.stderr[-2000:]}"
    assert "ESCAPED" not in execution.stdout, said
    assert SECRET not in execution.stdout + execution.stderr
    assert (execution.stopped, execution.return_code) == (hostile.stopped, hostile.return_code), said
    assert hostile.printed is None or hostile.printed in execution.stdout, said
    assert len(execution.stdout) <= CAPTURED_BYTES
    assert len(execution.stderr) <= CAPTURED_BYTES
    assert execution.seconds < hostile.seconds + 1
    assert remaining == []
    assert place.untouched()
    assert following.stdout == "42\n"


def test_there_is_a_program_for_each_way_out() -> None:
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE) >= 40
