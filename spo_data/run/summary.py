"""A run in numbers, as `spo-data show` prints it: counted from the journal, so it is right while the run continues.

summary = summarize(journal, manifest)
summary.histogram[3]      # prompts whose value is nearest to 3/n
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from spo_data.grading.suspects import LEAST_ANSWERS, find_agreement, settle_truncated
from spo_data.grading.verdict import COMPARED_AS_TEXT, Verdict
from spo_data.provenance import GRADED_MARK, Completeness
from spo_data.run.disputes import SecondOpinion, compare_graders
from spo_data.run.journal import Journal
from spo_data.run.manifest import Counts, Manifest
from spo_data.run.prompt_values import estimate_values
from spo_data.text import excerpt

EXAMPLES = 5
"""Prompts that a list of examples shows."""

_TOOL_ERRORS = """
SELECT coalesce(detail, ''), count(*) FROM graded WHERE finish_reason = 'tool_error' GROUP BY 1 ORDER BY 2 DESC, 1
"""


@dataclass(frozen=True)
class Example:
    """One of the hardest or easiest prompts."""

    prompt_id: str
    value: float
    prompt: str
    ground_truth: str


@dataclass(frozen=True)
class Suspect:
    """A prompt whose samples agree on an answer that is not the ground truth."""

    prompt_id: str
    ground_truth: str
    answer: str
    samples: int
    """Samples that give this answer, of the `valid` ones; the others give none."""
    valid: int
    prompt: str


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    `value_mean` is the mean over the prompts that have a value. The bounds are means over all prompts of the run, with
    the samples that are not drawn yet counted wrong / right. A mean over no prompts is None.
    """

    model: str
    dataset: str
    verifier: str
    n: int
    rows: int
    duplicates: int
    dropped: dict[str, int]
    prompts: int
    asked: int
    """prompts x n."""
    drawn: int
    verdicts: dict[str, int]
    compared_as_text: int
    """Samples whose answer could only be compared as text, and differs from the ground truth."""
    engine_failures: int
    """Samples that the engine failed to draw."""
    errors: dict[str, int]
    """The engine's errors for samples that it failed to draw, and how often each occurred."""
    tool_errors: dict[str, int]
    """The interpreter failures that ended responses, and how often each occurred."""
    not_drawn: int
    """Samples that no call has drawn or tried yet."""
    not_valid: int
    """Samples that we failed to draw or to grade, and all those of a prompt whose ground truth cannot be read, which is
    drawn no further."""
    unfinished: int
    """Prompts with samples that are not drawn yet; they have no value."""
    prompts_without_value: int
    """Other prompts that have no value: none of their samples is valid."""
    value_mean: float | None
    value_low: float | None
    value_high: float | None
    histogram: list[int]
    """n + 1 counts: prompts whose value is nearest to 0/n, 1/n, ..., n/n."""
    response_tokens: int
    """Over all responses, including tool output and the responses that an interpreter failure ended."""
    response_tokens_mean: float | None
    """Over the responses that no interpreter failure ended, as in the table of values."""
    tools: str | None
    """The policy's interpreter."""
    tool_turns_mean: float | None
    """Programs per response, over the same responses; None without an interpreter."""
    samples_per_second: float | None
    tokens_per_second: float | None
    kv_use_mean: float | None
    """The share of the KV cache that was in use, from 0 to 1; None, like the next two, if no engine reported it."""
    preemptions: int | None
    """How often a request had to give up its part of the KV cache."""
    preempted_tokens: int | None
    """Tokens of these requests: computed again, except those that the prefix cache still had."""
    hardest: list[Example]
    easiest: list[Example]
    suspects: list[Suspect]
    """All of them, in prompt order."""
    few_answers: int
    """Prompts whose samples agree in the same way, but that have too few possible answers to be suspect."""
    second: SecondOpinion | None

    @property
    def complete(self) -> bool:
        """Whether there are prompts, every row became one, and every prompt has its n valid samples."""
        return self.prompts > 0 and not self.not_drawn and not self.not_valid and not self.dropped

    @property
    def prompts_with_value(self) -> int:
        """The prompts that have a value, and so a row in the table of values."""
        return self.prompts - self.unfinished - self.prompts_without_value

    @property
    def completeness(self) -> Completeness:
        """The record that goes with the values."""
        return Completeness(prompts=self.prompts, unfinished=self.unfinished, without_value=self.prompts_without_value)

    def as_dict(self) -> dict[str, Any]:
        """The summary for JSON."""
        return {"complete": self.complete, **asdict(self)}

    def counts(self) -> Counts:
        """The counts for the manifest."""
        return Counts(
            dropped=self.dropped,
            prompts=self.prompts,
            unfinished=self.unfinished,
            without_value=self.prompts_without_value,
            samples=self.drawn,
            verdicts=self.verdicts,
            compared_as_text=self.compared_as_text,
            engine_failures=self.engine_failures,
            not_valid=self.not_valid,
            not_drawn=self.not_drawn,
        )


