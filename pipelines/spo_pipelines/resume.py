"""Where a plan continues the run in its folder, which must have the same policy, grader and prompts.

    point = find_resume_point(plan, find_run(out))        # raises UserError if the run differs from the plan
    point.manifest, point.done

The error names what differs, with both values, and the commands that would be right. If the grader's version has
changed since, the run's own command would be refused too, until the run is graded again.
"""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from spo_data.command_line import set_option
from spo_data.errors import UserError
from spo_data.grading.verifiers.registry import reading, verifier_version
from spo_data.prompts.differences import Difference, find_differences
from spo_data.prompts.identity import Prompt
from spo_data.provenance import GraderRecord, grader_differs
from spo_data.run.existing import ExistingRun
from spo_data.run.journal import Journal
from spo_data.run.journal_checks import DamageError
from spo_data.run.journal_mend import Mended
from spo_data.run.losses import describe_lost_journal, has_lost_journal
from spo_data.run.manifest import Manifest, policy_differences
from spo_data.text import excerpt
from spo_pipelines.sampling_plan import EstimateOptions, SamplingPlan

_GRADER_FIELDS = {"verifier", "version", "truncated"}


@dataclass(frozen=True)
class ResumePoint:
    """What earlier calls left; empty for a new run."""

    manifest: Manifest | None = None
    done: Mapping[str, set[int]] = field(default_factory=dict)
    """The sample indices that each prompt id has."""

    @property
    def present(self) -> int:
        """How many samples the run already has."""
        return sum(map(len, self.done.values()))


def find_resume_point(plan: SamplingPlan, run: ExistingRun | None, *, locked: bool = False) -> ResumePoint:
    """Return what the plan continues of the run in its folder; raises UserError if the run differs from the plan.

    A caller that holds the folder's lock has called `mend_run` before, so what that has checked is not checked again.
    """
    refuse_lost_journal(plan.options, run)
    if run is None or not run.has_journal:
        return ResumePoint()
    out = run.folder
    old = run.manifest.model_copy(update={"command": run.manifest.command_for(out)})
    differences = policy_differences(old, plan.manifest)
    is_checked = locked and not differences
    with run.open_journal(check=not is_checked, locked=locked) as journal:
        if is_checked:
            run.check(journal)
        done = journal.done()
        difference = _compare_dataset(journal, old, done, plan)
    if not done:
        return ResumePoint()  # no response has ended yet, so nothing can be mixed
    if differences:
        named = ", ".join(f"{name} {before!r} (now {after!r})" for name, (before, after) in differences.items())
        raise UserError(f"{out} was made with {named}\n{_suggest_commands(plan, old, differences.keys())}")
    drawn = 1 + max(max(indices) for indices in done.values())
    if plan.manifest.n < drawn:
        raise UserError(
            f"{out} has n = {drawn}: --n {plan.manifest.n} cannot remove samples\n{_suggest_commands(plan, old)}"
        )
    if difference:
        commands = _suggest_commands(plan, _with_own_rows(old, plan.manifest))
        raise UserError(f"{out} was made from other rows: {difference}\n{commands}")
    return ResumePoint(old, done)


def refuse_lost_journal(options: EstimateOptions, run: ExistingRun | None) -> None:
    """Raise UserError if the folder holds what was sampled, but no journal: a call would replace it by its own."""
    if run is not None and has_lost_journal(run.folder, run.manifest):
        raise UserError(f"{describe_lost_journal(run.folder, run.manifest)}\n{_suggest_another(options)}")


def mend_run(plan: SamplingPlan, run: ExistingRun | None) -> Mended | None:
    """Replace a damaged journal by its sound rows, so that the plan draws the lost samples; None if none is damaged.

    The journal of another policy stays as it is. The caller holds the folder's lock.
    """
    if run is None or not run.has_journal or policy_differences(run.manifest, plan.manifest):
        return None
    return run.mend_journal(plan.prompt_set.prompts)


