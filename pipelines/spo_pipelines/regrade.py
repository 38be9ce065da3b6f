"""Grades a run's stored responses again, without sampling.

    outcome = asyncio.run(regrade(RegradeOptions(Path("runs/demo"), GraderOptions(verifier="dapo")), watcher))
    outcome.confusion[Verdict.CORRECT, Verdict.WRONG]

The journal keeps the verdicts of every grader; the manifest says which grader is current. The manifest is replaced when
the last response is graded, and then the tables. A call that ends earlier changes nothing that anybody reads, and the
same call continues from there. Going back to an earlier grader takes no grading.
"""

import shlex
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from spo_data.command_line import set_option
from spo_data.errors import SpoError, UserError, reason
from spo_data.files import folder_lock
from spo_data.grading.verdict import Grade, Verdict
from spo_data.options import GraderOptions
from spo_data.prompts.identity import Prompt
from spo_data.provenance import GraderRecord, grader_differs
from spo_data.run.existing import read_run
from spo_data.run.journal import Journal
from spo_data.run.manifest import JOURNAL, Manifest, new_run_id, package_versions
from spo_data.run.summary import Summary
from spo_data.sqlite import sqlite_reason
from spo_data.text import excerpt
from spo_pipelines.graders import Graders, grade_stored, open_pool
from spo_pipelines.prompt_checks import check_golds
from spo_pipelines.prompt_source import resolve_grader
from spo_pipelines.results import write_manifest, write_results

CHANGES = 10
"""How many of the largest changes are listed."""
_WITHOUT_GRADING = (Verdict.TRUNCATED, Verdict.TOOL_ERROR)
"""Verdicts without grading, unless truncated responses are graded: no grader sees these responses."""
_ADVICE = (
    "nothing was switched: undo the change and run the same command to continue, or run it as it is to grade all"
    " responses with what is there now"
)
"""What to do if a verifier changed during the grading."""
_GRADING_PACKAGES = ("spo-data", "math-verify", "reasoning-gym")


@dataclass(frozen=True)
class RegradeOptions:
    """One regrading, as the user asked for it."""

    run: Path
    grader: GraderOptions = field(default_factory=GraderOptions)
    skip_check: bool = False
    """Trust the ground truths instead of checking them against themselves under the new verifier."""


@dataclass(frozen=True)
class ValueChange:
    """A prompt whose value changed; None if the prompt has, or had, no valid sample."""

    prompt_id: str
    before: float | None
    after: float | None
    ground_truth: str
    prompt: str


@dataclass(frozen=True)
class RegradeOutcome:
    """What a regrading changed."""

    before: GraderRecord
    after: GraderRecord
    graded: int
    """Responses that this call graded: not truncated, and without a verdict from this grader."""
    confusion: dict[tuple[Verdict, Verdict], int]
    """Samples by old and new verdict."""
    mean_before: float | None
    mean_after: float | None
    rose: int
    fell: int
    unchanged: int
    gained: int
    """Prompts that have a value only now."""
    lost: int
    """Prompts that had a value only before."""
    moves: list[ValueChange]
    """The prompts that gained or lost a value, then the largest changes."""
    unparseable: int
    """Prompts whose ground truth does not verify against itself under the new verifier."""
    summary: Summary

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "before": self.before.model_dump(),
            "after": self.after.model_dump(),
            "graded": self.graded,
            "confusion": [
                {"before": before, "after": after, "samples": count}
                for (before, after), count in self.confusion.items()
            ],
            "value_mean": {"before": self.mean_before, "after": self.mean_after},
            "prompts": {
                "rose": self.rose,
                "fell": self.fell,
                "unchanged": self.unchanged,
                "gained_a_value": self.gained,
                "lost_their_value": self.lost,
                "gold_unparseable": self.unparseable,
            },
            "moves": [vars(move) for move in self.moves],
            "summary": self.summary.as_dict(),
        }


async def regrade(
    options: RegradeOptions, listen: Callable[[str, int, int], None], say: Callable[[str], object] = str
) -> RegradeOutcome:
    """Grade a run's stored responses with another verifier, or with this version of the run's own.

    `listen` is called with the verifier, the number graded so far and the total, `say` with notes. Raises UserError if
    the folder is no run or no ground truth verifies under the new verifier, SpoError if the journal cannot be written.
    """
    run = options.run
    manifest = read_run(run).manifest
    truncated = options.grader.truncated or manifest.grader.truncated
    new = resolve_grader(options.grader.verifier or manifest.grader.verifier, truncated=truncated)
    if options.grader.also == new.verifier:
        raise UserError(f"--also {new.verifier}: that is already the verifier")
    also = options.grader.also or (manifest.also.verifier if manifest.also else None)
    second = None if also is None or also == new.verifier else resolve_grader(also, "--also", truncated)
    others = () if second is None else (second,)
    with folder_lock(run, "spo-data"):
        existing = read_run(run)  # again: another call may have ended since
        manifest = existing.manifest
        if mended := existing.mend_journal():
            command = shlex.join(_update_command(shlex.split(existing.mending_command), new, second))
            say(f"note: {mended}; to draw what is lost after this call: {command}")
        async with open_pool(options.grader, (new, *others), lambda: _ADVICE) as pool:
            graders = Graders(pool, new, others, bool(manifest.policy.opens_thinking))
            try:
                with Journal(run / JOURNAL, manifest.grader) as journal:
                    existing.check(journal)
                    counts = await _grade(journal, graders, options, listen)
                    return _switch(journal, manifest, new, second, counts, run)
            except sqlite3.Error as error:
                raise SpoError(f"{run / JOURNAL} cannot be written: {sqlite_reason(error, run)}") from error
            except OSError as error:
                raise SpoError(f"{error.filename or run} cannot be written: {reason(error)}") from error


