"""`dapo` against verl's own file, so that values use the same reward as training."""

import importlib.metadata
import importlib.util
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spo_data.grading.verdict import Verdict
from spo_data.grading.verifiers.dapo import DapoVerifier

PATH = "verl/utils/reward_score/math_dapo.py"
GOLDS = ("42", "-7", "", " ", r"\frac{1}{2}", r"\{1,2\}", r"x^{2}", "yes", "Monday, June 3", "π", "{", "}", "42 ")
PIECES = (
    *(r"\boxed{", r"\boxed{", r"\boxed{", r"\boxed {", r"\\boxed{", r"\fbox{", "boxed{", r"\boxed", "\\"),
    *("{", "}", "}", "}", r"\{", r"\}", " ", "\n", "<think>", "</think>", "<answer>", "</answer>", "Answer: "),
    *("42", "43", "4", "2", "π", "٤٢", "\u200b", "\x00", "\ud800", "\U0001f600", r"\frac{1}{2}", "and "),
)


@lru_cache(maxsize=1)
def _verl() -> Any:
    """Load verl's file by itself, because importing the package takes many seconds."""
    try:
        distribution = importlib.metadata.distribution("verl")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("verl is not installed")
    path = Path(str(distribution.locate_file(PATH)))
    if not path.exists():  # an editable installation
        package = importlib.util.find_spec("verl")
        assert package is not None
        assert package.submodule_search_locations is not None
        path = Path(next(iter(package.submodule_search_locations))).parent / PATH
    spec = importlib.util.spec_from_file_location("verl_math_dapo", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _agree(response: str, gold: str) -> Verdict:
    theirs = _verl().compute_score(response, gold, strict_box_verify=True)
    ours = DapoVerifier().grade(response, gold)
    expected = {1.0: {Verdict.CORRECT}, -1.0: {Verdict.WRONG, Verdict.NO_ANSWER}}[theirs["score"]]
    assert ours.verdict in expected, (response, gold, theirs, ours)
    assert ours.answer == theirs["pred"], (response, gold)
    assert (ours.verdict is Verdict.NO_ANSWER) == (theirs["pred"] is None), (response, gold)
    assert ours.score == max(theirs["score"], 0.0)
    return ours.verdict


def _near(gold: str, chance: random.Random) -> str:
    """The gold, or text close to it."""
    return chance.choice(
        (gold, gold, gold, f" {gold}", f"{gold} ", f"{gold}.", gold[:-1], f"{{{gold}}}", f"${gold}$", gold.upper())
    )


def _tail(chance: random.Random, length: int) -> str:
    """Text after the box, often long enough to put the box near verl's border of 100 or 300 characters."""
    border = chance.choice((0, 0, 1, 5, 100, 300))
    size = max(0, border + chance.randint(-length - 12, 12)) if border > 5 else border
    return "".join(chance.choice(("x", " ", "é", "\n")) for _ in range(size))


def _response(gold: str, chance: random.Random) -> str:
    noise = "".join(chance.choice(PIECES) for _ in range(chance.randint(0, 12)))
    if chance.random() < 0.2:
        return noise
    box = rf"\boxed{{{_near(gold, chance)}}}"
    if chance.random() < 0.15:
        box = rf"<think>{box}" + chance.choice(("", "</think>"))
    if chance.random() < 0.1:
        box = rf"\boxed{{{box}}}"
    if chance.random() < 0.1:
        box = box[:-1]
    if chance.random() < 0.2:
        box += chance.choice((" and ", ", ", "")) + rf"\boxed{{{_near(gold, chance)}}}"
    return noise + box + _tail(chance, len(box)) + chance.choice(("", "", "", "}", "{", r"\boxed{"))


def test_three_thousand_responses_are_judged_as_verl_judges_them() -> None:
    chance = random.Random(20240607)
    counts = dict.fromkeys((Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER), 0)
    for _ in range(3000):
        gold = chance.choice(GOLDS)
        counts[_agree(_response(gold, chance), gold)] += 1
    assert min(counts.values()) > 300, counts


@pytest.mark.parametrize("size", range(80, 110))
def test_the_border_of_a_hundred_characters_is_verls(size: int) -> None:
    verdict = _agree(r"\boxed{42}" + "x" * size, "42")
    assert verdict is (Verdict.CORRECT if size <= 90 else Verdict.NO_ANSWER)


@pytest.mark.parametrize("size", [280, 289, 290, 291, 299, 300, 301, 1000])
def test_a_box_of_long_ago_is_no_answer_for_either(size: int) -> None:
    assert _agree(r"\boxed{42}" + "x" * size, "42") is Verdict.NO_ANSWER


@settings(max_examples=300)  # three thousand fixed responses are judged above
@given(
    response=st.one_of(
        st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=40).map("".join),
        st.text(max_size=400),
    ),
    gold=st.sampled_from(GOLDS) | st.text(max_size=6),
)
def test_any_response_is_judged_as_verl_judges_it(response: str, gold: str) -> None:
    _agree(response, gold)


@settings(max_examples=300)
@given(gold=st.sampled_from(GOLDS) | st.text(max_size=20), before=st.text(max_size=20), after=st.text(max_size=120))
def test_a_boxed_gold_is_judged_as_verl_judges_it(gold: str, before: str, after: str) -> None:
    _agree(f"{before}\\boxed{{{gold}}}{after}", gold)
