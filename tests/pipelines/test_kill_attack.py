"""Runs that are killed again and again at random moments lose nothing, double nothing and end as if undisturbed."""

import random
from pathlib import Path
from typing import Any

import pytest

from support import scripted
from support.attack import Scenario, Step, Twin, attack, make_twin

OWN = "$DATA/own.py:compute_score"
FUNCTION = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return 1.0 if f"boxed{{{ground_truth}}}" in solution_str else 0.25 * ("boxed" in solution_str)
"""


def estimate(*words: str, n: int = 4, verifier: str = "exact", tokens: int = 64, **named: Any) -> Step:
    base = ("estimate", "--model", scripted.MODEL, "--dataset", "$DATA/sums.jsonl", "--out", "$RUN")
    options = ("--n", str(n), "--verifier", verifier, "--max-tokens", str(tokens), "--grader-workers", "1")
    return Step((*base, *options, *words), **named)


def regrade(*words: str) -> Step:
    return Step(("regrade", "$RUN", "--grader-workers", "1", *words))


def with_tools(code: str, status: int = 0, **job: Any) -> Step:
    words = ("--tools", "python", "--limit", "4")
    return estimate(*words, n=2, tokens=400, job={"engine": {"code": code}, **job}, status=status)


SCENARIOS = [
    Scenario("plain", (estimate(n=5),)),
    Scenario("n raised", (estimate(n=2, may_stay_killed=True), estimate(n=5))),
    Scenario("limit raised", (estimate("--limit", "2", may_stay_killed=True), estimate())),
    Scenario("regraded there and back", (estimate(), regrade("--verifier", "dapo"), regrade("--verifier", "exact"))),
    Scenario("also", (estimate("--also", "dapo"),)),
    Scenario("also added later", (estimate(), estimate("--also", "dapo"), estimate("--also", "dapo", n=5))),
    Scenario("tools", (with_tools("print(6 * 7, SEED)"),)),
    Scenario(
        "truncated responses graded",
        (
            estimate(),
            regrade("--truncated", "grade", "--verifier", "dapo"),
            estimate("--truncated", "grade", verifier="dapo", n=5),
        ),
    ),
    Scenario("log-probs", (estimate("--logprobs", n=3, may_stay_killed=True), estimate("--logprobs", n=5))),
    Scenario(
        "failures of the engine",
        (estimate(job={"engine": {"fail_every": 3}}, status=1, may_stay_killed=True), estimate()),
    ),
    Scenario("failures of the grader", (estimate(job={"grader_fails": 3}, status=1, may_stay_killed=True), estimate())),
    Scenario(
        "failures of the interpreter",
        (
            with_tools("print(SEED)", status=1, interpreter={"fail_every": 7}),
            with_tools("print(SEED)", interpreter={"fail_every": 0}),
        ),
    ),
    Scenario(
        "a reward function",
        (
            estimate("--also", "exact", verifier=OWN),
            regrade("--verifier", "exact", "--also", OWN),
            regrade("--verifier", OWN),
        ),
    ),
]
KILLS = {0: 30, 1: 100, 2: 100, 3: 100}
"""By seed, over all scenarios; the first are for `make test`, the others for `make test-long`."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    scripted.write_rows(folder / "sums.jsonl", 6)
    (folder / "own.py").write_text(FUNCTION)
    return folder


@pytest.fixture(scope="module")
def twins() -> dict[str, Twin]:
    """Those made so far, by the scenario's name."""
    return {}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))
@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.long if seed else pytest.mark.slow) for seed in KILLS]
)
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(
    scenario: Scenario, seed: int, data: Path, twins: dict[str, Twin], tmp_path: Path
) -> None:
    if scenario.name not in twins:
        twins[scenario.name] = make_twin(scenario, data, tmp_path / "twin")
    share, more = divmod(KILLS[seed], len(SCENARIOS))
    wanted = share + (SCENARIOS.index(scenario) < more)
    tally = attack(twins[scenario.name], tmp_path / "attacked", wanted, random.Random(f"{scenario.name} {seed}"))
    assert tally.kills.total() == wanted
