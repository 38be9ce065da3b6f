"""The report: numbers match the summary, hostile text neither runs nor loads, every cut is stated, and filters work."""

import html
import json
import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spo_data.grading.verdict import COMPARED_AS_TEXT, Grade, Verdict
from spo_data.prompts.identity import DroppedRow, Message, Prompt
from spo_data.provenance import GraderRecord
from spo_data.report import prompt_table as report_prompts
from spo_data.report.page import Report, write_report
from spo_data.report.prompt_table import find_shared_wording
from spo_data.report.statistics import JudgedSample, ReportedPrompt, RunStatistics, measure_throughput
from spo_data.run.checksums import commit_checksum
from spo_data.run.journal import Journal
from spo_data.run.journal_queries import Commit
from spo_data.run.manifest import Manifest, Timings
from spo_data.run.sample import Sample
from spo_data.values.estimator import estimate_value
from support.browser import Browser
from support.records import GRADER, make_manifest

ALSO = GraderRecord(verifier="dapo", version="1")
RIGHT, WRONG, NONE = Grade(Verdict.CORRECT, 1.0, "4"), Grade(Verdict.WRONG, 0.0, "5"), Grade(Verdict.NO_ANSWER, 0.0)
NO = Grade(Verdict.WRONG, 0.0, "no")
CUT, LATE = Grade(Verdict.TRUNCATED, 0.0), Grade(Verdict.GRADER_TIMEOUT, None, None, "over 10 s")


@dataclass(frozen=True)
class Row:
    """A prompt and the verdicts of its samples. A string is the error with which the engine failed."""

    text: str
    samples: Sequence[Grade | str]
    truth: str = "4"
    source: str = "sums"
    response: str = "So it is \\boxed{4}."
    tokens: int = 10


def make_run(
    folder: Path, rows: Sequence[Row], dropped: Sequence[DroppedRow] = (), also: Grade | None = None, **fields: Any
) -> Path:
    folder.mkdir(parents=True)
    manifest = make_manifest(**{"also": None if also is None else ALSO, **fields})
    manifest.write(folder)
    prompts = [Prompt((Message("user", row.text),), row.truth, row.source) for row in rows]
    with Journal(folder / "journal.sqlite", GRADER) as journal:
        journal.set_prompts(prompts, dropped)
        for prompt, row in zip(prompts, rows, strict=True):
            for index, graded in enumerate(row.samples):
                if isinstance(graded, str):
                    journal.add_failure(prompt.prompt_id, index, graded)
                    continue
                reason = "length" if graded.verdict is Verdict.TRUNCATED else "stop"
                ids = np.zeros(row.tokens + index, dtype=np.int32)
                judged = (graded.answer, graded.verdict, graded.score, graded.detail)
                response = row.response.replace("NUMBER", str(index))
                sample = Sample(prompt.prompt_id, index, index, response, ids, reason, *judged)
                journal.add(sample, {} if also is None else {ALSO: also})
    return folder


MIXED = [
    Row("What is 2 + 2?", [RIGHT, RIGHT]),
    Row("What is 3 + 1?", [RIGHT, WRONG], source="more sums", tokens=200),
    Row("What is 1 + 3?", [CUT, LATE], tokens=3000),
    Row("What is 0 + 4?", [NONE, "prompt too long"]),
    Row("What is 4 + 0?", []),
]
DROPPED = [DroppedRow(3, "no_ground_truth"), DroppedRow(5, "no_ground_truth"), DroppedRow(6, "prompt_too_long")]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    return make_run(
        tmp_path / "mixed", MIXED, DROPPED, timings=Timings(sampling_seconds=4, sampled=8, sampled_tokens=40)
    )


def page(report: Report) -> str:
    return report.path.read_text(encoding="utf-8")


def words(text: str) -> str:
    """The text of some HTML as a reader sees it: no tags, and each run of white space as one space."""
    body = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split()).replace(" .", ".").replace(" ,", ",")


