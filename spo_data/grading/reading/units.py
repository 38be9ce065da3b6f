r"""What a number is a number of: units, things that are counted, and the words that change its value.

split_unit(r"5 \text{ million dollars}")   # ("5", r"\cdot10^{6}", "dollar")
split_unit("12 m/s")                        # ("12", "", "m/s")
split_unit(r"x^2 V")                        # None: a bare letter after an expression is a variable
split_unit(r"5 \text{ or more}")            # raises UnreadableError: another value, or none

Any noun after a value may be what is counted, so nouns need no list. Abbreviations do: pint's registry knows a thousand
units with their prefixes. The short list that decides is the one of words that change the value.
"""

import re
from functools import lru_cache
from typing import Any

from spo_data.grading.reading.notation import FUNCTIONS, TEXT_NAMES, without_phrases
from spo_data.grading.reading.numbers import read_number
from spo_data.grading.reading.unit_words import (
    ABBREVIATIONS,
    ATTACHED,
    CHANGES,
    CJK_FACTORS,
    COUNTS,
    CURRENCIES,
    LETTERS,
    MAGNITUDES,
    NOT_ABBREVIATIONS,
    SHORT,
    SMALL,
)


class UnreadableError(ValueError):
    """The words beside a number give it another value, or none, in a way that is not read."""


def split_unit(text: str) -> tuple[str, str, str] | None:
    """The value, a factor in LaTeX ("" or a power of ten) and the unit; None if nothing follows a value.

    Raises UnreadableError if words follow that change the value in a way that has no factor.
    """
    for start in _find_phrases(text):
        split = _split_at(text, start)
        if split is not None:
            return split
    return None


def _split_at(text: str, start: int) -> tuple[str, str, str] | None:
    value, said = text[:start].rstrip(" -"), text[start:]
    if not value.strip() or value.rstrip()[-1] in "=<>+*/^_(,":
        return None
    phrase = " ".join(without_phrases(_RATIO.sub(r"\1/\2", said)).replace("\\mu", "µ").replace("\\Omega", "Ω").split())
    phrase = phrase.replace("\\cdot", "·").replace("{", "").replace("}", "").strip(" .")
    if not phrase or phrase in CURRENCIES:
        return value, "", phrase
    if not (said.lstrip().startswith("\\") or _CJK.match(phrase)) and not _may_be_bare(value, phrase, text[:start]):
        return None
    factor, unit = _read_phrase(phrase)
    return value, factor, unit


def _find_phrases(text: str) -> list[int]:
    """Where the words at the end may begin: at the first of them, or at a later text command."""
    starts: list[int] = []
    for token in reversed(list(_TOKEN.finditer(text))):
        if token.lastgroup == "other":
            break
        if token.lastgroup == "words":
            starts.append(token.start())
    starts.reverse()
    return [*starts[:1], *(start for start in starts[1:] if text[start] == "\\")]


def _may_be_bare(value: str, phrase: str, before: str) -> bool:
    """Whether words outside a text command can be a unit of this value rather than variables or a function."""
    first = next((word for word in re.findall(r"[^\W\d_]+", phrase) if word not in ("a", "an", "per")), "")
    number = read_number(value) is not None
    attached = before[-1:] not in (" ", "}", ")")
    if attached and "/" in phrase and first in LETTERS:
        return number and _is_unit(phrase)
    if attached:
        short = first in SHORT if len(first) == 2 else len(first) > 2 or first in ATTACHED
        return number and short and _is_unit(phrase)
    names = re.findall(r"[^\W\d_]+", phrase)
    if number and _is_unit(phrase) and all(len(name) > 2 or name in SHORT or name in LETTERS for name in names):
        return True
    if number and first in ("in", *SHORT) and any(len(name) > 2 for name in names):
        return True  # in all, cm high
    if len(first) == 2 and not re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", value)):
        return first in SHORT and _is_unit(phrase)
    return len(first) > 2 and first.casefold() not in FUNCTIONS and not _VARIABLES.fullmatch(first)


