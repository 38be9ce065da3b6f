"""Find the languages of prompts, as far as their script tells.

    languages(["What is 2 + 2?"])       # ["en"]

The dataset card lists them, and a wrong guess misleads a search. So a script that many languages share gives no answer;
only plain ASCII letters are taken for English.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import islice

PROMPTS = 1_000
"""Prompts that are read."""
SHARE = 0.1
"""A language counts if it has more than this share of the letters: formulas bring Latin letters into any language."""
FORMULA = "formula"
_SCRIPTS = {"GREEK": FORMULA, "MATHEMATICAL": FORMULA, "CJK": "zh", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko"}


def languages(texts: Iterable[str]) -> list[str]:
    """ISO 639-1 codes of the languages that the texts are certainly in, the most frequent first; may be empty."""
    letters = Counter(_find_language(letter) for text in islice(texts, PROMPTS) for letter in text if letter.isalpha())
    del letters[FORMULA]
    total = letters.total()
    if letters["ja"] > SHARE * total:
        letters["ja"] += letters.pop("zh", 0)  # Japanese uses Chinese characters too
    found = [language for language, count in letters.most_common() if language and count > SHARE * total]
    if found == ["en"] and letters["en"] < 0.99 * total:
        return []
    return [language for language in found if language != "en"] or found


def _find_language(letter: str) -> str | None:
    if letter.isascii():
        return "en"
    return _SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0])