def data(text: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    loaded: dict[str, Any] = json.loads(found)
    return loaded


def test_the_numbers_of_the_page_are_the_summary_s(mixed: Path) -> None:
    report = write_report(mixed)
    text, summary = words(page(report)), report.summary
    assert (summary.value_mean, summary.value_low, summary.value_high) == (0.375, 0.3, 0.8)
    for fact in (
        "Mean value 0.3750 of 4 prompts; 1 unfinished. Bounds of all 5: 0.3000 to 0.8000",
        "Prompts 5 of 40 rows, 3 duplicates",
        "Samples 7 of 10 requested, 2 per prompt",
        "Truncated 14.3% 1 sample",
        "Tokens per response 919.0 6,433 in all",
        "Tokens per second 10 2.00 samples per second",
        "2 at 0/2 and 1 at 2/2; 1 prompt is unfinished",
    ):
        assert fact in text
    svg = page(report)
    shown = [html.unescape(found) for found in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    for label in ("0/2", "2/2", "3 · 37.5%", "1 · 12.5%", "grader timeout", "engine failed", "more sums"):
        assert label in shown


def test_the_head_says_what_the_values_belong_to(tmp_path: Path) -> None:
    manifest_fields: dict[str, Any] = {
        "policy": {"model": "org/mödel", "temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_tokens": 16384},
        "dataset": {"source": "org/data", "config": "en", "split": "train", "revision": "r1"},
    }
    text = words(page(write_report(make_run(tmp_path / "run", MIXED, command="spo-data estimate", **manifest_fields))))
    for fact in (
        "Model org/mödel",
        "Revision abc123",
        "org/data, config en, split train, revision r1",
        "Verifier exact rules 1",
        "temperature 0.6, top_p 0.95, top_k 20, at most 16,384 tokens",
        "n = 2, run seed 0",
        "Answer instruction boxed",
        "Command spo-data estimate",
    ):
        assert fact in text


def test_an_incomplete_run_says_what_is_missing(mixed: Path) -> None:
    text = words(page(write_report(mixed)))
    for fact in (
        "Offline values incomplete",
        "2 of 10 samples have not been drawn yet, so 1 of 5 prompts is unfinished and has no value.",
        "1 sample could not be drawn by the engine.",
        "1 sample was drawn but could not be graded.",
        "2 rows of the dataset did not become a prompt: no ground truth.",
        "1 row of the dataset did not become a prompt: prompt too long.",
        "The engine failed on 1 sample: prompt too long.",
    ):
        assert fact in text


def test_samples_of_a_prompt_whose_ground_truth_cannot_be_read_are_not_called_undrawn(tmp_path: Path) -> None:
    rows = [Row("a?", [Grade.failed(Verdict.GOLD_UNPARSEABLE, "?")]), Row("b?", [RIGHT, WRONG, RIGHT])]
    text = words(page(write_report(make_run(tmp_path / "run", rows, n=3))))
    assert "1 sample was drawn but could not be graded." in text
    assert "2 samples are not drawn, because the ground truth cannot be read." in text
    assert "1 prompt has no value, because no sample is valid." in text
    assert "unfinished" not in text.replace("A prompt with samples that are not drawn yet is unfinished", "")


def test_a_complete_run_says_so_and_nothing_is_missing(tmp_path: Path) -> None:
    text = words(page(write_report(make_run(tmp_path / "run", [Row("?", [RIGHT, WRONG])]))))
    assert "Offline values complete" in text
    assert "incomplete" not in text
    assert "No sample failed." in text
    assert "All prompts are from one data source, sums." in text


def test_a_run_without_a_prompt_or_a_sample_has_a_page(tmp_path: Path) -> None:
    text = words(page(write_report(make_run(tmp_path / "empty", []))))
    assert "The journal has no prompts yet." in text
    assert "Offline values incomplete" in text
    text = words(page(write_report(make_run(tmp_path / "begun", [Row("?", [])]))))
    assert "Mean value none" in text
    assert "2 of 2 samples have not been drawn yet, so 1 of 1 prompt is unfinished and has no value." in text


def test_the_second_opinion_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [Row("2 + 2?", [RIGHT, WRONG])], also=WRONG)
    text = words(page(write_report(run)))
    assert "dapo disagrees with exact on 1 of the 2 samples that both judged (50.0%), in 1 prompt." in text
    assert "exact scores higher dapo scores higher number 1 1 0" in text
    assert text.index("Disputed samples dapo disagrees") < text.index("How are the values distributed?"), "it is first"
    assert "the mean value is 0.0000" in text
    assert "correct → wrong 1" in text


def test_an_answer_that_was_compared_as_text_says_so(tmp_path: Path) -> None:
    as_text = replace(WRONG, detail=COMPARED_AS_TEXT)
    html = page(write_report(make_run(tmp_path / "run", [Row("2 + 2?", [as_text, WRONG])])))
    assert "1 sample could only be compared as text and differs from the ground truth." in words(html)
    assert [sample[5] for sample in data(html)["rows"][0][-1]] == [COMPARED_AS_TEXT, None]


def test_suspect_ground_truths_are_listed(tmp_path: Path) -> None:
    rows = [
        Row("Suspect?", [WRONG, WRONG, WRONG], truth="7", source="odd sums"),
        Row("Fine?", [RIGHT, WRONG, WRONG]),
        Row("No?", [NO, NO, NO], truth="yes"),
    ]
    report = write_report(make_run(tmp_path / "run", rows, n=3))
    text = words(page(report))
    assert "In 1 prompt all answers agree" in text
    assert f"Suspect? 7 5 3 of 3 {report.summary.suspects[0].prompt_id}" in text
    assert "In 1 further prompt all answers agree too, but few answers are possible" in text
    rows = data(page(report))["rows"]
    assert [row[14] for row in rows] == ["3 of 3 samples answer 5", None, None]
    assert re.search("<text[^>]*>odd sums</text>", page(report)), "a suspect prompt is in the charts as any other"


def test_the_same_journal_gives_the_same_bytes_and_no_other_file(mixed: Path) -> None:
    before = {path.name for path in mixed.iterdir()}
    first = write_report(mixed).path.read_bytes()
    assert write_report(mixed).path.read_bytes() == first
    assert {path.name for path in mixed.iterdir()} == before | {"report.html"}


def test_samples_that_come_while_the_page_is_made_are_in_none_of_its_numbers(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spo_data.report import page as report

    def summarize(journal: Journal, manifest: Manifest) -> Any:
        found = real(journal, manifest)
        with Journal(mixed / "journal.sqlite", GRADER) as writer:
            last = list(writer.prompts())[-1]
            ids = np.zeros(1, dtype=np.int32)
            writer.add(Sample(last.prompt_id, 0, 0, "late", ids, "stop", "4", Verdict.CORRECT, 1.0))
        return found

    real = report.summarize
    undisturbed = write_report(mixed).path.read_bytes()
    monkeypatch.setattr(report, "summarize", summarize)
    assert write_report(mixed).path.read_bytes() == undisturbed
    monkeypatch.undo()
    assert write_report(mixed).summary.drawn == 8


def test_the_page_loads_nothing_and_runs_its_own_script_only(mixed: Path) -> None:
    text = page(write_report(mixed))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"<(link|img|iframe|object|embed|base|form [^>]*action)\b", text)
    assert not re.search(r"\b(src|srcset|data|poster)=|@import|url\((?!#)", text)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', text))


# The table's data.


def test_the_rows_are_the_prompts_in_order_with_their_samples(mixed: Path) -> None:
    found = data(page(write_report(mixed)))
    assert found["sources"] == ["sums", "more sums"]
    assert [row[1] for row in found["rows"]] == [row.text for row in MIXED]
    assert [row[3] for row in found["rows"]] == [0, 1, 0, 0, 0]
    assert [row[4:7] for row in found["rows"]] == [[1, 1, 1], [0.5] * 3, [0, 0, 1], [0, 0, 0.5], [None, 0, 1]]
    assert [row[7:13] for row in found["rows"]] == [
        [2, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 2],
    ]
    samples = [row[15] for row in found["rows"]]
    assert samples[2] == [
        [0, "truncated", 0, 3000, None, None, 0, MIXED[2].response],
        [1, "grader_timeout", None, 3001, None, "over 10 s", 0, MIXED[2].response],
    ]
    assert samples[3][1] == [1, "engine failed", None, None, None, "prompt too long", 0, ""]
    assert samples[4] == []


def test_of_a_long_response_the_end_is_shown_and_the_rest_counted(tmp_path: Path) -> None:
    response = "x" * 5000 + "the end"
    text = page(write_report(make_run(tmp_path / "run", [Row("?", [RIGHT], response=response)])))
    (sample,) = data(text)["rows"][0][15]
    assert sample[6:] == [4607, response[-400:]]
    assert "the last 400 characters" in words(text)


def test_each_sample_has_its_own_response(tmp_path: Path) -> None:
    text = page(write_report(make_run(tmp_path / "run", [Row("?", [RIGHT, WRONG], response="sample NUMBER")])))
    assert [sample[-1] for sample in data(text)["rows"][0][15]] == ["sample 0", "sample 1"]


def test_prompts_over_the_limit_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_prompts, "MAX_PROMPTS", 3)
    text = page(write_report(make_run(tmp_path / "run", [Row(f"p{k}", [RIGHT]) for k in range(5)])))
    assert [row[1] for row in data(text)["rows"]] == ["p0", "p1", "p2"]
    assert "The first 3 of 5 prompts; 2 are left out." in words(text)


