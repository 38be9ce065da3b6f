"""How often the verifier `math-verify` is wrong, on answers whose verdict is known.

    read_measurement().total("peers", decided=False).ours.false_correct
    describe_error("math-verify", version)      # the card's line, for the rules that were measured

`benchmarks/grading_accuracy.py --write` counts, and writes the file that is read here.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).with_name("measured_error.json")
MEASURED = "math-verify"

Labelled = Literal["peers", "probes", "corpus"]
"""Labelled answers of other projects, our own cases around what failed, and the corpus of the tests."""


@dataclass(frozen=True)
class Judged:
    """How one verifier judged labelled answers."""

    agree: int = 0
    false_correct: int = 0
    false_wrong: int = 0
    """Right answers that got an observation other than `correct`."""
    failed: int = 0
    """Answers without an observation: the grader failed, or did not read the ground truth, unless the label says so."""


@dataclass(frozen=True)
class SourceCounts:
    """The labelled answers of one source, and how both verifiers judged them."""

    labelled: Labelled
    source: str
    decided: bool
    """Whether the label is wrong, or docs/grading.md decides otherwise."""
    answers: int
    right: int
    """Answers that only the verdict `correct` fits."""
    wrong: int
    """Answers that `correct` does not fit."""
    ours: Judged
    plain: Judged | None
    """The library as it is; None for answers that another verifier than `math-verify` judges."""


@dataclass(frozen=True)
class Measurement:
    """What was counted, with which version of the verifier."""

    rules: int
    version: str
    sources: tuple[SourceCounts, ...]

    def total(self, labelled: Labelled, *, decided: bool | None = None) -> SourceCounts:
        """The sum over the sources of a kind; `decided` leaves out the others."""
        return add_up(
            [each for each in self.sources if each.labelled == labelled and decided in (None, each.decided)], labelled
        )

    def write(self, file: Path = FILE) -> None:
        """Write the file, with a line for each source."""
        sources = ",\n".join(json.dumps(asdict(each)) for each in self.sources)
        text = f'{{"rules": {self.rules}, "version": {json.dumps(self.version)}, "sources": [\n{sources}\n]}}\n'
        file.write_text(text, encoding="utf-8")


def read_measurement(file: Path = FILE) -> Measurement:
    """What the benchmark last wrote."""
    read = json.loads(file.read_text(encoding="utf-8"))
    return Measurement(read["rules"], read["version"], tuple(_read_source(each) for each in read["sources"]))


def describe_error(verifier: str, version: str) -> str | None:
    """How often a grader is wrong, in a line; None for other verifiers."""
    if verifier != MEASURED:
        return None
    measured = _read_packaged()
    if version.rpartition("rules ")[2] != str(measured.rules):
        return f"not measured for this version, only for rules {measured.rules}"
    counts = measured.total("peers", decided=False)
    return (
        f"false correct {counts.ours.false_correct:,} of {counts.wrong:,}, false wrong {counts.ours.false_wrong:,} of"
        f" {counts.right:,} on labelled answers (rules {measured.rules}"
        + (")" if version == measured.version else f", measured as {measured.version})")
    )


def add_up(counts: Sequence[SourceCounts], labelled: Labelled, source: str = "") -> SourceCounts:
    """The sum of counts; of the library's, over those that it judged."""
    plain = [each.plain for each in counts if each.plain is not None]
    return SourceCounts(
        labelled=labelled,
        source=source,
        decided=any(each.decided for each in counts),
        answers=sum(each.answers for each in counts),
        right=sum(each.right for each in counts),
        wrong=sum(each.wrong for each in counts),
        ours=_add_judged([each.ours for each in counts]),
        plain=_add_judged(plain) if plain else None,
    )


def _add_judged(judged: Sequence[Judged]) -> Judged:
    return Judged(*(sum(numbers) for numbers in zip(*(vars(each).values() for each in judged), strict=True)))


def _read_source(read: dict[str, Any]) -> SourceCounts:
    plain = read["plain"]
    judged = {"ours": Judged(**read["ours"]), "plain": None if plain is None else Judged(**plain)}
    return SourceCounts(**{**read, **judged})


_read_packaged = lru_cache(maxsize=1)(read_measurement)
