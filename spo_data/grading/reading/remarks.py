r"""What is said beside a value without changing it: a lead-in before it, a remark after it.

split_lead("The largest $n$ is 34")                 # "34"
split_remark(r"\sqrt{2} \text{ (approx. } 1.414)")   # (r"\sqrt{2}", "(approx. 1.414)")
split_remark(r"n^2, n \ge 1")                        # ("n^2", r"n \ge 1")

Words such as "about", "not" or "at least" change what the value says, and are no lead-in.
"""

import re

from spo_data.grading.reading.notation import with_constants, without_phrases
from spo_data.grading.reading.structure import split_top


def split_lead(text: str) -> str:
    """The text after a lead-in such as "Total:", "The area is" or "There are"."""
    if _STARTS_WITH_WORDS.match(text) is None:
        return text
    said = without_phrases(text).strip()
    for verb in reversed(list(_VERB.finditer(said))[:VERBS]):
        lead, rest = said[: verb.end()], said[verb.end() :].strip()
        if rest and _LEAD.fullmatch(lead) and not _CHANGES.search(lead) and _VALUE.match(rest):
            return rest
    return text


def split_remark(text: str) -> tuple[str, str]:
    """The value and the remark after it, "" if there is none."""
    for split in (_split_parenthesis, _split_clause, _split_condition):
        value, remark = split(text)
        if remark:
            return value, remark
    return text, ""


def _split_parenthesis(text: str) -> tuple[str, str]:
    """A remark in parentheses at the end: with words, a relation, a percentage or another notation."""
    said = _TEXT_AROUND.sub(r"\1", text).rstrip(" .")
    depth, start = 0, len(said)
    for position in reversed(range(len(said) if said.endswith(")") else 0)):
        depth += {")": 1, "(": -1}.get(said[position], 0)
        if depth == 0:
            start = position
            break
    value, inside = _TEXT_OPEN.sub("", said[:start]).rstrip(), said[start + 1 : -1]
    if (
        not value
        or not inside
        or depth
        or _APPLIED.search(said[:start])
        or _NEEDS_MORE.search(value)
        or value.count("{") != value.count("}")
    ):
        return text, ""
    if not _SAYS_MORE.search(_COMMANDS.sub("", with_constants(inside))) or _ANOTHER_VALUE.search(inside):
        return text, ""
    return value, f"({inside})"


def _split_clause(text: str) -> tuple[str, str]:
    """A clause that begins with "for all", "where" or "with"."""
    match = _CLAUSE.search(text)
    if match is None or not text[: match.start()].strip():
        return text, ""
    return text[: match.start()].strip(" ,"), text[match.start() :].strip()


def _split_condition(text: str) -> tuple[str, str]:
    """A condition on a variable of the value, after a comma."""
    parts = split_top(text, _COMMA)
    if len(parts) < 2 or (_RELATION.search(parts[0]) and parts[0].count("=") != 1):
        return text, ""
    match = _CONDITION.match(parts[-1])
    value = ",".join(parts[:-1])
    if match is None or not re.search(rf"(?<![\\A-Za-z]){match[1]}(?![A-Za-z])", value):
        return text, ""
    return value.strip(), parts[-1].strip()


VERBS = 20
"""A text with more verbs is prose."""
_COMMA = re.compile("[,;]")
_STARTS_WITH_WORDS = re.compile(r"\s*(?:\\text\w*\s*\{|[A-Za-z\u3400-\u9fff]{2,}|[A-Za-z]\s+[A-Za-z]{2,})")
_VERB = re.compile(
    r"\b(?:is|are|equals|was|were|be|becomes)\b\s*:?|:|[\u662f\u4e3a\uff1a]|\A\s*[Tt]here (?:are|is)\b"
    r"|\A\s*(?:[Ee]xactly|[Pp]recisely)\b|\A\s*(?:[Hh]ence|[Tt]hus|[Ss]o|[Tt]herefore|[Ww]e (?:get|have))\b,?"
)
_LEAD = re.compile(r"[A-Za-z\u3400-\u9fff\s'\u2019\\{}_,:-]*")
_VALUE = re.compile(r"[-+\d\\(\[{.]|[A-Za-z](?![A-Za-z])")
_CHANGES = re.compile(
    r"\b(?:not|no|never|least|most|about|approximately|roughly|around|nearly|almost|between|below|above|under|over|less"
    r"|more|than|fewer|if|when|where|minus|negative|half|twice|isn|aren|cannot|without|except|unless|either|neither"
    r"|maybe|perhaps|incorrect|wrong|false)\b",
    re.IGNORECASE,
)
_TEXT_AROUND = re.compile(r"\\(?:text\w*|textnormal|mathrm|mbox)\s*\{([^{}]*[()][^{}]*)\}")
_TEXT_OPEN = re.compile(r"\\text\s*\{\s*$")
_SAYS_MORE = re.compile(
    r"[A-Za-z]{3,}|=|<|>|\\(?:approx|ge|le|ne|in|equiv)|%|\b(?:or|as|in|h|min|cm|m|km)\b|[\u3400-\u9fff]"
)
_COMMANDS = re.compile(r"\\(?!(?:approx|ge|le|ne|in|equiv|text)(?![A-Za-z]))[A-Za-z]+")
_APPLIED = re.compile(r"(?<![A-Za-z])[A-Za-z]\Z")
_NEEDS_MORE = re.compile(
    r"(?:[=<>+*/^_,-]|\\(?!(?:pi|infty|[a-z]*(?:alpha|beta|theta|lambda|mu|phi|omega))(?![A-Za-z]))[A-Za-z]+|(?<![A-Za-z])[a-z]|(?<![A-Za-z])(?:sin|cos|tan|log|ln|exp|sqrt|gcd|lcm)|\\[a-z]{2,6}\^\{?-?\d\}?)\s*\Z"
)
_ANOTHER_VALUE = re.compile(
    r"\A\s*or\s+(?!about|approx)|\b(?:mod|million|thousand|billion|hundred|dozen|sure|wrong|incorrect|base)\b|\\p?mod"
)
_CLAUSE = re.compile(
    r",?\s*(?:\\text\w*\s*\{[\s,]*(?:for (?:all|any|every|each|some)|where|with(?!\s+(?:a\s+)?remainder)|such that)\b"
    r"|\\text\w*\s*\{[\s,]*for\s*\}\s*[A-Za-z](?:\s*,\s*[A-Za-z])*\s*\\in(?![A-Za-z])"
    r"|(?<![A-Za-z\\])(?:for all|for any|for every|for some|where|\\forall)(?![A-Za-z])).*\Z",
    re.DOTALL,
)
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|in|equiv)(?![A-Za-z])")
_CONDITION = re.compile(
    r"\s*\(?\s*(?:\\forall\s*)?([A-Za-z])(?:\s*,\s*[A-Za-z])*\s*(?:\\(?:in|ge|le|ne)(?![A-Za-z])|[<>])"
)