def test_samples_over_the_limit_are_left_out_and_counted_those_of_suspects_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*(Row(f"p{k}", [RIGHT, WRONG, WRONG]) for k in range(8)), Row("suspect", [WRONG] * 3, truth="7")]
    run = make_run(tmp_path / "run", rows, n=3)
    whole = data(page(write_report(run)))["rows"]
    size = len(json.dumps(whole[0][15], separators=(",", ":")))
    monkeypatch.setattr(report_prompts, "SAMPLE_BYTES", 3 * size + size // 2)
    text = page(write_report(run))
    assert [row[15] is not None for row in data(text)["rows"]] == [True, True, *[False] * 6, True]
    assert "no room for the samples of 6 prompts" in words(text)
    assert [row[:14] for row in data(text)["rows"]] == [row[:14] for row in whole]


def test_what_all_prompts_share_is_said_once(tmp_path: Path) -> None:
    before, after = (
        "Solve this problem as well as you can, step by step.\n\n",
        "\nEnd with a line that says: Answer: 4.",
    )
    rows = [Row(f"{before}Problem {k}?{after}", [RIGHT, RIGHT]) for k in range(3)]
    text = page(write_report(make_run(tmp_path / "run", rows)))
    assert [row[1] for row in data(text)["rows"]] == [f"Problem {k}? {after.strip()}" for k in range(3)]
    assert f"at the start {before.strip()}." in words(text)
    long = after + " Nothing may come after that line."
    rows = [Row(f"{before}Problem {k}?{long}", [RIGHT, RIGHT]) for k in range(3)]
    text = page(write_report(make_run(tmp_path / "long", rows)))
    assert [row[1] for row in data(text)["rows"]] == ["Problem 0?", "Problem 1?", "Problem 2?"]
    assert f"at the start {before.strip()} and at the end {long.strip()}" in words(text)


@pytest.mark.parametrize(
    ("texts", "before", "after"),
    [
        ([], "", ""),
        (["a" * 99], "", ""),
        (["a b", "a c"], "", ""),
        (["x. " * 20 + "a", "x. " * 20 + "b"], "x. " * 20, ""),
        (["x. " * 20 + "word one", "x. " * 20 + "word two"], "x. " * 20, ""),
        (["a" + "\n" + "y " * 30, "b" + "\n" + "y " * 30], "", "\n" + "y " * 30),
        (["x. " * 20, "x. " * 20 + "b"], "", ""),
        (["x" * 99, "x" * 99 + "y"], "", ""),
    ],
)
def test_wording_is_shared_by_all_whole_sentences_only_and_never_all_of_a_prompt(
    texts: list[str], before: str, after: str
) -> None:
    wording = find_shared_wording(texts)
    assert (wording.before, wording.after) == (before, after)
    assert all(wording.own(text) for text in texts)


# The numbers of the charts.


def tried(*samples: tuple[Grade, int], source: str = "s") -> ReportedPrompt:
    judged = [JudgedSample(k, one.verdict, one.score, one.answer, one.detail, n) for k, (one, n) in enumerate(samples)]
    value = estimate_value([(one.verdict, one.score) for one, _ in samples])
    return ReportedPrompt(0, "id", "4", source, judged, [], value, None)


def counted(*prompts: ReportedPrompt) -> RunStatistics:
    numbers = RunStatistics()
    for prompt in prompts:
        numbers.add(prompt)
    return numbers


def test_length_bins_hold_every_sample_once_and_average_scores() -> None:
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in rng.lognormal(6, 1, 500)] + [0, 1, 16384]
    bins = counted(*(tried((RIGHT, n), (Grade(Verdict.WRONG, 0.5), n), (LATE, n)) for n in lengths)).length_bins()
    assert bins.edges == sorted(set(bins.edges))
    assert bins.edges[0] == 0
    assert bins.edges[-1] > 16384
    assert len(bins.edges) <= 20
    for name in ("correct", "wrong", "failed"):
        expected, _ = np.histogram(lengths, bins.edges)
        assert bins.counts[name] == expected.tolist()
    assert all(score == 0.75 for score, n in zip(bins.scores, bins.counts["correct"], strict=True) if n)
    assert all(score is None for score, n in zip(bins.scores, bins.counts["correct"], strict=True) if not n)
    assert list(bins.counts) == ["correct", "wrong", "failed"]


