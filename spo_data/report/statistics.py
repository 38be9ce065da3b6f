"""Count what the report's charts show, in one pass over a journal's prompts, without reading responses.

    numbers = RunStatistics()
    for prompt in read_reported_prompts(journal, manifest.n):
        numbers.add(prompt)
    numbers.length_bins()

A run may have millions of samples, so only three numbers a prompt and counts by length and data source are kept.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

import numpy as np

from spo_data.grading.suspects import Agreement, settle_truncated
from spo_data.grading.verdict import Verdict
from spo_data.run.journal import Journal
from spo_data.run.journal_queries import Commit
from spo_data.values.estimator import PromptValue, estimate_value

CHUNK = 1_000
"""Prompts that are read at a time."""
CURVE_POINTS = 260
"""Points of the curve of bounds, at most."""
TIME_BINS = 60
"""Bins of the chart of throughput, at most."""
LEAST_BIN_SECONDS = 2.0
"""Commits are about a second apart, so shorter bins would show the commits and not the speed."""
VERDICTS = ("correct", "wrong", "no_answer", "truncated")
"""The observations, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """A sample without its response."""

    sample_index: int
    verdict: Verdict
    score: float | None
    answer: str | None
    detail: str | None
    response_tokens: int


@dataclass(frozen=True)
class ReportedPrompt:
    """A prompt with its samples and failures, its value, and whether its ground truth is suspect."""

    number: int
    """Its number in the journal."""
    prompt_id: str
    ground_truth: str
    data_source: str
    samples: list[JudgedSample]
    failures: list[tuple[int, str]]
    """(sample index, error) of the samples that the engine failed to draw."""
    value: PromptValue
    agreed: Agreement | None
    """The agreement that makes the ground truth suspect."""

    @property
    def verdicts(self) -> Counter[str]:
        """The number of its samples by verdict; see `verdict_name`."""
        return Counter([verdict_name(sample.verdict) for sample in self.samples] + ["failed"] * len(self.failures))

    @property
    def tokens_mean(self) -> float | None:
        """Mean tokens of the responses that no interpreter failure ended, as in the table of values."""
        whole = [s.response_tokens for s in self.samples if s.verdict != Verdict.TOOL_ERROR]
        return sum(whole) / len(whole) if whole else None


def verdict_name(verdict: Verdict) -> str:
    """The verdict if it is an observation, `failed` if we failed."""
    return str(verdict) if verdict.is_observation else "failed"


def read_reported_prompts(journal: Journal, n: int) -> Iterator[ReportedPrompt]:
    """The prompts of a run with n samples, in order, including those without a sample."""
    undrawn = {number: count for number, _, count in journal.undrawn(n)}
    failures: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for number, index, error in journal.query("SELECT prompt_number, sample_index, error FROM failures ORDER BY 1, 2"):
        failures[number].append((index, error))
    rule = journal.suspect_rule()
    ((end,),) = journal.query("SELECT coalesce(max(position) + 1, 0) FROM prompts")
    for start in range(0, end, CHUNK):
        within = (start, start + CHUNK)
        rows = journal.query(
            "SELECT prompt_number, sample_index, verdict, score, answer, detail, response_tokens"
            " FROM prompts CROSS JOIN graded USING (prompt_number) WHERE position >= ? AND position < ?"
            " ORDER BY position, prompt_number, sample_index",
            within,
        )
        samples = {
            number: [JudgedSample(index, Verdict(verdict), *rest) for _, index, verdict, *rest in group]
            for number, group in groupby(rows, key=lambda row: row[0])
        }
        for number, prompt_id, ground_truth, data_source in journal.query(
            "SELECT prompt_number, prompt_id, ground_truth, data_source FROM prompts"
            " WHERE position >= ? AND position < ? ORDER BY position, prompt_number",
            within,
        ):
            judged, failed = samples.get(number, []), failures.get(number, [])
            pairs = ((sample.verdict, sample.score) for sample in judged)
            value = estimate_value(pairs, failures=len(failed), undrawn=undrawn.get(number, 0))
            answers = ((settle_truncated(sample.verdict, sample.score), sample.answer) for sample in judged)
            agreed = rule.find(ground_truth, data_source, answers) if value.is_finished else None
            yield ReportedPrompt(number, prompt_id, ground_truth, data_source, judged, failed, value, agreed)


class Source(NamedTuple):
    """A data source: the mean value over its prompts that have one, the mean bounds over all of them."""

    name: str
    prompts: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LengthBins:
    """Samples in bins of response tokens."""

    edges: list[int]
    counts: dict[str, list[int]]
    """By verdict, in the order of a legend; see `verdict_name`."""
    scores: list[float | None]
    """Mean over the samples that have a score; None if a bin has none."""


