"""Where a second verifier disputes a run's verdicts: by kind of answer, by pair of verdicts, and on which prompts.

    second = compare_graders(journal, manifest.also, manifest.n)
    second.kinds[0].kind, second.kinds[0].samples

A sample is disputed if both graders judged it and scored it differently.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from spo_data.grading.reading.read import describe_kind
from spo_data.grading.verdict import Grade, Verdict
from spo_data.provenance import GraderRecord
from spo_data.run.journal import Journal
from spo_data.text import excerpt

WORST = 5
"""Prompts with the most disputed samples that are shown."""
NO_ANSWER = "only one found an answer"


@dataclass(frozen=True)
class DisputedKind:
    """The disputed samples of one kind."""

    kind: str
    """Of the ground truth, as docs/grading.md lists them, or that only one verifier found an answer."""
    samples: int
    first_higher: int
    """Those that the run's verifier scored higher; the second one scored the others higher."""


@dataclass(frozen=True)
class Disagreement:
    """A prompt on whose samples two verifiers disagree."""

    prompt_id: str
    samples: int
    ground_truth: str
    prompt: str
    first_answer: str | None
    """The first such sample's answer, as the run's verifier read it."""
    second_answer: str | None


@dataclass(frozen=True)
class SecondOpinion:
    """How often a second verifier disagrees: it judged the same samples and scored some differently."""

    verifier: str
    compared: int
    """Samples that both graders judged."""
    disagree: int
    """The disputed samples."""
    prompts: int
    """Prompts with a disputed sample."""
    kinds: list[DisputedKind]
    """The disputed samples by kind, the most frequent first."""
    pairs: dict[str, int]
    """Samples by pair of verdicts, "first → second", without pairs of equal score."""
    value_mean: float | None
    """Mean over the prompts of the second verifier's values."""
    worst: list[Disagreement]


def compare_graders(journal: Journal, second: GraderRecord, n: int) -> SecondOpinion:
    """Compare the verdicts of a journal's grader and of a second one."""
    both = [
        count
        for (ours, theirs), count in journal.confusion(second).items()
        if ours.is_observation
        and theirs.is_observation
        and (ours is not Verdict.TRUNCATED or second.truncated == "grade")
    ]
    differing = journal.find_differing(second)
    pairs = Counter((ours.verdict, theirs.verdict) for _, _, ours, theirs in differing)
    by_prompt = Counter(number for number, *_ in differing)
    first = {number: (ours, theirs) for number, _, ours, theirs in reversed(differing)}
    rows = journal.rows("SELECT prompt_number, ground_truth FROM prompts")
    truths = {number: ground_truth for number, ground_truth in rows if number in by_prompt}
    worst = []
    for number, samples in sorted(by_prompt.items(), key=lambda item: (-item[1], item[0]))[:WORST]:
        ours, theirs = first[number]
        prompt_id, text, ground_truth = journal.texts("prompt_number", number)
        worst.append(Disagreement(prompt_id, samples, ground_truth, excerpt(text), ours.answer, theirs.answer))
    values = journal.values(second, n).values()
    return SecondOpinion(
        verifier=second.verifier,
        compared=sum(both),
        disagree=len(differing),
        prompts=len(by_prompt),
        kinds=_count_kinds([(truths[number], ours, theirs) for number, _, ours, theirs in differing]),
        pairs={f"{ours} → {theirs}": count for (ours, theirs), count in pairs.most_common()},
        value_mean=sum(values) / len(values) if values else None,
        worst=worst,
    )


def _count_kinds(disputed: Sequence[tuple[str, Grade, Grade]]) -> list[DisputedKind]:
    samples, higher = Counter[str](), Counter[str]()
    for ground_truth, ours, theirs in disputed:
        kind = NO_ANSWER if Verdict.NO_ANSWER in (ours.verdict, theirs.verdict) else describe_kind(ground_truth)
        samples[kind] += 1
        higher[kind] += (ours.score or 0.0) > (theirs.score or 0.0)
    ranked = sorted(samples, key=lambda kind: (-samples[kind], kind))
    return [DisputedKind(kind, samples[kind], higher[kind]) for kind in ranked]
