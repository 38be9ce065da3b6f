r"""How often the grader is wrong on answers whose verdict is known, compared with plain math-verify.

    python benchmarks/grading_accuracy.py                   # prints the tables of docs/grading.md
    python benchmarks/grading_accuracy.py --disagreements   # and every answer that is judged otherwise than labelled
    python benchmarks/grading_accuracy.py --write           # writes the tables into docs/grading.md, and the counts
                                                            # into spo_data/grading/measured_error.json

Three kinds of labelled answers are judged, each with its verifier and with the library as it is:

* `peers.jsonl`: test cases and labelled model answers of other projects. If the label is wrong, or docs/grading.md
  decides otherwise, the answer has a note, and is counted apart.
* `probes.jsonl`: our own cases around what failed, each with all acceptable verdicts.
* the corpus of the tests, `tests/support/grading_corpus*.py`.

The two files are not in the repository (other people's data): they are read from `../shared/grading`, beside it. If
they are not there, `--write` keeps what was counted of them with the same rules.
"""

import argparse
import asyncio
import importlib
import json
import math
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from spo_data.grading.measured_error import (
    FILE,
    MEASURED,
    Judged,
    Labelled,
    Measurement,
    SourceCounts,
    add_up,
    read_measurement,
)
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.verifiers.registry import PLAIN, RULES, verifier_version
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "grading"
PAGE = ROOT / "docs" / "grading.md"
BEGIN, END = "<!-- benchmarks/grading_accuracy.py --write -->", "<!-- end -->"
SECONDS = 30.0
"""The time limit of one job: generous, because a verdict must not depend on what else the machine does."""
NOT_CORRECT = frozenset({Verdict.WRONG, Verdict.NO_ANSWER})
"""What a label that is only right or wrong accepts for a wrong answer."""
TITLES: dict[Labelled, str] = {
    "peers": "labelled by others",
    "probes": "our cases around what failed",
    "corpus": "the tests' corpus",
}


@dataclass(frozen=True)
class LabelledAnswer:
    """A response, and the verdicts that it may get."""

    labelled: Labelled
    source: str
    gold: str
    response: str
    want: frozenset[Verdict]
    verifier: str = MEASURED
    decided: bool = False


def main() -> int:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelled", type=Path, default=SHARED, help="folder of peers.jsonl and probes.jsonl")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--disagreements", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    cases, missing = read_cases(arguments.labelled)
    for name in missing:
        print(f"note: {arguments.labelled / f'{name}.jsonl'} is not there, so it is not measured", file=sys.stderr)
    before = read_measurement() if FILE.is_file() else None
    if arguments.write and missing and (before is None or before.rules != RULES):
        print(
            f"error: {' and '.join(missing)} were not measured with rules {RULES}: nothing is written", file=sys.stderr
        )
        return 2
    pairs = asyncio.run(judge(cases, arguments.workers))
    measured = count(cases, pairs)
    if arguments.disagreements:
        print_disagreements(cases, pairs)
    if arguments.write:
        kept = [each for each in before.sources if each.labelled in missing] if before else []
        measured = replace(measured, sources=(*kept, *measured.sources))
        measured.write()
        PAGE.write_text(put_between_marks(PAGE.read_text(encoding="utf-8"), make_tables(measured)), encoding="utf-8")
    print(make_tables(measured))
    return 0


def read_cases(folder: Path = SHARED) -> tuple[list[LabelledAnswer], list[Labelled]]:
    """Return all labelled answers, and which of the two files are not in the folder."""
    cases: list[LabelledAnswer] = []
    missing: list[Labelled] = []
    for name in ("peers", "probes"):
        if not (file := folder / f"{name}.jsonl").is_file():
            missing.append(name)
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            want, repository = row["want"], row["source"].partition(":")[0]
            binary = frozenset({Verdict.CORRECT}) if want == "correct" else NOT_CORRECT
            cases.append(
                LabelledAnswer(
                    labelled=name,
                    source=repository if name == "peers" else row["verifier"],
                    gold=row["gold"],
                    response=row["response"],
                    want=binary if isinstance(want, str) else frozenset(map(Verdict, want)),
                    verifier=row.get("verifier", MEASURED),
                    decided="note" in row,
                )
            )
    return [*cases, *_read_corpus()], missing


def _read_corpus() -> Iterable[LabelledAnswer]:
    tests = ROOT / "tests"
    sys.path.insert(0, str(tests))
    found = {
        (case.verifier, case.gold, case.response): case.verdict
        for file in sorted((tests / "support").glob("grading_corpus*.py"))
        for case in importlib.import_module(f"support.{file.stem}").CASES
    }
    return (
        LabelledAnswer("corpus", verifier, gold, response, frozenset({verdict}), verifier)
        for (verifier, gold, response), verdict in found.items()
    )


async def judge(cases: Sequence[LabelledAnswer], workers: int) -> list[tuple[Grade, Grade | None]]:
    """Return both verdicts on each answer; None for the library's if another verifier than `math-verify` judges it."""
    verifiers = dict.fromkeys((MEASURED, PLAIN, *(case.verifier for case in cases)))
    async with GraderPool(*verifiers, workers=workers, seconds=SECONDS) as pool:

        async def grade(case: LabelledAnswer) -> tuple[Grade, Grade | None]:
            ours = await pool.grade(GradeJob(case.response, case.gold, verifier=case.verifier))
            if case.verifier != MEASURED:
                return ours, None
            return ours, await pool.grade(GradeJob(case.response, case.gold, verifier=PLAIN))

        return await asyncio.gather(*map(grade, cases))


