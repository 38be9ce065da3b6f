r"""Ground truths that no answer can equal: tests of code sets, constraints of instruction sets, code, "N/A".

    find_unanswerable('{"inputs": ["1 2"], "outputs": ["3"]}', "exact").reason      # "gold_is_tests"
    find_unanswerable("42", "exact")                                                 # None

They often verify against themselves as text, and every response would be wrong. Only a function of the dataset's own
kind can grade them, so they are looked for under the verifiers that compare an answer with a ground truth.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from spo_data.prompts.stored_json import read_stored

COMPARING = ("math-verify", "math-verify-plain", "dapo", "exact", "choice")
"""The verifiers that compare an answer with a ground truth; others may read a ground truth in their own way."""
_TEST_KEYS = {"inputs", "outputs", "input_output", "test_cases", "testcases", "fn_name", "functional", "assert_case"}
_CONSTRAINT_KEYS = {"func_name", "instruction_id", "instruction_id_list", "constraint", "constraints", "kwargs"}
_CODE = re.compile(
    r"```|\A\s*(?:#include\s*[<\"]|(?:async )?def \w+\s*\(|class \w+\s*[:({]|import [\w.]+(?: as \w+)?[ \t]*\n"
    r"|from [\w.]+ import \w|public (?:class|static) |static \w+ \w+\(|function \w*\s*\([^()]*\)\s*\{"
    r"|SELECT\b[\s\S]+\bFROM\b)|^[ \t]+return\b",
    re.MULTILINE,
)
_TESTS = re.compile(r"^[ \t]*assert\s[^\n]*(?:==|\(|\bis\b|\bin\b)|\bdef (?:test_\w+|check)\s*\(", re.MULTILINE)
_CONSTRAINT = re.compile(
    r"(?:keywords|language|length_constraints|detectable_(?:content|format)|combination|startend|change_case"
    r"|punctuation|paragraphs|first_word|last_word|copy|letters|count|ratio|words|sentence|format|custom):[a-z_]+"
)
_DRESSING = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}")
_NO_ANSWER = re.compile(
    r"n/a|n\.a|q\.?e\.?d|null|nan|proof|notfound|not found|tbd|todo|unanswered|omitted"
    r"|no answer(?: (?:is )?(?:provided|given|available|found))?|answer not (?:provided|given|available|found)"
    r"|not (?:provided|given|available|applicable)|(?:answers?|responses?) (?:may |will |can )?vary|various answers"
    r"|(?:the )?proof (?:is )?(?:given|below|above|omitted|follows|complete)|proof (?:problem|question|required)"
    r"|(?:please )?(?:see|refer to|cf\.?|check) (?:the |our |attached )*"
    r"(?:(?:detailed |full |worked )?(?:solution|explanation|proof|answer)s?|above|below|figure|image|diagram|picture"
    r"|graph|table|attachment)\b.{0,40}",
    re.IGNORECASE,
)


class Unanswerable(NamedTuple):
    """Why no answer can equal a ground truth."""

    reason: str
    detail: str


def find_unanswerable(ground_truth: str, verifier: str) -> Unanswerable | None:
    """Return why no answer can equal a ground truth under a verifier; None if one can, as far as its form tells."""
    if verifier not in COMPARING:
        return None
    if (found := _find_in_json(ground_truth, verifier)) is not None:
        return found
    if _TESTS.search(ground_truth):
        return Unanswerable("gold_is_tests", "assertions of a program")
    if _CONSTRAINT.fullmatch(ground_truth):
        return Unanswerable("gold_is_constraints", "the name of a constraint that a response must meet")
    if _CODE.search(ground_truth):
        return Unanswerable("gold_is_code", "a program")
    said = _DRESSING.sub(r"\1", ground_truth).strip(" \n\t$*_.()[]\\\"'")
    if _NO_ANSWER.fullmatch(" ".join(said.split())):
        return Unanswerable("gold_is_no_answer", f"{ground_truth[:80]!r} states no answer")
    return None


def _find_in_json(ground_truth: str, verifier: str) -> Unanswerable | None:
    stored = read_stored(ground_truth)
    if not isinstance(stored, (list, dict)):
        return None
    keys, texts = set(_walk_keys(stored)), [each for each in _walk_items(stored) if isinstance(each, str)]
    if keys & _TEST_KEYS or {"input", "output"} <= keys or any(map(_TESTS.search, texts)):
        return Unanswerable("gold_is_tests", "JSON test cases")
    if keys & _CONSTRAINT_KEYS or any(map(_CONSTRAINT.fullmatch, texts)):
        return Unanswerable("gold_is_constraints", "JSON constraints that a response must meet")
    if any(map(_CODE.search, texts)):
        return Unanswerable("gold_is_code", "a program")
    if keys and verifier != "exact":
        return Unanswerable("gold_is_json", f"a JSON object with {', '.join(sorted(keys)[:4])}")
    if len(texts) > 1 and len(texts) == len(stored) and verifier != "math-verify":
        detail = f"a list of {len(texts)} ground truths: {json.dumps(texts[:3], ensure_ascii=False)}"
        return Unanswerable("several_ground_truths", detail)
    return None


def _walk_items(stored: Any) -> Iterator[Any]:
    return iter(stored if isinstance(stored, list) else stored.values())


def _walk_keys(stored: Any) -> Iterator[str]:
    """The keys of an object, or of the objects in a list."""
    for each in [stored, *(stored if isinstance(stored, list) else [])]:
        if isinstance(each, dict):
            yield from map(str, each)
