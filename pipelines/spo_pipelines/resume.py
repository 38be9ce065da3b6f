"""Whether a plan may continue the run that its folder holds: same policy, same grader, same prompts, or a refusal.

    resumption = resume(plan, find_run(out))        # UserError, with the right commands, for a run of something else
    resumption.manifest, resumption.done

A refusal names what differs, with both values, and prints the commands that would be right.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from spo_data.errors import UserError
from spo_data.provenance import GraderRecord, grader_differs
from spo_data.run.existing import ExistingRun
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest, policy_differences
from spo_data.text import excerpt
from spo_pipelines.command_line import with_option
from spo_pipelines.sampling_plan import SamplingPlan


@dataclass(frozen=True)
class Resumption:
    """What a call continues; nothing of it for a new run."""

    manifest: Manifest | None = None
    done: Mapping[str, set[int]] = field(default_factory=dict)
    """The sample indices that each prompt id has."""

    @property
    def present(self) -> int:
        """How many samples the run has."""
        return sum(map(len, self.done.values()))


def resume(plan: SamplingPlan, run: ExistingRun | None) -> Resumption:
    """What the plan continues of the run in its folder; raises UserError if the run is not this plan's."""
    if run is None or not run.has_journal:
        return Resumption()
    out, old = run.folder, run.manifest
    with run.open_journal() as journal:
        done = journal.done()
        difference = _compare_dataset(journal, done, plan)
    if not done:
        return Resumption()  # no response came to an end yet, so there is nothing to mix
    differences = policy_differences(old, plan.manifest)
    if differences:
        named = ", ".join(f"{name} {before!r} (now {after!r})" for name, (before, after) in differences.items())
        regrade = (
            f"\n  to grade that run anew:  {_regrade_command(plan)}" if differences.keys() <= _GRADER_FIELDS else ""
        )
        raise UserError(f"{out} was made with {named}\n{_right_commands(plan, old)}{regrade}")
    drawn = 1 + max(max(indices) for indices in done.values())
    if plan.manifest.n < drawn:
        raise UserError(
            f"{out} has n = {drawn}: --n {plan.manifest.n} would not take samples away\n{_right_commands(plan, old)}"
        )
    if difference:
        raise UserError(f"{out} was made from another dataset: {difference}\n{_right_commands(plan, old)}")
    return Resumption(old, done)


def find_checked_golds(run: ExistingRun | None, grader: GraderRecord) -> frozenset[tuple[str, str]]:
    """(prompt id, ground truth) of the run's prompts, whose ground truths this grader checked when they came in.

    A second check could drop one that only timed out this time, and make the dataset look like another.
    """
    if run is None or grader_differs(run.manifest.grader, grader) or not run.has_journal:
        return frozenset()
    with run.open_journal() as journal:
        return frozenset((prompt.prompt_id, prompt.ground_truth) for prompt in journal.prompts())


def _compare_dataset(journal: Journal, done: Mapping[str, set[int]], plan: SamplingPlan) -> str | None:
    """What the sampled prompts have and the dataset lacks or contradicts; more prompts are no difference."""
    now = {prompt.prompt_id: prompt for prompt in plan.prompt_set.prompts}
    before = {prompt.prompt_id: prompt for prompt in journal.prompts() if prompt.prompt_id in done}
    gone = [prompt for prompt_id, prompt in before.items() if prompt_id not in now]
    if gone:
        return (
            f"{len(gone)} of its {len(before)} prompts are not in it, such as {gone[0].prompt_id}"
            f" ({excerpt(gone[0].text, 60)!r})"
        )
    for prompt_id, prompt in before.items():
        if prompt.ground_truth != now[prompt_id].ground_truth:
            return f"ground_truth of {prompt_id} was {prompt.ground_truth!r}, now {now[prompt_id].ground_truth!r}"
    return None


def _right_commands(plan: SamplingPlan, old: Manifest) -> str:
    out = plan.options.out
    other = next(path for number in range(2, 10_000) if not (path := out.with_name(f"{out.name}-{number}")).exists())
    words = with_option(plan.options.command, "--out", str(other))
    return f"  to continue that run:   {old.command}\n  to start another:       {shlex.join(words)}"


_GRADER_FIELDS = {"verifier", "version"}


def _regrade_command(plan: SamplingPlan) -> str:
    return shlex.join(["spo-data", "regrade", str(plan.options.out), "--verifier", plan.manifest.grader.verifier])