def test_sources_have_means_over_their_prompts_and_the_largest_is_first() -> None:
    numbers = counted(
        tried((RIGHT, 1), (CUT, 1), source="b"), tried(source="b"), tried((LATE, 1), source="c"), tried((RIGHT, 1))
    )
    assert numbers.sources() == [("b", 2, 0.5, 0.5, 1.0), ("c", 1, None, 0.0, 1.0), ("s", 1, 1.0, 1.0, 1.0)]


def test_the_curve_of_many_prompts_keeps_their_mean() -> None:
    rng = np.random.default_rng(0)
    prompts = [tried(*((RIGHT if rng.random() < k / 1000 else CUT, 1) for _ in range(4))) for k in range(1000)]
    curve = counted(*prompts).bounds_curve()
    assert len(curve) == 260
    assert [point[0] for point in curve] == sorted(point[0] for point in curve)
    assert all(low <= value <= high for value, low, high in curve)
    mean = np.mean([prompt.value.value or 0.0 for prompt in prompts])
    assert np.mean([point[0] for point in curve]) == pytest.approx(mean, abs=0.005)


def test_throughput_leaves_out_what_lies_between_calls() -> None:
    commits = [Commit(1, 100.0 + k, 5, 50) for k in range(11)] + [Commit(2, 9000.0 + k, 5, 200) for k in range(11)]
    found = measure_throughput(commits)
    assert found is not None
    assert (found.edges[0], found.edges[-1], found.calls, found.samples) == (0.0, 20.0, [10.0], 110)
    assert found.rates == pytest.approx([50.0] * 5 + [200.0] * 5)


