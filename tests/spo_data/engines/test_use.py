"""What an engine reports about its own work."""

from types import SimpleNamespace
from typing import Any

import pytest

from spo_data.engines.tool_use import ToolEngine
from spo_data.engines.use import EngineUse, UseMeter, use_of
from spo_data.run.manifest import EngineTotals


def test_a_meter_averages_over_all_steps_and_shows_the_last_one_of_each_replica() -> None:
    meter = UseMeter()
    assert meter.read() == EngineUse(0, 0, 0.0, 0.0)
    for replica, share in ((0, 0.2), (0, 0.4), (1, 0.6)):
        meter.add_step(replica, share)
    meter.add_preemption(100)
    meter.add_preemption(30)
    assert meter.read("V2") == EngineUse(2, 130, pytest.approx(0.5), pytest.approx(0.4), "V2")


def test_no_engine_has_to_report_and_the_tool_loop_s_engine_reports_its_engine_s_use() -> None:
    use = EngineUse(1, 2, 0.3, 0.4)
    silent: Any = SimpleNamespace(capacity=1)
    talking: Any = SimpleNamespace(capacity=1, use=use)
    assert use_of(silent) is None
    assert use_of(talking) is use
    for engine in (silent, talking):
        around = ToolEngine(engine, SimpleNamespace(), None, SimpleNamespace())  # type: ignore[arg-type]
        assert use_of(around) is use_of(engine)


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        (EngineTotals(), "0% full on average, no preemptions"),
        (EngineTotals(seconds=4, kv_seconds=3), "75% full on average, no preemptions"),
        (
            EngineTotals(seconds=4, kv_seconds=3, preemptions=1234, preempted_tokens=5678901),
            "75% full on average, 1,234 preemptions (at most 5,678,901 tokens computed again)",
        ),
    ],
)
def test_totals_say_what_preemptions_cost(totals: EngineTotals, said: str) -> None:
    assert str(totals) == said