def find_checked_golds(run: ExistingRun | None, grader: GraderRecord) -> frozenset[tuple[str, str]]:
    """Return (prompt id, ground truth) of the run's prompts if this grader has checked them.

    A second check could time out and drop a prompt, and the dataset would then look like another one.
    """
    if run is None or grader_differs(run.manifest.grader, grader) or not run.has_journal:
        return frozenset()
    try:
        with run.open_journal(check=False) as journal:
            return frozenset((prompt.prompt_id, prompt.ground_truth) for prompt in journal.prompts())
    except DamageError:  # `mend_run` says so
        return frozenset()


def _compare_dataset(journal: Journal, old: Manifest, done: Mapping[str, set[int]], plan: SamplingPlan) -> str | None:
    """Return how the dataset differs from the sampled prompts, or None; additional prompts are no difference.

    All that a rendering or a verdict depends on is compared: of `extra_info` and `data_source`, what the run's
    verifiers read. A row without a `data_source` has the dataset's name, which may be another path of the same file.
    """
    now = {prompt.prompt_id: prompt for prompt in plan.prompt_set.prompts}
    before = {prompt.prompt_id: prompt for prompt in journal.prompts() if prompt.prompt_id in done}
    gone = [prompt for prompt_id, prompt in before.items() if prompt_id not in now]
    if gone:
        return (
            f"{len(gone)} of its {len(before)} prompts are not in it, such as {gone[0].prompt_id}"
            f" ({excerpt(gone[0].text, 60)!r})"
        )
    graders = (plan.manifest.grader, *filter(None, (plan.manifest.also,)))
    reads = reading(*(grader.verifier for grader in graders))
    found: dict[str, list[tuple[Prompt, Difference]]] = {}
    for prompt_id, prompt in before.items():
        if prompt.data_source == old.dataset.source:
            prompt = replace(prompt, data_source=plan.manifest.dataset.source)
        for difference in find_differences(prompt, now[prompt_id], reads):
            found.setdefault(difference.field, []).append((prompt, difference))
    return "; ".join(_describe(field, differing, len(before)) for field, differing in found.items()) or None


def _with_own_rows(old: Manifest, now: Manifest) -> Manifest:
    """Return the run's manifest with a command that reads the run's rows: at their commit, or from a file as it was."""
    own, command = old.dataset, old.command
    if own.revision is not None and own.revision != now.dataset.revision:
        command = shlex.join(set_option(shlex.split(command), "--revision", own.revision))
    elif command == now.command:
        command = f"{command}   # with {own.source} as it was"
    return old.model_copy(update={"command": command})


def _describe(field: str, differing: Sequence[tuple[Prompt, Difference]], n_prompts: int) -> str:
    prompt, (_, before, after) = differing[0]
    many = f"{field} differs for {len(differing):,} of its {n_prompts:,} prompts, such as"
    return f"{many} {prompt.prompt_id} ({excerpt(prompt.text, 60)!r}): was {before}, now {after}"


def _suggest_commands(plan: SamplingPlan, old: Manifest, differing: Collection[str] = ()) -> str:
    """Return the commands that would be right, one a line, if these fields differ."""
    out = plan.options.out
    lines = []
    try:
        is_current = old.grader.version == verifier_version(old.grader.verifier)
    except UserError as error:
        lines.append(f"  that run's command fails: {error}")
    else:
        if is_current:
            lines.append(f"  to continue that run:   {old.command}")
        elif set(differing) != {"version"}:  # else the last line is the same
            lines.append(f"  to continue that run:   {_regrade_command(out, old.grader, old)} && {old.command}")
    lines.append(_suggest_another(plan.options))
    if differing and set(differing) <= _GRADER_FIELDS:
        lines.append(f"  to grade that run again:  {_regrade_command(out, plan.manifest.grader, old)}")
    return "\n".join(lines)


def _suggest_another(options: EstimateOptions) -> str:
    out = options.out
    other = next(path for number in range(2, 10_000) if not (path := out.with_name(f"{out.name}-{number}")).exists())
    another = [word for word in set_option(options.command, "--out", str(other)) if word != "--dry-run"]
    return f"  to start another:       {shlex.join(another)}"


def _regrade_command(run: Path, grader: GraderRecord, old: Manifest) -> str:
    other = ["--truncated", grader.truncated] if grader.truncated != old.grader.truncated else []
    return shlex.join(["spo-data", "regrade", str(run), "--verifier", grader.verifier, *other])