def _read_phrase(phrase: str) -> tuple[str, str]:
    """The factor and the unit that the words say."""
    if _CJK.match(phrase):
        return _read_counter(phrase)
    phrase = _ADJECTIVES.sub(
        lambda said: said[1] or said[2],
        _OF_SYMBOL.sub("", phrase.replace("left over", "left").replace("non-neg", "nonneg")),
    )
    if not all(character.isascii() or character in "ÅµΩ°·²³£€¥₹é" for character in phrase):
        raise UnreadableError(phrase)  # an unknown word may be a magnitude in another language
    if re.search(r"\d", re.sub(r"\^?-?[1-4²³]\b", "", phrase)):
        raise UnreadableError(phrase)
    words = re.findall(r"[^\W\d_]+(?:['\u2019][a-z]+)?", phrase)
    factor = ""
    while words and words[0].casefold() in MAGNITUDES:  # as in five hundred thousand
        factor += MAGNITUDES[words.pop(0).casefold()]
    folded = [word.casefold() for word in words]
    if len(words) > 1 and folded[-1] in ("squared", "cubed") and _is_unit_name(words[-2]):
        folded.pop()
    if "to" in folded[1:]:
        folded.remove("to")  # ways to do it
    if any(map(CHANGES.fullmatch, folded)) or folded[:1] in (["or"], ["and"]):
        raise UnreadableError(phrase)
    if not words and not factor:
        raise UnreadableError(phrase)
    if not words or (len(phrase) == len(words[0]) == 1 and phrase in LETTERS):
        return factor, "".join(folded)
    noun = any(len(word) > 2 for word in folded)
    if not _is_unit(phrase) and not (noun and all(len(w) > 2 or w in SMALL or _is_unit(w) for w in folded)):
        raise UnreadableError(phrase)
    return factor, " ".join(_singular(word) for word in folded if word not in SMALL) or phrase


def _read_counter(phrase: str) -> tuple[str, str]:
    match = _CJK_MAGNITUDE.match(phrase)
    factor, rest = (CJK_FACTORS[match[0]], phrase[match.end() :]) if match else ("", phrase)
    if _CJK_CHANGES.search(rest):
        raise UnreadableError(phrase)
    return factor, rest


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=4096)
def _is_unit(phrase: str) -> bool:
    """Whether it is a unit with its powers and ratios, such as `m/s^2`, "sq. ft" or `kJ mol^{-1}`."""
    text = re.sub(r"\b(?:sq|cu)\b\.?\s*|\b(?:square|cubic)\s+", "", phrase.replace("²", "^2").replace("³", "^3"))
    text = re.sub(r"(?<=[A-Za-z])\.", "", text).strip()
    names = re.findall(r"[^\W\d_]+", text)
    if not names or re.sub(r"[^\W\d_]+|\^?-?[1-9]|[\s/·*().-]", "", text):
        return False
    return all(map(_is_unit_name, names))


def _is_unit_name(name: str) -> bool:
    if name in NOT_ABBREVIATIONS:
        return False
    if name in ABBREVIATIONS or name.casefold() in ABBREVIATIONS:
        return True
    if len(name) > 12:
        return False
    registry = _load_registry()
    return name in registry or (len(name) > 2 and name.casefold() in registry)


@lru_cache(maxsize=1)
def _load_registry() -> Any:
    """pint's default registry; it takes a third of a second."""
    import pint

    return pint.UnitRegistry(cache_folder=None)


_CJK = re.compile("[\u3400-\u9fff]")
_TOKEN = re.compile(
    rf"(?P<words>\\{TEXT_NAMES}\s*\{{(?:[^{{}}]|\^\{{-?\d\}})*\}}|\\frac\s*\{{\s*\\{TEXT_NAMES}\{{[^{{}}]*\}}\s*\}}"
    rf"\s*\{{\s*\\{TEXT_NAMES}\{{[^{{}}]*\}}(?:\^\{{?\d\}}?)?\s*\}}|\\(?:mu|Omega)(?![A-Za-z])"
    r"|(?<![\\A-Za-z^_])[^\W\d_]+(?:['\u2019][a-z]+)?\.?(?<!\\)|[$€£¥₹])"
    r"|(?P<between>\s+|/|\\cdot|·|-|\^\s*\{\s*-?\d\s*\}|\^-?\d|[²³])|(?P<other>\\[A-Za-z]+|\\.|.)",
    re.DOTALL,
)
_RATIO = re.compile(r"\\frac\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_VARIABLES = re.compile(r"[xyz]+|[abc]+|[mn]+|[pqr]+|[uvw]+|[A-Z]{2,4}")
_ADJECTIVES = re.compile(
    rf"\b(?:{COUNTS})-(?!(?:{COUNTS})\b)([a-z]+\s+[a-z])|\b(?:third|(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf)th)[\s-](grade(?:rs?)?)\b"
)
"""Numbers that are part of what is counted: two-digit numbers, fifth graders."""
_OF_SYMBOL = re.compile(rf"(?<=[a-z]{{3}})(?<!\bout)\s+of\s+(?:\$?[A-Za-z]\$?|{COUNTS})\Z")
_CJK_MAGNITUDE = re.compile("[万亿萬億]")
_CJK_CHANGES = re.compile("[半倍成折多约余]|以上|以下|左右|不|分之|^[百千](?![米克瓦帕焦卡升])")
