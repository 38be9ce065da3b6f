r"""Marks of an answer other than boxes.

* `<answer>42</answer>`, `<final_answer>`, `[ANSWER]`, and a short `<result>`, `<solution>` or `<output>`;
* a line "Answer: 42", with emphasis, a list number or an emoji before it, in several languages;
* a heading "Final Answer", with the answer in the paragraph below;
* a sentence "the answer is 42", in the last 1,000 characters, unless it supposes something;
* GSM8K's `#### 42`, and JSON's `"answer": 42`.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from spo_data.grading.finding.boxes import is_empty
from spo_data.grading.finding.sentences import find_value, stated_value, without_emphasis

TAIL = 1000
"""A sentence that states the answer is looked for in this many last characters."""
CONTENT = 1000
"""An answer below a heading ends after this many characters."""
MOST = 20
"""So many last marks are read: a response with more repeats itself."""
SHORT = 4
"""A marked text of so many words is an answer even if it is no value: No solution."""

_WORDS = (
    *("answers?", "ans", "r\u00e9ponse", "respuesta", "resposta", "risposta", "antwort", "antwoord", "jawaban", "svar"),
    *("odpowied\u017a", "\u043e\u0442\u0432\u0435\u0442", "\u0627\u0644\u0625\u062c\u0627\u0628\u0629"),
    *("\u0627\u0644\u062c\u0648\u0627\u0628", "\u0989\u09a4\u09cd\u09a4\u09b0", "\u0909\u0924\u094d\u0924\u0930"),
    *("\u7b54\u6848", "\u7b54\u3048", "\u7b54", "\u56de\u7b54", "\u89e3\u7b54"),
    *("\uc815\ub2f5", "\ub2f5\ubcc0", "\ub2f5"),
)
"""Answer in the languages of common benchmarks."""
_WORD = f"(?:{'|'.join(_WORDS)})"
_KIND = (
    r"(?:(?:the|my|our|your|final|correct|right|best|exact|numerical|short|boxed|required|\u6700\u7ec8|\u6b63\u786e)"
    r"[ \t]*){0,4}"
)
_HTML = r"(?:</?(?:b|strong|em|i|u|h[1-6]|p|span)>[ \t]*)*"
_LABEL = re.compile(
    rf"(?:^(?:[^\w\n$\\\"'{{]|_){{0,12}}(?:\d{{1,2}}[.)][^\w\n$\\]{{0,6}})?{_HTML}"
    rf"(?:(?:so|thus|hence|therefore),?[ \t]+)?{_KIND}{_WORD}"
    rf"(?:[ \t]*\([^()\n]{{1,40}}\))?[ \t]*[*_`]{{0,3}}{_HTML}[ \t]*"
    r"(?:[:\uff1a=]|[-\u2013\u2014](?=[ \t])|is[ \t]*:|[\u662f\u4e3a\u70ba][ \t]*[:\uff1a]?"
    r"|(?P<heading>[*_#]{0,6}[ \t]*$))"
    r"|(?:(?<=[.!?;,)\]}*$>]\s)|(?<=\*\*)|(?<=so\s))"
    r"(?:Final[ \t]+)?(?:Answer|\u7b54\u6848)[ \t]*[*_]{0,3}[ \t]*[:\uff1a])"
    rf"{_HTML}",
    re.MULTILINE | re.IGNORECASE,
)
_TAG = re.compile(
    r"<(?P<tag>(?i:answer|final[_ -]?answer|ans|final))>(?P<content>.*?)(?:</(?P=tag)>|\Z)"  # a stop string cuts it
    r"|<(?P<short>(?i:result|solution|output|response))>\s{0,9}(?P<brief>[^<\n]{1,100})\s{0,9}</(?P=short)>"
    r"|\[ANSWER\](?P<bracketed>.*?)(?:\[/ANSWER\]|\Z)",
    re.DOTALL,
)
_HASHES = re.compile(r"(?P<start>^[ \t]*)?(?<!#)####(?!#)[ \t]*:?[ \t]*(?P<content>\S[^\n]*)", re.MULTILINE)
_JSON = re.compile(
    r"[\"'](?:final[_ ]?)?answer[\"']\s{0,3}:\s{0,3}"
    r"(?P<content>\"(?:[^\"\\\n]|\\.){1,300}\"|[-+]?[\d.][\d.,/eE+-]*)",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    r"\b(?:answer|(?:correct|right|best|final)\s+(?:option|choice)|\u7b54\u6848)"
    r"(?:\s+(?:to|of|for|here)\b[^.\n$:]{0,60}?)?[\s*_]*"
    r"(?:\b(?:is|would be|should be|must be|has to be|will be|comes out to(?: be)?|becomes)\b"
    r"|=|[\u662f\u4e3a\u70ba])\s*",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|suppose|supposing|assum\w+|unless|would|could|might|incorrect|wrong|otherwise|whether|previous|original"
    r"|first|thought|initially|claim\w*|student|someone)\b",
    re.IGNORECASE,
)
_WITHDRAWN = re.compile(
    r"[^.\n]{0,80}\b(?:wrong|incorrect|not\s+(?:right|correct|it))\b|[^.!\n]{0,30}\?|\s*(?:either\s+)?one of\b"
    r"|[^.?!\n]{0,30}[.!]\s+(?:wait|no|hmm|sorry|actually)\b",
    re.IGNORECASE,
)
_IF = re.compile(r"[^.\n]{0,80}\bif\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?:]\s|\n")
_OPENERS = (("$$", "$$"), ("\\[", "\\]"), ("```", "```"), ("\\begin{", "\\end{"))

_ANNOUNCED = re.compile(
    r"\A(?:\\text\s*\{)?\s*(?:the\s+)?(?:correct\s+|final\s+)?answer\s*(?:is|:|=)\s*:?\s*\}?\s*(?=\S)", re.IGNORECASE
)
_HOPE = re.compile(r"\s*I hope (?:it|this) (?:is correct|helps)\s*[.!]?\s*\Z", re.IGNORECASE)
_EMPTY_BOX = re.compile(r"\\{1,4}boxed\s?\{\s{0,9}\}")
_A_BOX = re.compile(r"\\(?:boxed|fbox)|<\|begin_of_box\|>")
_SEE = re.compile(r"\b(?:above|below|as follows|explanation|see|sure|unknown)\b", re.IGNORECASE)
_AMOUNT = re.compile(r"[^A-Za-z]*(?:[A-Za-z%]+[^\w]*){0,3}")
_VALUED = re.compile(r"[\d$\\]")
_SPACE = re.compile(r"\s*")
_OPENING, _CLOSING = re.compile(r"[(\[]"), re.compile(r"[)\]]")
_TAG_AFTER = re.compile(r"\s*</?[A-Za-z_]{2,20}>\Z")
_EMOJI = re.compile(
    r"\A[\u2190-\u21ff\u2600-\u27bf\ufe0f\U0001f300-\U0001faff\s]+|[\u2600-\u27bf\ufe0f\U0001f300-\U0001faff\s]+\Z"
)
_FENCE = re.compile(r"\A```(?:latex|math|text)?\s*|\s*```\Z")


class MarkedAnswer(NamedTuple):
    """An answer that a response marks."""

    start: int
    text: str
    boxed: bool = False
    sure: bool = True
    """False for a sentence in which no value is found: an earlier mark goes before it."""


def find_marks(text: str, begins: int, ends: int) -> Iterator[MarkedAnswer]:
    """The answers marked between two positions, from the last to the first; those that contain a box are left out."""
    marks: list[tuple[re.Match[str], _Reader]] = []
    for pattern, read, sign in _MARKS:
        if sign in text:
            start = max(begins, len(text) - TAIL) if pattern is _STATEMENT else begins
            marks.extend((match, read) for match in pattern.finditer(text, start, ends))
    for match, read in sorted(marks, key=lambda mark: mark[0].start(), reverse=True)[:MOST]:
        answer = read(text, match)
        if answer is not None and not _A_BOX.search(answer.text):
            yield answer


def strip_announcement(text: str) -> str:
    """The text without "the answer is" before it."""
    return _ANNOUNCED.sub("", text)


def _read_tag(_text: str, match: re.Match[str]) -> MarkedAnswer | None:
    return _make_answer(match.start(), match["content"] or match["brief"] or match["bracketed"] or "")


def _read_json(_text: str, match: re.Match[str]) -> MarkedAnswer | None:
    content = match["content"]
    if content.startswith('"'):
        try:
            content = str(json.loads(content))
        except ValueError:  # LaTeX with single backslashes
            content = content[1:-1]
    return _make_answer(match.start(), content)


def _read_statement(text: str, match: re.Match[str]) -> MarkedAnswer | None:
    sentence = _SENTENCE_END.split(text[max(0, match.start() - 200) : match.start()])[-1]
    supposed = "would be" in match[0] and _IF.match(text, match.end()) is not None
    if supposed or _SUPPOSED.search(sentence) or _WITHDRAWN.match(text, match.end()):
        return None
    value = stated_value(_skip_to_content(text, match.end()))
    return None if value is None else MarkedAnswer(match.start(), value)


def _read_hashes(text: str, match: re.Match[str]) -> MarkedAnswer | None:
    is_last = _SPACE.fullmatch(text, match.end()) is not None
    words = without_emphasis(match["content"])
    if is_last and match["start"] is not None:
        return _make_answer(match.start(), match["content"])
    is_amount = _VALUED.search(words) and _AMOUNT.fullmatch(words)
    if not is_amount or (not is_last and re.search("[A-Za-z]{2}", words)):
        return None  # a heading
    return _make_answer(match.start(), match["content"])


def _read_label(text: str, match: re.Match[str]) -> MarkedAnswer | None:
    content = _skip_to_content(text, match.end())
    answer = _make_answer(match.start(), content)
    if answer is None or not answer.sure or stated_value(answer.text) is not None:
        return answer
    end = text.find(content, match.end()) + len(content)
    return answer._replace(sure=False) if _VALUED.search(text, end) else answer  # the solution goes on below


_Reader = Callable[[str, re.Match[str]], MarkedAnswer | None]
_MARKS: tuple[tuple[re.Pattern[str], _Reader, str], ...] = (
    (_LABEL, _read_label, ""),
    (_STATEMENT, _read_statement, ""),
    (_TAG, _read_tag, ""),
    (_HASHES, _read_hashes, "####"),
    (_JSON, _read_json, '"'),
)
"""How a mark is found and read, and what a text must contain to have one."""


def _skip_to_content(text: str, begins: int) -> str:
    """The rest of the line; if it is empty, the paragraph below; a display formula as a whole."""
    line_end = text.find("\n", begins)
    line = text[begins : line_end if line_end >= 0 else len(text)]
    stripped = line.strip(" \t*_#:`")
    if stripped:
        for opener, closer in _OPENERS:
            if stripped.startswith(opener) and closer not in stripped[len(opener) :]:
                end = text.find(closer, begins + len(line), begins + CONTENT)
                return text[begins : end + len(closer)] if end >= 0 else line
        return line[: 4 * CONTENT]
    if line_end < 0:
        return ""
    below = _SPACE.match(text, line_end)
    start = below.end() if below else line_end
    content = text[start : start + CONTENT]
    for opener, closer in _OPENERS:
        if content.startswith(opener):
            end = content.find(closer, len(opener))
            return content[: end + len(closer)] if end >= 0 else content
    paragraphs = re.split(r"\n\s*\n", content, maxsplit=2)
    return "\n".join(paragraphs[:2]) if paragraphs[0].rstrip(" *").endswith(":") else paragraphs[0]


def _make_answer(start: int, content: str) -> MarkedAnswer | None:
    """The answer with this content; None if it is empty."""
    text = _EMPTY_BOX.sub("", _HOPE.sub("", without_emphasis(content.strip()).strip(" \t\r\n*_|`")))
    text = _EMOJI.sub("", text)
    text = _FENCE.sub("", _unquote(strip_announcement(text).strip(" \t\r\n*_`"))).strip()
    text = _TAG_AFTER.sub("", text)
    if text.endswith((")", "]")) and len(_CLOSING.findall(text)) > len(_OPENING.findall(text)):
        text = text[:-1].rstrip()  # the label stands in the brackets too
    if not text or is_empty(text):
        return None
    short = len(text.split()) <= SHORT and not _SEE.search(text)
    return MarkedAnswer(start, text, sure=short or find_value(text) is not None)


def _unquote(text: str) -> str:
    for left, right in (('\\"', '\\"'), ('"', '"'), ("\u201c", "\u201d"), ("\u00ab", "\u00bb"), ("'", "'")):
        bare = text.rstrip(".")
        if len(bare) > len(left + right) and bare.startswith(left) and bare.endswith(right):
            return bare[len(left) : -len(right)]
    return text