@pytest.mark.parametrize(
    "commits",
    [[], [Commit(1, 5.0, 9, 90)], [Commit(1, 5.0, 9, 90), Commit(2, 50.0, 9, 90)], [Commit(1, 5.0, 1, 1)] * 3],
)
def test_commits_that_tell_no_time_give_no_throughput(commits: list[Commit]) -> None:
    assert measure_throughput(commits) is None


def test_a_clock_that_was_set_back_stands_still() -> None:
    times = [10.0, 12.0, 5.0, 7.0]
    found = measure_throughput([Commit(1, at, 1, 100) for at in times])
    assert found is not None
    assert found.edges[-1] == 4.0
    assert all(rate >= 0 for rate in found.rates)


@pytest.mark.slow
def test_throughput_is_drawn_where_it_was_recorded_and_said_to_be_missing_where_not(mixed: Path) -> None:
    assert "there were too few commits" in words(page(write_report(mixed)))
    database = sqlite3.connect(mixed / "journal.sqlite")
    database.create_function("commit_checksum", 4, commit_checksum)
    seal = "UPDATE commits SET checksum = commit_checksum(call, time, samples, response_tokens)"
    database.execute(
        "INSERT INTO commits SELECT 2, time + 60 * value, 3, 60, 0 FROM commits, (SELECT 1 AS value UNION SELECT 2)"
    )
    database.execute(seal)
    database.commit()
    text = page(write_report(mixed))
    assert "tokens/s" in text
    assert "1 further call began" in words(text)
    database.execute("UPDATE commits SET samples = 1")
    database.execute(seal)
    database.commit()
    assert "4 of 7 samples were drawn before commit times were recorded" in words(page(write_report(mixed)))
    database.execute("DROP TABLE commits")
    database.execute("PRAGMA user_version = 2")
    database.commit()
    database.close()
    text = page(write_report(mixed))
    assert "tokens/s" not in text
    assert "this run was made before the journal kept the times of its commits" in words(text)


