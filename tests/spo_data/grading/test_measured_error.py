"""The grader's known error: what was counted, what the documentation and the card say of it, and what it must be."""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from spo_data.grading.measured_error import (
    MEASURED,
    Judged,
    Measurement,
    SourceCounts,
    add_up,
    describe_error,
    read_measurement,
)
from spo_data.grading.verdict import NO_ANSWER, Grade, Verdict
from spo_data.grading.verifiers.registry import RULES, verifier_version

BENCHMARKS = str(Path(__file__).resolve().parents[3] / "benchmarks")
RIGHT, WRONG = Grade(Verdict.CORRECT, 1.0, "4"), Grade(Verdict.WRONG, 0.0, "5")
NO_GOLD = Grade(Verdict.GOLD_UNPARSEABLE, None)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "path", list(sys.path))  # it adds the tests' folder
    return import_module("grading_accuracy")


@pytest.fixture
def case(benchmark: Any) -> Callable[..., Any]:
    def make(*want: str, **fields: Any) -> Any:
        given = {"labelled": "peers", "source": "a/b", "gold": "4", "response": "4"}
        return benchmark.LabelledAnswer(**{**given, "want": frozenset(map(Verdict, want)), **fields})

    return make


def test_the_documentation_shows_what_was_counted(benchmark: Any) -> None:
    page = benchmark.PAGE.read_text(encoding="utf-8")
    assert page == benchmark.put_between_marks(page, benchmark.make_tables(read_measurement())), (
        "run `python benchmarks/grading_accuracy.py --write`"
    )


def test_the_rules_of_now_were_measured() -> None:
    assert read_measurement().rules == RULES, "run `python benchmarks/grading_accuracy.py --write`"
    assert read_measurement().total("peers").answers > 3000
    assert read_measurement().total("peers", decided=False).answers < read_measurement().total("peers").answers


def test_verdicts_are_counted_by_source_and_direction(benchmark: Any, case: Callable[..., Any]) -> None:
    judged = [
        (case("correct"), RIGHT, RIGHT),
        (case("correct"), WRONG, RIGHT),
        (case("correct"), NO_ANSWER, WRONG),
        (case("correct"), NO_GOLD, WRONG),
        (case("wrong", "no_answer"), RIGHT, NO_ANSWER),
        (case("wrong", "no_answer"), NO_ANSWER, RIGHT),
        (case("wrong", "no_answer"), NO_GOLD, NO_GOLD),
        (case("wrong", "no_answer", decided=True), RIGHT, WRONG),
        (case("correct", "wrong", labelled="probes"), WRONG, WRONG),
        (case("correct", "gold_unparseable", labelled="probes"), WRONG, WRONG),
        (case("gold_unparseable", labelled="corpus"), NO_GOLD, NO_GOLD),
        (case("correct", labelled="corpus", verifier="exact", source="exact"), RIGHT, None),
    ]
    measured = benchmark.count([each for each, *_ in judged], [tuple(pair) for _, *pair in judged])
    peers, decided, probes, corpus, exact = measured.sources
    assert (peers.answers, peers.right, peers.wrong) == (7, 4, 3)
    assert peers.ours == Judged(agree=2, false_correct=1, false_wrong=2, failed=2)
    assert peers.plain == Judged(agree=4, false_correct=1, false_wrong=2, failed=0), "what it cannot read is wrong"
    assert (decided.decided, decided.ours.false_correct) == (True, 1)
    assert (probes.answers, probes.right, probes.wrong) == (2, 0, 0)
    assert probes.ours == Judged(agree=1), "not a false wrong: a ground truth that may be refused is not surely right"
    assert (corpus.ours, corpus.plain) == (Judged(agree=1), Judged(agree=1))
    assert (exact.ours, exact.plain) == (Judged(agree=1), None)
    assert measured.total("peers") == replace(add_up([peers, decided], "peers"), source="")
    assert measured.total("peers", decided=False) == replace(peers, source="")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = read_measurement()
    written.write(tmp_path / "measured.json")
    assert read_measurement(tmp_path / "measured.json") == written


@pytest.mark.parametrize(
    ("errors", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (0, 0, 0.0, 1.0),
        (2, 1000, 0.00055, 0.0073),
    ],
)
def test_intervals_are_wilsons(benchmark: Any, errors: int, trials: int, low: float, high: float) -> None:
    assert benchmark.wilson(errors, trials) == pytest.approx((low, high), abs=1e-4)


