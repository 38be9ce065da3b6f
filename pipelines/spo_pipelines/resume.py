"""Whether a plan may go on with the run that is there: same policy, same grader, same prompts, or a refusal.

    old, done = admitted(plan)      # its manifest and the samples it has; UserError with the right commands otherwise

A refusal names what differs, with both values, and prints the commands that would be right.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from spo_data.errors import UserError
from spo_data.provenance import GraderRecord, grader_differs
from spo_data.run.journal import Journal, open_journal
from spo_data.run.manifest import JOURNAL, Manifest, policy_differences, read_manifest
from spo_data.text import excerpt
from spo_pipelines.command_line import with_option
from spo_pipelines.sampling_plan import SamplingPlan


def admitted(plan: SamplingPlan) -> tuple[Manifest | None, dict[str, set[int]]]:
    """The manifest and the samples that the run folder has; raises UserError where they are not this plan's."""
    out = plan.options.out
    old = read_manifest(out)
    if old is None:
        return None, {}
    done, difference = _journaled(out, plan, old)
    if not done:
        return None, {}  # no response came to an end yet, so there is nothing to mix
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
    return old, done


def _journaled(out: Path, plan: SamplingPlan, old: Manifest) -> tuple[dict[str, set[int]], str | None]:
    """The samples that the run has by prompt id, and how its prompts differ from the plan's."""
    if not (out / JOURNAL).is_file():
        return {}, None
    with open_journal(out / JOURNAL, old.grader) as journal:
        done = journal.done()
        return done, _dataset_difference(journal, done, plan)


def trusted(out: Path, grader: GraderRecord) -> frozenset[tuple[str, str]]:
    """(prompt id, ground truth) of the run's prompts, whose ground truths this grader checked when they came in.

    Checking them again could drop one that only timed out this time, and make the dataset look like another.
    """
    old = read_manifest(out)
    if old is None or grader_differs(old.grader, grader) or not (out / JOURNAL).is_file():
        return frozenset()
    with open_journal(out / JOURNAL, old.grader) as journal:
        return frozenset((prompt.prompt_id, prompt.ground_truth) for prompt in journal.prompts())


def _dataset_difference(journal: Journal, done: Mapping[str, set[int]], plan: SamplingPlan) -> str | None:
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
