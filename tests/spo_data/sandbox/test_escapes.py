"""No program escapes its sandbox or exceeds its limits, and the next program still runs."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from spo_data.sandbox.interpreter import CAPTURED_BYTES, Execution, Limits
from spo_data.sandbox.local import LocalInterpreter
from support.hostile_programs import HOSTILE, PRELUDE, Hostile
from support.sandboxes import SECRET, Outside, left, outside


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(tmp_path_factory.mktemp("outside")) as found:
        yield found


@pytest.fixture(scope="module")
def interpreter() -> Iterator[LocalInterpreter]:
    """One place for one program at a time, so each program also shows that the one before it left the place free."""
    interpreter = LocalInterpreter(1)
    yield interpreter
    asyncio.run(interpreter.__aexit__())


def _param(hostile: Hostile) -> Any:
    """Of the programs that run into a limit, one is enough for every day."""
    slow = hostile.stopped is not None and hostile.name != "ignoring signals"
    return pytest.param(hostile, id=hostile.name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("hostile", [_param(hostile) for hostile in HOSTILE])
def test_a_hostile_program_is_contained(hostile: Hostile, place: Outside, interpreter: LocalInterpreter) -> None:
    async def run(code: str, limits: Limits) -> Execution:
        return await asyncio.wait_for(interpreter.run(code, limits), 120)

    execution = asyncio.run(run(place.filled(PRELUDE + hostile.code), Limits(hostile.seconds, hostile.memory_mb)))
    remaining = left(place.mark)
    said = f"{execution.stdout[-2000:]}\n{execution.stderr[-2000:]}"
    assert "ESCAPED" not in execution.stdout, said
    assert SECRET not in execution.stdout + execution.stderr
    assert (execution.stopped, execution.return_code) == (hostile.stopped, hostile.return_code), said
    assert hostile.printed is None or hostile.printed in execution.stdout, said
    assert len(execution.stdout) <= CAPTURED_BYTES
    assert len(execution.stderr) <= CAPTURED_BYTES
    assert remaining == []
    assert place.untouched()
    if hostile.stopped is not None:
        assert asyncio.run(run("print(6 * 7)", Limits(20, 256))).stdout == "42\n"


def test_there_is_a_program_for_each_way_out() -> None:
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE) >= 40