@dataclass
class RunStatistics:
    """Counts over the prompts of a run."""

    curve: list[tuple[float, float, float]] = field(default_factory=list)
    """Value and bounds of each prompt that has a value."""
    _sources: dict[str, "_Sums"] = field(default_factory=dict)
    _lengths: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _scores: dict[int, "_Sums"] = field(default_factory=dict)

    def add(self, prompt: ReportedPrompt) -> None:
        """Count a prompt."""
        value = prompt.value
        source = self._sources.setdefault(prompt.data_source, _Sums())
        source.rows += 1
        if value.value_low is not None and value.value_high is not None:
            source.add("low", value.value_low)
            source.add("high", value.value_high)
            if value.value is not None:
                source.add("value", value.value)
                self.curve.append((value.value, value.value_low, value.value_high))
        for sample in prompt.samples:
            self._lengths[sample.response_tokens][verdict_name(sample.verdict)] += 1
            if sample.score is not None:
                self._scores.setdefault(sample.response_tokens, _Sums()).add("score", sample.score)

    def sources(self) -> list[Source]:
        """The data sources, the one with most prompts first."""
        found = [
            Source(name, sums.rows, sums.mean("value"), sums.mean("low"), sums.mean("high"))
            for name, sums in self._sources.items()
        ]
        return sorted(found, key=lambda source: (-source.prompts, source.name))

    def bounds_curve(self) -> list[tuple[float, float, float]]:
        """Value and bounds in rising order; if there are many prompts, means over equal shares of them."""
        ranked = sorted(self.curve)
        points = min(CURVE_POINTS, len(ranked))
        cuts = [len(ranked) * k // points for k in range(points + 1)] if points else []
        return [
            tuple(sum(column) / (end - start) for column in zip(*ranked[start:end], strict=True))
            for start, end in pairwise(cuts)
        ]

    def length_bins(self) -> LengthBins:
        """Samples by length, in bins that widen with the length: responses are long-tailed."""
        edges = _round_edges({tokens: counts.total() for tokens, counts in self._lengths.items()})
        present = {name for counts in self._lengths.values() for name in counts}
        counts = {name: [0] * (len(edges) - 1) for name in (*VERDICTS, "failed") if name in present}
        scores = [_Sums() for _ in edges[1:]]
        for tokens, by_verdict in self._lengths.items():
            place = bisect_right(edges, tokens) - 1
            for name, count in by_verdict.items():
                counts[name][place] += count
            if tokens in self._scores:
                scores[place].merge(self._scores[tokens])
        return LengthBins(edges, counts, [sums.mean("score") for sums in scores])


@dataclass(frozen=True)
class Throughput:
    """Tokens per second over the working time: the calls of `estimate` end to end, without the time between them."""

    edges: list[float]
    """Seconds."""
    rates: list[float]
    calls: list[float]
    """When each further call began, in seconds."""
    samples: int
    """Samples whose commit was recorded."""


def measure_throughput(commits: Sequence[Commit]) -> Throughput | None:
    """Tokens per second from the commits; None if they span no time.

    A call's clock starts with its first commit, since the start of that commit's samples is unknown. The tokens of a
    later commit are spread evenly over the time since the one before.
    """
    seconds, tokens, calls = [0.0], [0], []
    previous: Commit | None = None
    for commit in commits:
        if previous is None or previous.call != commit.call:
            if previous is not None:
                calls.append(seconds[-1])
        else:
            # If the clock was set back, no time has passed.
            seconds.append(seconds[-1] + max(0.0, commit.time - previous.time))
            tokens.append(tokens[-1] + commit.response_tokens)
        previous = commit
    if seconds[-1] <= 0:
        return None
    bins = max(1, min(TIME_BINS, int(seconds[-1] / LEAST_BIN_SECONDS)))
    edges = np.linspace(0, seconds[-1], bins + 1)
    rates = np.diff(np.interp(edges, seconds, tokens)) / np.diff(edges)
    return Throughput(edges.tolist(), rates.tolist(), calls, sum(commit.samples for commit in commits))


@dataclass
class _Sums:
    rows: int = 0
    _sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, number: float) -> None:
        total = self._sums.setdefault(name, [0.0, 0.0])
        total[0] += number
        total[1] += 1

    def merge(self, other: "_Sums") -> None:
        for name, (number, count) in other._sums.items():
            total = self._sums.setdefault(name, [0.0, 0.0])
            total[0] += number
            total[1] += count

    def mean(self, name: str) -> float | None:
        number, count = self._sums.get(name, (0.0, 0.0))
        return number / count if count else None


def _round_edges(counts: Mapping[int, int]) -> list[int]:
    """0, then 1, 1.5, 2, 3, 5, 7 times powers of ten, from the 1st percentile of the numbers to the largest."""
    steps = (10, 15, 20, 30, 50, 70)
    every = [step * 10**power // 10 for power in range(12) for step in steps if step * 10**power % 10 == 0]
    less = list(accumulate(count for _, count in sorted(counts.items())))
    low = sorted(counts)[bisect_right(less, less[-1] / 100)] if less else 0
    first = max(0, bisect_right(every, low) - 1)
    last = bisect_right(every, max(counts, default=0))
    return [0, *every[first : last + 1]]
