r"""Ground truths that no answer can equal, by kind; and those that look alike and are answers."""

import json

import pytest

from spo_data.prompts.unanswerable import find_unanswerable

TESTS = [
    json.dumps({"inputs": ["1 2\n"], "outputs": ["3\n"]}),
    json.dumps({"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]}),
    json.dumps([{"input": "1", "output": "2", "type": "stdin"}]),
    json.dumps(["assert add(1, 2) == 3", "assert add(0, 0) == 0"]),
    "assert add(1, 2) == 3",
    "def check(candidate):\n    assert candidate(1) == 2",
    "import pytest\n\ndef test_add():\n    assert add(1, 2) == 3",
    str({"inputs": ["1"], "outputs": ["2"]}),
]
CONSTRAINTS = [
    json.dumps([{"instruction_id": ["length:number_words"], "kwargs": [{"num_words": 9}]}]),
    json.dumps({"func_name": "validate_paragraphs", "N": 3, "keyword_list": None}),
    json.dumps(["punctuation:no_comma", "length_constraints:number_words"]),
    "detectable_format:title",
]
PROGRAMS = [
    "def add(a, b):\n    return a + b",
    "```python\nprint(1)\n```",
    "#include <cstdio>\nint main() {}",
    "import sys\nprint(sys.argv)",
    json.dumps(["def add(a, b):\n    return a + b"]),
]
NOTHING = [
    *("N/A", "n/a", "null", "proof", "Proof.", "notfound", "not found", r"\text{See the solution.}", "see solution"),
    *(
        "See explanation below",
        "Refer to the figure.",
        "Answers may vary.",
        "No answer provided",
        "$\\text{N/A}$",
        "nan",
    ),
]
ANSWERS = [
    *(
        "42",
        "B",
        "x=1, y=2",
        "[1, 2]",
        "(0, 1]",
        r"\{1, 2\}",
        "{1, 2}",
        '["1", "2"]',
        '["5 cm"]',
        "None",
        "no solution",
    ),
    *(
        "none of the above",
        "NA",
        "undefined",
        "impossible",
        "import duties",
        "class A",
        "private key (RSA)",
        "proof by x",
    ),
    *(
        "assert dominance",
        "function f(x)=x",
        "return to sender",
        "see",
        "nullity 2",
        "f(x) = x^2",
        "{}",
        "[]",
        "SELECT",
    ),
    *(
        "The proof is in the pudding",
        "10:30",
        "a:b",
        "x:y:z",
        "unknown",
        "{1: 2",
        "[[1, 0], [0, 1]]",
        '["def", "return"]',
    ),
]


@pytest.mark.parametrize("verifier", ["math-verify", "dapo", "exact", "choice"])
@pytest.mark.parametrize(
    ("reason", "golds"),
    [
        ("gold_is_tests", TESTS),
        ("gold_is_constraints", CONSTRAINTS),
        ("gold_is_code", PROGRAMS),
        ("gold_is_no_answer", NOTHING),
    ],
)
def test_what_no_answer_equals_is_named_by_kind(reason: str, golds: list[str], verifier: str) -> None:
    """They verified against themselves as text, and every response to them was wrong."""
    found = {gold: find_unanswerable(gold, verifier) for gold in golds}
    assert {gold: each and each.reason for gold, each in found.items()} == dict.fromkeys(golds, reason)


def test_an_answer_is_never_taken_for_something_else() -> None:
    assert [gold for gold in ANSWERS if find_unanswerable(gold, "math-verify") is not None] == []


@pytest.mark.parametrize("verifier", ["reasoning-gym", "rewards/code.py:compute_score"])
def test_a_verifier_with_its_own_reading_gets_any_ground_truth(verifier: str) -> None:
    assert [gold for gold in (*TESTS, *CONSTRAINTS, *PROGRAMS, *NOTHING) if find_unanswerable(gold, verifier)] == []


def test_a_json_object_is_an_answer_only_to_equal_text() -> None:
    reasons = {name: find_unanswerable('{"target": 24}', name) for name in ("math-verify", "dapo", "choice", "exact")}
    assert {name: found and found.reason for name, found in reasons.items()} == {
        **dict.fromkeys(("math-verify", "dapo", "choice"), "gold_is_json"),
        "exact": None,
    }


def test_several_ground_truths_are_alternatives_to_math_verify_alone() -> None:
    reasons = {name: find_unanswerable('["2", "3"]', name) for name in ("math-verify", "dapo", "choice", "exact")}
    assert {name: found and found.reason for name, found in reasons.items()} == {
        "math-verify": None,
        **dict.fromkeys(("dapo", "choice", "exact"), "several_ground_truths"),
    }
