"""Which commands a refused run prints, and which ground truths of an existing run need no second check."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spo_data.errors import UserError
from spo_data.grading.verifiers.registry import verifier_version
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import GraderRecord
from spo_data.run.existing import read_run
from spo_pipelines.resume import find_checked_golds, find_resume_point
from support.records import GRADER, make_manifest

DRAWN = [(Prompt((Message("user", "1 + 1?"),), "2", "sums"), [1.0])]
N = 1


def test_ground_truths_that_this_grader_checked_are_trusted(run: Path) -> None:
    ((prompt, _),) = DRAWN
    assert find_checked_golds(read_run(run), GRADER) == {(prompt.prompt_id, "2")}


def test_ground_truths_that_another_version_checked_are_checked_again(run: Path) -> None:
    """A new version may not read a ground truth that the earlier one did."""
    assert find_checked_golds(read_run(run), GRADER.model_copy(update={"version": "rules 2"})) == frozenset()
    assert find_checked_golds(None, GRADER) == frozenset()


OWN = "spo-data estimate --own"


def refuse(run: Path, before: GraderRecord, policy: dict[str, Any] | None = None, verifier: str = "exact") -> list[str]:
    """The lines after the first of the refusal to continue a run by this grader."""
    ((prompt, _),) = DRAWN
    now = GraderRecord(verifier=verifier, version=verifier_version(verifier))
    plan: Any = SimpleNamespace(
        options=SimpleNamespace(out=run, command=("spo-data", "estimate", "--out", str(run))),
        prompt_set=SimpleNamespace(prompts=[prompt]),
        manifest=make_manifest(policy=policy, grader=now, n=N),
    )
    existing = replace(read_run(run), manifest=make_manifest(grader=before, command=OWN, n=N))
    with pytest.raises(UserError) as refused:
        find_resume_point(plan, existing)
    return str(refused.value).splitlines()[1:]


CURRENT = GraderRecord(verifier="exact", version=verifier_version("exact"))


def test_the_runs_own_command_is_printed_if_it_would_be_accepted(run: Path) -> None:
    assert refuse(run, CURRENT, {"temperature": 0.5}) == [
        f"  to continue that run:   {OWN} --out {run}",
        f"  to start another:       spo-data estimate --out {run}-2",
    ]


def test_a_run_of_an_earlier_version_is_graded_again_before_it_continues(run: Path) -> None:
    """If another field differed too, the run's own command was printed alone, and refused for the version."""
    own = f"  to continue that run:   spo-data regrade {run} --verifier exact && {OWN} --out {run}"
    another = f"  to start another:       spo-data estimate --out {run}-2"
    again = f"  to grade that run again:  spo-data regrade {run} --verifier"
    assert refuse(run, GRADER, {"temperature": 0.5}) == [own, another]
    assert refuse(run, GRADER, verifier="dapo") == [own, another, f"{again} dapo"]
    assert refuse(run, GRADER, {"temperature": 0.5}, "dapo") == [own, another]
    assert refuse(run, GRADER) == [another, f"{again} exact"]


def test_a_verifier_that_is_gone_is_named_instead_of_the_runs_command(run: Path, tmp_path: Path) -> None:
    gone = GraderRecord(verifier=f"{tmp_path}/gone.py:compute_score", version="compute_score sha256 0")
    first, *rest = refuse(run, gone)
    assert first.startswith(f"  that run's command fails: --verifier {gone.verifier}: ")
    assert first.endswith("gone.py cannot be read: No such file or directory")
    assert rest[1] == f"  to grade that run again:  spo-data regrade {run} --verifier exact"
