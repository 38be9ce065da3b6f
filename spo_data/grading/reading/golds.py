r"""Ground truths as datasets write them: lists of alternatives, and texts that cannot be read.

read_alternatives('["5 cm"]')             # ["5 cm"]
find_reason_against(r"\frac{")            # "its braces do not close"
"""

import json

from spo_data.grading.reading.dressing import has_balanced_braces
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
    """Why a ground truth cannot be read as an answer; None if it can."""
    if not normalise(ground_truth).strip("?!- "):
        return "it is empty"
    if not has_balanced_braces(ground_truth):
        return "its braces do not close"
    return None


def _load_json(text: str) -> object:
    bare = text.strip()
    if not bare or bare[0] + bare[-1] != "[]":
        return None
    try:
        return json.loads(bare)
    except ValueError:
        return None