def count(cases: Sequence[LabelledAnswer], pairs: Sequence[tuple[Grade, Grade | None]]) -> Measurement:
    """Count the verdicts by source."""
    grouped: dict[tuple[Labelled, str, bool], list[SourceCounts]] = defaultdict(list)
    for case, (ours, plain) in zip(cases, pairs, strict=True):
        one = SourceCounts(
            labelled=case.labelled,
            source=case.source,
            decided=case.decided,
            answers=1,
            right=case.want == {Verdict.CORRECT},
            wrong=Verdict.CORRECT not in case.want,
            ours=_compare(ours.verdict, case.want),
            plain=None if plain is None else _compare(*_as_library(plain.verdict, case.want)),
        )
        grouped[case.labelled, case.source, case.decided].append(one)
    order = {labelled: place for place, labelled in enumerate(get_args(Labelled))}
    sources = [
        add_up(counts, labelled, source)
        for (labelled, source, _), counts in sorted(grouped.items(), key=lambda item: (order[item[0][0]], *item[0][1:]))
    ]
    return Measurement(RULES, verifier_version(MEASURED), tuple(sources))


def _compare(verdict: Verdict, want: frozenset[Verdict]) -> Judged:
    agrees = verdict in want
    return Judged(
        agree=int(agrees),
        false_correct=int(verdict is Verdict.CORRECT and not agrees),
        false_wrong=int(verdict in NOT_CORRECT and want == {Verdict.CORRECT}),
        failed=int(not verdict.is_observation and not agrees),
    )


def _as_library(verdict: Verdict, want: frozenset[Verdict]) -> tuple[Verdict, frozenset[Verdict]]:
    """The library says only whether a response is right: what it cannot read is wrong."""
    said = Verdict.WRONG if verdict in (Verdict.NO_ANSWER, Verdict.GOLD_UNPARSEABLE) else verdict
    return said, frozenset(each if each is Verdict.CORRECT else Verdict.WRONG for each in want)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson's score interval)."""
    if not trials:
        return 0.0, 1.0
    z = 1.959964
    share, spread = successes / trials, z * z / trials
    half = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, (share + spread / 2 - half) / (1 + spread)), min(1.0, (share + spread / 2 + half) / (1 + spread))


def make_tables(measured: Measurement) -> str:
    """The Markdown of docs/grading.md."""
    peers = [each for each in measured.sources if each.labelled == "peers"]
    decided = [each for each in peers if each.decided]
    totals = {
        f"{TITLES['peers']}, without documented decisions": [each for each in peers if not each.decided],
        f"{TITLES['peers']}, with them": peers if decided else [],
    }
    for labelled in ("probes", "corpus"):
        every = [each for each in measured.sources if each.labelled == labelled]
        totals[TITLES[labelled]] = [each for each in every if each.plain is not None]
        totals[f"{TITLES[labelled]}, other verifiers"] = [each for each in every if each.plain is None]
    names = ("answers", "ours agrees", "library agrees", "false correct", "library's", "false wrong", "library's")
    rows = [_make_row(name, add_up(each, each[0].labelled), _show_interval) for name, each in totals.items() if each]
    parts = [f"Measured as {measured.version}.", _make_table(("labelled answers", *names, "not graded"), rows)]
    if peers:
        rows = [_make_row(each.source, each, lambda _errors, _trials: "") for each in peers if not each.decided]
        parts += [
            f"By source of the answers {TITLES['peers']}, without documented decisions:",
            _make_table(("source", *names, "not graded"), rows),
        ]
    return "\n\n".join(parts)


def _make_row(name: str, counts: SourceCounts, show: Callable[[int, int], str]) -> tuple[str, ...]:
    """One row; `show` gives the interval of an error."""
    shown: list[tuple[str, ...]] = []
    for judged in (counts.ours, counts.plain):
        if judged is None:  # the library was not asked
            shown.append(("", "", ""))
            continue
        share = f"{judged.agree / counts.answers:.1%}".replace("%", " %")
        errors = ((judged.false_correct, counts.wrong), (judged.false_wrong, counts.right))
        shown.append(
            (
                share + _show_interval(judged.agree, counts.answers),
                *(f"{count:,} of {among:,}{show(count, among)}" for count, among in errors),
            )
        )
    pairs = zip(*shown, strict=True)
    return (name, f"{counts.answers:,}", *(cell for pair in pairs for cell in pair), f"{counts.ours.failed:,}")


def _show_interval(successes: int, trials: int) -> str:
    low, high = wilson(successes, trials)
    return f" ({100 * low:.1f} to {100 * high:.1f})"


def _make_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def put_between_marks(page: str, tables: str) -> str:
    """The page with these tables in place of the earlier ones."""
    replaced, times = re.subn(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n\n{tables}\n\n{END}", page, flags=re.DOTALL
    )
    assert times == 1, f"the page must have {BEGIN} … {END} once"
    return replaced


def print_disagreements(cases: Sequence[LabelledAnswer], pairs: Sequence[tuple[Grade, Grade | None]]) -> None:
    """Print every answer that ours judges otherwise than it is labelled."""
    for case, (ours, plain) in zip(cases, pairs, strict=True):
        if ours.verdict not in case.want:
            mark = " (decided)" if case.decided else ""
            print(
                f"{case.labelled} {case.source}{mark}: {ours.verdict}, not {' or '.join(sorted(case.want))}"
                f" (library: {plain.verdict if plain else 'not asked'}): gold {case.gold!r}, response {case.response!r}"
            )


if __name__ == "__main__":
    sys.exit(main())