# Comparison.


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    this = [
        Row("rose", [WRONG, WRONG]),
        Row("fell", [RIGHT, RIGHT]),
        Row("stayed", [RIGHT, WRONG]),
        Row("another truth", [RIGHT, RIGHT]),
        Row("no value", [LATE, LATE]),
        Row("only here", [RIGHT, RIGHT]),
    ]
    other = [
        Row("only there", [RIGHT, RIGHT]),
        Row("only there too", [RIGHT, RIGHT]),
        Row("stayed", [WRONG, RIGHT]),
        Row("fell", [RIGHT, WRONG]),
        Row("rose", [RIGHT, RIGHT]),
        Row("another truth", [WRONG, WRONG], truth="9"),
        Row("no value", [RIGHT, RIGHT]),
    ]
    first = make_run(tmp_path / "this", this)
    return first, make_run(tmp_path / "the-other", other, policy={"temperature": 0.6, "revision": "def456"})


def test_a_comparison_joins_by_prompt_id_and_counts_what_it_leaves_out(two: tuple[Path, Path]) -> None:
    report = write_report(*two)
    compared = report.comparison
    assert compared is not None
    assert (compared.both, compared.only_this, compared.only_other) == (5, 1, 2)
    assert (compared.other_truth, compared.without_value, compared.compared) == (1, 1, 3)
    assert compared.directions == (1, 1, 1)
    assert compared.means == (0.5, pytest.approx(2 / 3))
    assert compared.differences == {"temperature": (1, 0.6), "revision": ("abc123", "def456")}
    assert [(move.prompt, move.this, move.other) for move in compared.rose] == [("rose", 0.0, 1.0)]
    assert [(move.prompt, move.this, move.other) for move in compared.fell] == [("fell", 1.0, 0.5)]
    assert compared.shifts() == ([-1.0, -0.5, 0.0, 0.5, 1.0], [0, 1, 1, 0, 1])
    text = words(page(report))
    for fact in (
        "Comparison with the-other",
        "5 prompts are in both runs, 1 only in this one, 2 only in the other.",
        "1 has a different ground truth",
        "1 has no value in one of the runs",
        "temperature 1.0 0.6",
        "Mean shift +0.1667 0.5000 → 0.6667",
        "Rose 1 33.3%",
        "Unchanged 1 33.3%",
        "to the nearest 1/2, over 3 prompts",
        "rose 4 0.000 1.000",
        "fell 4 1.000 0.500",
    ):
        assert fact in text


def test_a_comparison_the_other_way_round_has_the_opposite_shift(two: tuple[Path, Path]) -> None:
    there, back = write_report(*two).comparison, write_report(*reversed(two)).comparison
    assert there is not None
    assert back is not None
    assert there.directions == (back.directions[1], back.directions[0], back.directions[2])
    assert there.shifts()[1] == back.shifts()[1][::-1]
    assert {(y, x): count for (x, y), count in there.pairs.items()} == back.pairs


def test_runs_without_a_common_prompt_have_nothing_to_compare(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, [Row(name, [RIGHT, RIGHT])]) for name in ("a", "b")]
    assert "No prompt can be compared." in words(page(write_report(*runs)))


# In a browser.

HOSTILE = [
    "</script><script>document.documentElement.dataset.ran = 1</script>",
    "<img src=x onerror='document.documentElement.dataset.ran = 2'>",
    "<svg onload='document.documentElement.dataset.ran = 3'>",
    "<!--<script>",
    "{{ 7 * 7 }} ${7 * 7} `x`",
    "nul \0 and \x1b[31m",
    "\u202e right to left",
    "\u2028 \u2029 line separators",
    "& &lt; &amp; \" ' \\",
    "very" * 5_000,
]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def test_hostile_text_is_shown_and_does_not_run(tmp_path: Path, browser: Browser) -> None:
    graded = [Grade(Verdict.WRONG, 0.0, text) for text in HOSTILE]
    rows = [
        Row(f"{k} {text}", [one, one, one], truth=text, source=text, response=text)
        for k, (text, one) in enumerate(zip(HOSTILE, graded, strict=True))
    ] + [Row("failed", [HOSTILE[0], HOSTILE[1]])]
    name = HOSTILE[1]
    fields: dict[str, Any] = {
        "policy": {"model": name},
        "dataset": {"source": HOSTILE[0]},
        "command": HOSTILE[2],
        "n": 3,
    }
    run = make_run(tmp_path / "run", rows, [DroppedRow(0, HOSTILE[1])], **fields)
    report = write_report(run, make_run(tmp_path / "other", rows[1:], policy={"system": HOSTILE[0]}, n=3))
    assert not re.search("[\0\x1b]", page(report))
    dom = browser.dom(report.path, "document.querySelectorAll('#table .row button').forEach((b) => b.click());")
    assert "data-ran" not in dom
    assert dom.count('class="sample"') == 3 * len(HOSTILE) + 2
    shown = words(dom)
    for text in HOSTILE[:5]:
        assert text in shown


