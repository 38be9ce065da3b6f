r"""Ground truths as datasets write them: lists of alternatives, and texts that cannot be read.

read_alternatives('["5 cm"]')             # ["5 cm"]
find_reason_against(r"\frac{")            # "its braces do not close"
"""

import json
import re

from spo_data.grading.reading.dressing import has_balanced_braces
from spo_data.grading.reading.notation import normalise


def read_alternatives(text: str) -> list[str]:
    """The texts of a JSON list of texts, each of which is right; else the text itself."""
    text = _find_value(text)
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


def _find_value(text: str) -> str:
    """What a whole solution gives as its value: its last box, or GSM8K's last line."""
    last = text.strip().rsplit("####", maxsplit=1)
    if len(last) == 2 and "\n" not in last[1].strip():
        return last[1]
    quoted = _QUOTED.fullmatch(text.strip())
    if quoted is not None and _load_json(text) is None:
        return quoted[2]
    before, box, after = text.rpartition("\\boxed{")
    if not box or _WORDS.search(before) is None:
        return text
    depth = 1
    for brace in re.finditer(r"(?<!\\)[{}]", after):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return after[: brace.start()]
    return text


def _load_json(text: str) -> object:
    bare = text.strip()
    if not bare or bare[0] + bare[-1] != "[]":
        return None
    try:
        return json.loads(bare)
    except ValueError:
        return None


_QUOTED = re.compile(r"\[?([\"'])([^\"'\[\]]+)\1\]?")
_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}\s")
