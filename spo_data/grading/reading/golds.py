r"""Ground truths as data sets write them: lists of alternatives, and texts that are no answer.

read_alternatives('["5 cm"]')             # ["5 cm"]
find_reason_against('{"inputs": ["1"]}')   # "it is JSON, not an answer"
"""

import json
import re

from spo_data.grading.answers.dressing import has_balanced_braces
from spo_data.grading.reading.notation import normalise


def read_alternatives(text: str) -> list[str]:
    """The texts of a JSON list of texts, each of which is right; else the text itself."""
    listed = _load_json(text)
    if not isinstance(listed, list) or not listed:
        return [text]
    if all(isinstance(item, str) and item.strip() for item in listed):
        return [str(item) for item in listed]
    single = len(listed) == 1 and isinstance(listed[0], int | float) and not isinstance(listed[0], bool)
    return [str(listed[0])] if single else [text]


def find_reason_against(ground_truth: str) -> str | None:
    """Why a ground truth is no answer; None if it can be one."""
    if not ground_truth.strip():
        return "it is empty"
    if not normalise(ground_truth):
        return "it is empty"
    if not has_balanced_braces(ground_truth):
        return "its braces do not close"
    if isinstance(_load_json(ground_truth), dict):
        return "it is JSON, not an answer"
    if _NO_ANSWER.fullmatch(ground_truth.strip()):
        return "it says that there is no answer here"
    return "it is a program" if _CODE.search(ground_truth) else None


def _load_json(text: str) -> object:
    bare = text.strip()
    if not bare or bare[0] + bare[-1] not in ("[]", "{}"):
        return None
    try:
        return json.loads(bare)
    except ValueError:
        return None


_NO_ANSWER = re.compile(
    r"(?:n/?a|null|nan|tbd|\?+|-+|see (?:the )?(?:solution|above|below|proof|explanation|text)\b.*|proof(?: .*)?"
    r"|q\.?e\.?d\.?"
    r"|\\(?:boxed|text)\s*\{\s*\})\.?",
    re.IGNORECASE,
)
_CODE = re.compile(r"(?m)^\s*(?:def \w+\(|import \w+|class \w+[:(]|#include\s*<|public static )")