def test_labelled_answers_that_are_not_there_are_named(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With other rules, what was counted before says nothing, so nothing is written."""
    cases, missing = benchmark.read_cases(tmp_path)
    assert missing == ["peers", "probes"]
    assert {each.labelled for each in cases} == {"corpus"}
    assert len(cases) > 300
    monkeypatch.setattr(benchmark, "RULES", RULES + 1)
    monkeypatch.setattr(sys, "argv", ["grading_accuracy.py", "--write", "--labelled", str(tmp_path)])
    assert benchmark.main() == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"note: {tmp_path}/peers.jsonl is not there, so it is not measured"
    assert said[-1] == f"error: peers and probes were not measured with rules {RULES + 1}: nothing is written"


def test_both_files_are_read_with_their_labels(benchmark: Any, tmp_path: Path) -> None:
    peer = {"source": "a/b:tests/x.py::y", "gold": "4", "response": "4", "want": "wrong", "plain": "correct"}
    probe = {"source": "x", "gold": "B", "response": "B", "want": ["correct", "no_answer"], "verifier": "choice"}
    (tmp_path / "peers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (peer, {**peer, "note": "so"})))
    (tmp_path / "probes.jsonl").write_text(json.dumps(probe) + "\n")
    cases, missing = benchmark.read_cases(tmp_path)
    assert missing == []
    first, noted, third, *_ = cases
    assert (first.source, first.verifier, first.decided, noted.decided) == ("a/b", MEASURED, False, True)
    assert first.want == {Verdict.WRONG, Verdict.NO_ANSWER}
    assert (third.source, third.verifier) == ("choice", "choice")
    assert third.want == {Verdict.CORRECT, Verdict.NO_ANSWER}


def test_the_cards_line_says_what_was_measured_with_these_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = SourceCounts("peers", "a", False, 3000, 2000, 1000, Judged(2990, 2, 7), None)
    decided = replace(counts, decided=True)
    measured = Measurement(3, "math-verify 1 rules 3", (counts, decided))
    monkeypatch.setattr("spo_data.grading.measured_error._read_packaged", lambda: measured)
    said = "false correct 2 of 1,000, false wrong 7 of 2,000 on labelled answers (rules 3"
    assert describe_error("math-verify", "math-verify 1 rules 3") == f"{said})"
    assert describe_error("math-verify", "math-verify 2 rules 3") == f"{said}, measured as math-verify 1 rules 3)"
    other = "not measured for this version, only for rules 3"
    assert describe_error("math-verify", "math-verify 1 rules 33") == other
    assert describe_error("math-verify", "math-verify 1") == other
    assert describe_error("math-verify-plain", "math-verify 1") is None
    assert describe_error("exact", "rules 3") is None


@pytest.fixture(scope="module")
def fresh() -> tuple[Measurement, list[str]]:
    """What is counted now, and which labelled answers are not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        patch.setattr(sys, "path", list(sys.path))
        benchmark = import_module("grading_accuracy")
        cases, missing = benchmark.read_cases()
        return benchmark.count(cases, asyncio.run(benchmark.judge(cases, 2))), missing


@pytest.mark.slow
def test_the_packaged_counts_are_those_of_now(fresh: tuple[Measurement, list[str]]) -> None:
    measured, missing = fresh
    packaged = read_measurement()
    if packaged.version != verifier_version(MEASURED):
        pytest.skip(f"measured as {packaged.version}, not with these packages")
    assert measured.sources == tuple(each for each in packaged.sources if each.labelled not in missing)


@pytest.mark.slow
def test_the_grader_is_better_than_the_library_on_every_source(fresh: tuple[Measurement, list[str]]) -> None:
    measured, missing = fresh
    if missing:
        pytest.skip(f"{' and '.join(missing)} are not in ../shared/grading")
    peers = measured.total("peers", decided=False)
    assert peers.ours.false_correct <= 2
    assert peers.ours.agree >= 0.997 * peers.answers
    by_source = [each for each in measured.sources if each.labelled == "peers" and not each.decided]
    assert not [each.source for each in by_source if each.plain is None or each.ours.agree < each.plain.agree]
    probes, corpus = measured.total("probes"), measured.total("corpus")
    assert probes.ours.false_correct == 0
    assert probes.ours.agree >= 0.98 * probes.answers
    assert corpus.ours.agree == corpus.answers