FILTERS: list[tuple[str, list[str]]] = [
    ("", ["What is 2 + 2?", "What is 3 + 1?", "What is 1 + 3?", "What is 0 + 4?", "What is 4 + 0?"]),
    ("set('search', '3 + 1')", ["What is 3 + 1?"]),
    ("set('search', 'WHAT IS 1')", ["What is 1 + 3?"]),
    ("set('search', rows()[1].id)", ["What is 3 + 1?"]),
    ("set('search', 'nothing like it')", []),
    ("set('least', '0.5')", ["What is 2 + 2?", "What is 3 + 1?"]),
    ("set('most', '0.5')", ["What is 3 + 1?", "What is 1 + 3?", "What is 0 + 4?"]),
    ("set('least', '0.4'); set('most', '0.6')", ["What is 3 + 1?"]),
    ("set('verdict', '3')", ["What is 1 + 3?"]),
    ("set('verdict', '4')", ["What is 1 + 3?", "What is 0 + 4?"]),
    ("set('verdict', '2')", ["What is 0 + 4?"]),
    ("set('source', '1')", ["What is 3 + 1?"]),
    ("document.getElementById('suspect').click()", []),
    ("sort('Value')", ["What is 2 + 2?", "What is 3 + 1?", "What is 1 + 3?", "What is 0 + 4?", "What is 4 + 0?"]),
    (
        "sort('Value'); sort('Value')",
        ["What is 1 + 3?", "What is 0 + 4?", "What is 3 + 1?", "What is 2 + 2?", "What is 4 + 0?"],
    ),
    ("sort('Tokens'); set('verdict', '0')", ["What is 3 + 1?", "What is 2 + 2?"]),
    ("set('sort', '1 true', 'change')", sorted((row.text for row in MIXED), reverse=True)),
]

DRIVER = """
const seen = [];
const form = document.getElementById("filters");
const rows = () => JSON.parse(document.getElementById("data").textContent).rows.map(([id]) => ({ id }));
const set = (id, value, kind = "input") => {
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event(kind, { bubbles: true }));
};
const heads = () => [...document.querySelectorAll("#table thead button")];
const sort = (name) => heads().find((b) => b.textContent === name).click();
const look = () => seen.push([
  [...document.querySelectorAll("#table .row .prompt button")].map((b) => b.textContent),
  document.getElementById("count").textContent,
]);
const steps = [STEPS];
const next = () => {
  if (!steps.length) {
    const result = Object.assign(document.createElement("pre"), { id: "seen", textContent: JSON.stringify(seen) });
    document.body.append(result);
    return;
  }
  form.reset();
  setTimeout(() => { steps.shift()(); look(); next(); }, 1);
};
next();
"""


def seen(
    browser: Browser, path: Path, steps: Sequence[str], several_sources: bool = False
) -> list[tuple[list[str], str]]:
    """The rows and the count after each step. Each step starts from the initial state of the form.

    Without a second source there is no choice of one.
    """
    script = DRIVER.replace("STEPS", ", ".join(f"() => {{ {step} }}" for step in steps))
    dom = browser.dom(path, script)
    (found,) = re.findall(r'<pre id="seen">(.*?)</pre>', dom, flags=re.DOTALL)
    (label,) = re.findall('<label id="source-label".*?>', dom)
    assert ("hidden" in label) != several_sources
    return [(rows, count) for rows, count in json.loads(html.unescape(found))]


@pytest.mark.slow
def test_filters_filter_and_columns_sort(mixed: Path, browser: Browser) -> None:
    found = seen(browser, write_report(mixed).path, [step for step, _ in FILTERS], several_sources=True)
    for (step, expected), (rows, count) in zip(FILTERS, found, strict=True):
        assert rows == expected, step
        assert count == f"{len(expected)} of 5 prompts", step