def summarize(journal: Journal, manifest: Manifest) -> Summary:
    """Count a run's journal."""
    ((n_prompts,),) = journal.query("SELECT count(*) FROM prompts")
    ((drawn, tokens, tokens_mean, tool_turns_mean),) = journal.query(
        "SELECT count(*), coalesce(sum(response_tokens), 0), avg(response_tokens) FILTER (WHERE whole),"
        " avg(tool_turns) FILTER (WHERE whole)"
        " FROM (SELECT response_tokens, tool_turns, finish_reason <> 'tool_error' AS whole FROM samples)"
    )
    judged = journal.query(
        "SELECT verdict, count(*), coalesce(sum(detail = ?), 0) FROM graded GROUP BY 1 ORDER BY 2 DESC, 1",
        (COMPARED_AS_TEXT,),
    )
    errors = _count_by_name(journal, "SELECT error, count(*) FROM failures GROUP BY 1 ORDER BY 2 DESC, 1")
    values = list(estimate_values(journal, manifest.n))
    known = [(value.value, position) for position, value in values if value.value is not None]
    histogram = [0] * (manifest.n + 1)
    for mean, _ in known:
        histogram[round(mean * manifest.n)] += 1
    suspects, few_answers = _find_suspects(journal, {position for position, value in values if value.is_finished})
    tools = manifest.policy.tools
    seconds, engine = manifest.timings.sampling_seconds, manifest.timings.engine
    valid, not_drawn = (sum(getattr(value, name) for _, value in values) for name in ("n_valid", "n_undrawn"))
    unfinished = sum(not value.is_finished for _, value in values)
    return Summary(
        model=manifest.policy.model,
        dataset=manifest.dataset.source,
        verifier=manifest.grader.verifier + (GRADED_MARK if manifest.grader.truncated == "grade" else ""),
        n=manifest.n,
        rows=manifest.dataset.rows,
        duplicates=manifest.dataset.duplicates,
        dropped=_count_by_name(journal, "SELECT reason, count(*) FROM dropped GROUP BY 1 ORDER BY 2 DESC, 1"),
        prompts=n_prompts,
        asked=n_prompts * manifest.n,
        drawn=drawn,
        verdicts={verdict: count for verdict, count, _ in judged},
        compared_as_text=sum(as_text for *_, as_text in judged),
        engine_failures=sum(errors.values()),
        errors=errors,
        tool_errors={} if tools is None else _count_by_name(journal, _TOOL_ERRORS),
        not_drawn=not_drawn,
        not_valid=n_prompts * manifest.n - valid - not_drawn,
        unfinished=unfinished,
        prompts_without_value=n_prompts - unfinished - len(known),
        value_mean=_mean([mean for mean, _ in known]),
        value_low=_mean([value.value_low for _, value in values]),
        value_high=_mean([value.value_high for _, value in values]),
        histogram=histogram,
        response_tokens=tokens,
        response_tokens_mean=tokens_mean,
        tools=None if tools is None else str(tools),
        tool_turns_mean=None if tools is None else tool_turns_mean,
        samples_per_second=manifest.timings.sampled / seconds if seconds else None,
        tokens_per_second=manifest.timings.sampled_tokens / seconds if seconds else None,
        kv_use_mean=None if engine is None else engine.kv_mean,
        preemptions=None if engine is None else engine.preemptions,
        preempted_tokens=None if engine is None else engine.preempted_tokens,
        hardest=_read_examples(journal, sorted(known)),
        easiest=_read_examples(journal, sorted(known, key=lambda pair: (-pair[0], pair[1]))),
        suspects=suspects,
        few_answers=few_answers,
        second=None if manifest.also is None else compare_graders(journal, manifest.also, manifest.n),
    )


def _find_suspects(journal: Journal, finished: Collection[int]) -> tuple[list[Suspect], int]:
    """The suspects among prompts at these positions, and how many more would be if they had more possible answers."""
    # Read answers only for prompts with no correct and enough wrong samples: no other can be suspect.
    rows = journal.query(
        "SELECT prompt_number, position, data_source, verdict, score, answer"
        " FROM prompts CROSS JOIN graded USING (prompt_number)"
        " WHERE prompt_number IN (SELECT prompt_number FROM graded GROUP BY 1 HAVING sum(verdict = 'correct') = 0"
        f" AND sum(verdict = 'wrong') >= {LEAST_ANSWERS}) ORDER BY position, sample_index"
    )
    rule, suspects, few_answers = journal.suspect_rule(), [], 0
    for (number, position, source), group in groupby(rows, key=lambda row: row[:3]):
        agreed = find_agreement(
            (settle_truncated(Verdict(verdict), score), answer) for *_, verdict, score, answer in group
        )
        if agreed is None or position not in finished:
            continue
        prompt_id, text, gold = journal.texts("prompt_number", number)
        if rule.has_few_answers(gold, source):
            few_answers += 1
        else:
            suspects.append(Suspect(prompt_id, gold, agreed.answer, agreed.samples, agreed.valid, excerpt(text)))
    return suspects, few_answers


def _count_by_name(journal: Journal, sql: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in journal.query(sql)}


def _mean(numbers: Sequence[float | None]) -> float | None:
    present = [number for number in numbers if number is not None]
    return sum(present) / len(present) if present else None


def _read_examples(journal: Journal, ranked: Iterable[tuple[float, int]]) -> list[Example]:
    examples = []
    for value, position in list(ranked)[:EXAMPLES]:
        prompt_id, text, ground_truth = journal.texts("position", position)
        examples.append(Example(prompt_id, value, excerpt(text), ground_truth))
    return examples