async def _grade(
    journal: Journal,
    graders: Graders,
    options: RegradeOptions,
    listen: Callable[[str, int, int], None],
) -> tuple[int, int]:
    """Grade what is ungraded; returns how many responses were graded, and how many ground truths do not verify."""
    prompts = {prompt.prompt_id: prompt for prompt in journal.prompts()}
    bad: dict[str, Grade] = {}
    if not options.skip_check:
        bad = await _find_unverifiable(prompts, graders)
        if bad and len(bad) == len(prompts):
            first = next(iter(bad.values()))
            raise UserError(
                f"no ground truth of {options.run} verifies against itself under {graders.current.verifier}"
                f" ({first.detail}): nothing was changed; --skip-check trusts them"
            )
    graded = await grade_stored(
        journal, graders.current, prompts, graders, partial(listen, graders.current.verifier), bad_golds=bad
    )
    for other in graders.others:
        graded += await grade_stored(journal, other, prompts, graders, partial(listen, other.verifier))
    return graded, len(bad)


async def _find_unverifiable(prompts: Mapping[str, Prompt], graders: Graders) -> dict[str, Grade]:
    checks = await check_golds(prompts.values(), graders.pool)
    return {
        prompt_id: graded.as_gold_check(prompts[prompt_id].ground_truth)
        for prompt_id, graded in zip(prompts, checks, strict=True)
        if graded.verdict is not Verdict.CORRECT
    }


def _switch(
    old: Journal,
    manifest: Manifest,
    new: GraderRecord,
    second: GraderRecord | None,
    counts: tuple[int, int],
    run: Path,
) -> RegradeOutcome:
    """Make the new verdicts the current ones; returns what that changes."""
    before, after = (old.values(grader, manifest.n) for grader in (manifest.grader, new))
    confusion = old.confusion(new)
    if grader_differs(manifest.grader, new):
        _refuse_failed_grading(confusion, manifest.grader, new, run)
    packages = {name: version for name, version in package_versions().items() if name in _GRADING_PACKAGES}
    switched = manifest.model_copy(
        update={
            "grader": new,
            "also": second,
            "command": shlex.join(_update_command(shlex.split(manifest.command), new, second)),
            "packages": manifest.packages | packages,
            "run_id": manifest.run_id or new_run_id(),
        }
    )
    with Journal(run / JOURNAL, new) as journal:
        write_manifest(journal, switched, run)
        summary = write_results(journal, switched, run)
    differences = {prompt_id: after[prompt_id] - before[prompt_id] for prompt_id in before.keys() & after.keys()}
    ranked = sorted(differences, key=lambda prompt_id: (-abs(differences[prompt_id]), prompt_id))
    moved = [
        *sorted(before.keys() ^ after.keys()),
        *(prompt_id for prompt_id in ranked if differences[prompt_id]),
    ]
    texts = {prompt.prompt_id: prompt for prompt in old.prompts()}
    graded, unparseable = counts
    return RegradeOutcome(
        before=manifest.grader,
        after=new,
        graded=graded,
        confusion=confusion,
        mean_before=_compute_mean(before),
        mean_after=_compute_mean(after),
        rose=sum(difference > 0 for difference in differences.values()),
        fell=sum(difference < 0 for difference in differences.values()),
        unchanged=sum(difference == 0 for difference in differences.values()),
        gained=len(after.keys() - before.keys()),
        lost=len(before.keys() - after.keys()),
        moves=[
            ValueChange(
                prompt_id,
                before.get(prompt_id),
                after.get(prompt_id),
                texts[prompt_id].ground_truth,
                excerpt(texts[prompt_id].text),
            )
            for prompt_id in moved[:CHANGES]
        ],
        unparseable=unparseable,
        summary=summary,
    )


def _refuse_failed_grading(
    confusion: Mapping[tuple[Verdict, Verdict], int], before: GraderRecord, after: GraderRecord, run: Path
) -> None:
    """Raise SpoError if grading failed for most responses: values of the few others would be biased."""
    failed = Counter[str]()
    ungraded = (Verdict.TOOL_ERROR,) if after.truncated == "grade" else _WITHOUT_GRADING
    given = [(verdict, count) for (_, verdict), count in confusion.items() if verdict not in ungraded]
    for verdict, count in given:
        if not verdict.is_observation and verdict is not Verdict.GOLD_UNPARSEABLE:
            failed[verdict] += count
    graded = sum(count for _, count in given)
    if 2 * failed.total() > graded:
        said = ", ".join(f"{verdict} {count:,}" for verdict, count in failed.most_common())
        raise SpoError(
            f"{after.verifier} failed on {failed.total():,} of {graded:,} responses ({said}): {run} stays graded by"
            f" {before.verifier}; the same command tries them again"
        )


def _update_command(command: list[str], new: GraderRecord, second: GraderRecord | None) -> list[str]:
    """Return the run's command with the new verifiers, so that repeating it continues the run."""
    if not command:
        return command
    command = set_option(command, "--verifier", new.verifier)
    command = set_option(command, "--truncated", new.truncated if new.truncated == "grade" else None)
    return set_option(command, "--also", None if second is None else second.verifier)


def _compute_mean(values: Mapping[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None