@pytest.mark.slow
def test_only_suspects_and_answers_that_are_searched(tmp_path: Path, browser: Browser) -> None:
    odd = Grade(Verdict.WRONG, 0.0, "Answer-77")
    rows = [Row("Suspect?", [WRONG, WRONG, WRONG], truth="7"), Row("Other?", [RIGHT, odd, NONE])]
    run = make_run(tmp_path / "run", rows, n=3)
    steps = ["document.getElementById('suspect').click()", "set('search', 'answer-77')"]
    assert [rows for rows, _ in seen(browser, write_report(run).path, steps)] == [["Suspect?"], ["Other?"]]


@pytest.mark.slow
def test_pages_turn_and_a_row_opens_by_itself_and_closes(tmp_path: Path, browser: Browser) -> None:
    run = make_run(tmp_path / "run", [Row(f"p{k}", [RIGHT] if k == 5 else [RIGHT, RIGHT]) for k in range(120)])
    path = write_report(run).path
    turn = "document.getElementById('next').click();"
    steps = ["", turn, turn * 2, turn * 2 + "document.getElementById('previous').click()"]
    pages = [rows for rows, _ in seen(browser, path, steps)]
    assert [(rows[0], rows[-1], len(rows)) for rows in pages] == [
        *[("p0", "p49", 50), ("p50", "p99", 50), ("p100", "p119", 20), ("p50", "p99", 50)]
    ]
    button = "document.querySelectorAll('#table .row button')"
    dom = browser.dom(path, f"{button}[3].click(); {button}[5].click(); {button}[3].click();")
    assert dom.count('class="detail"') == 1
    assert dom.count('aria-expanded="true"') == 1
    assert dom.count('class="sample"') == 1
    assert dom.count(">unfinished</td>") == 1
    assert "1 sample is not drawn yet" in dom


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, True), (420, False)])
def test_the_page_is_drawn_in_both_schemes_and_fits_a_phone(
    mixed: Path, browser: Browser, width: int, dark: bool
) -> None:
    from matplotlib.image import imread

    image = browser.screenshot(
        write_report(mixed).path, browser.folder / f"{width}.png", width=width, height=2400, dark=dark
    )
    pixels = (imread(image)[:, :, :3] * 255).astype(np.uint32)
    assert pixels.shape[:2] == (2400, width)
    colours = np.unique(pixels @ np.array([65536, 256, 1], dtype=np.uint32))
    assert len(colours) > 500
    assert (pixels[0, 0].mean() < 60) == dark
    right = pixels[:, -8:].reshape(-1, 3)
    assert len(np.unique(right, axis=0)) == 1, "something runs over the right edge"


@pytest.mark.long
def test_a_run_of_20_000_prompts_stays_small_quick_and_usable(tmp_path: Path, browser: Browser) -> None:
    text = "Let us see. " * 100
    rows = [Row(f"Problem {k}: " + "what is it? " * 30, [RIGHT, WRONG] * 2, response=text) for k in range(20_050)]
    run = make_run(tmp_path / "run", rows, n=4)
    began = time.process_time()
    report = write_report(run)
    assert time.process_time() - began < 60
    assert report.size < 26_000_000
    assert "The first 20,000 of 20,050 prompts; 50 are left out" in words(
        page(report).partition('id="data"')[0] + "</script>"
    )
    ((found, count),) = seen(browser, report.path, ["set('search', 'problem 19999')"])
    assert (len(found), count) == (1, "1 of 20,000 prompts")


def test_other_datasets_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    """The row said "org/data" twice if only the configuration or the rows differed."""
    rows = [Row("?", [RIGHT, RIGHT])]
    this = make_run(tmp_path / "this", rows)
    dataset = {"config": "en", "rows": 4000, "fingerprint": "0123456789abcdef"}
    other = make_run(tmp_path / "other", rows, dataset=dataset)
    report = write_report(this, other)
    assert report.comparison is not None
    assert report.comparison.differences == {
        "dataset": ("config none, rows 40, fingerprint f", "config en, rows 4,000, fingerprint 0123456789ab")
    }
    assert "dataset config none, rows 40, fingerprint f config en, rows 4,000" in words(page(report))
    moved = make_run(tmp_path / "moved", rows, dataset={"source": "/copy/of/data"})
    same = write_report(this, moved).comparison
    assert same is not None
    assert same.differences == {}, "the same prompts and ground truths are the same dataset"
