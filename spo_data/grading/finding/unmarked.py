r"""Reading the answer of a response that marks none.

    find_unmarked("So there are **12** ways.")              # "12"
    find_unmarked("I get $6 \\cdot 7 = 42$.")               # "6 \\cdot 7 = 42"
    find_unmarked("It cannot be 42.")                       # None: a denial
    find_unmarked("Step 42")                                # None: a step's number

The last sentence with a value counts: its last formula if it is nothing else, what is emphasised in it, what follows
"is" or "=", else the last formula or number, as math-verify finds it. If it hedges, as in "1331 and 1728", the whole
hedge is the answer. Labels of steps, numbers of list items and equations, denied values and a computation that breaks
off are no answers.
"""

import itertools
import re

from spo_data.grading.comparing.parser import find_last_expression
from spo_data.grading.finding.boxes import boxed_answers
from spo_data.grading.finding.sentences import conclusion, mask, stated_value, undelimit, without_emphasis
from spo_data.grading.reading.dressing import to_latex

TAIL = 1000
"""An unmarked answer is looked for in this many last characters, because math-verify's search is quadratic."""
LAST_LINE = 20
"""A last line of at most this many characters can be an answer in words."""

_NUMBER = r"[+-]?(?:\d+(?:,\d{3})*+|\d+)(?:\.\d+)?(?:/\d+)?"
_WORD = r"(?:or|and|maybe|perhaps|possibly|probably|either|even)"
_NAME = r"(?:[A-Za-z]\s*=\s*)?"
_HEDGE = re.compile(
    rf"(?<![\w.])((?>{_NUMBER}(?:\s*,\s*{_NUMBER})*+)(?:\s*,?\s+{_WORD}(?:\s+{_WORD})*+\s+{_NAME}{_NUMBER})++)(?!\w|\.\d)"
)
_MAGNITUDE = re.compile(
    r"\s*\$?\s*(hundred|thousand|million|billion|trillion|dozen|percent|per cent|\\?%)(?![A-Za-z])", re.IGNORECASE
)
_SPACED_MINUS = re.compile(r"(?<![\w)}$])-\s+(?=\d)")
_ATTACHED = re.compile(r"(?<=\d)(?:[A-Za-z]\w*|[\u4e07\u4ebf\u5343\u767e\u5341]+|!+|\^\S+)")
_CURRENCY = re.compile(r"\\\$(?=\s?\d)")

_DENIES = (
    r"(?:\b(?:not|never|neither|nor|cannot|rather than|instead of|excludes?|excluding|rules? out|ruled out|ruling out"
    r"|different from|differs? from|anything but|no way|doubts?|unlikely"
    r"|at (?:least|most)|no (?:more|fewer|less) than|up to"
    r"|other than|wrong to say|(?:less|greater|more|fewer|smaller|larger|bigger|lower|higher) than"
    r"|rejects?|except|impossible|\w+n['\u2019]t)\b)"
)
_DENIED_BEFORE = re.compile(
    rf"{_DENIES}(?:\s+(?:be|is|equal|equals|to|the|an?|it|answer|value|exactly|just|simply|possibly|have|give|been"
    rf"|that|think|necessarily|number|as)){{0,5}}[\s$(*:]*\Z",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\s$)*.]*(?:is|was|are|would be|must be|fails?|does(?:n['\u2019]t| not)"
    r"|cannot|can['\u2019]t|isn['\u2019]t|won['\u2019]t)\s+"
    r"(?:also\s+|clearly\s+|therefore\s+|be\s+)?(?:not\b|wrong|incorrect|impossible|invalid|excluded|ruled|rejected"
    r"|false|too\s+(?:large|big|small|high|low)|work|satisfy|the wrong|no solution|a contradiction)"
    r"|\s*(?:can|must|may)\s+be\s+(?:excluded|ruled|rejected|discarded)|\s*contradicts"
    r"|\s*,?\s*(?:but|which|and)\s+(?:that|this|it)?\s*(?:is|was)\s+(?:wrong|incorrect|not)\b"
    r"|[\s$)*]*(?:fails|does(?:n['\u2019]t| not) work|(?:isn['\u2019]t|cannot be|can['\u2019]t be)\b)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\b(?:steps?|cases?|parts?|equations?|eqn?s?\.?|figures?|fig\.|tables?|sections?|chapters?|lemmas?|theorems?"
    r"|propositions?|corollar(?:y|ies)|definitions?|examples?|exercises?|problems?|questions?|methods?|approach(?:es)?"
    r"|attempts?|iterations?|pages?|lines?|notes?|remarks?|claims?|tasks?|phases?|stages?|items?|reference|ref\.)"
    r"\s*(?:no\.\s*|number\s+|#\s*)?(?:\(?\d{1,3}(?:\.\d{1,2})*[a-z]?\)?)"
    r"(?:\s*(?:,|and|-|to)\s*\d{1,3})?(?![\d.]*\d)(?:\s*[:.)]|\s*$)?",
    re.IGNORECASE,
)
_ENUMERATOR = re.compile(r"^[ \t>*#-]*(?:\(?\d{1,3}[.)]|\[\d{1,3}\])(?=\s+\S)[ \t]*")
_ENUMERATORS = re.compile(r"^[ \t>*#-]*\(?\d{1,3}[.)](?:\s|$)", re.MULTILINE)
_REFERENCE = re.compile(
    r"(?<=\S)\s+\(\d{1,3}\)\s*[.,;]?\s*$|\b(?:[Bb]y|[Ff]rom|[Ii]n|[Ss]ee|[Uu]sing)\s+\(\d{1,3}\)|(?<=\S)\s+\[\d{1,3}\]\s*$"
)
_BROKEN_OFF = re.compile(
    r"(?:[=+*/^_\\({\[<>&|-]|\\(?:times|cdot|frac|sqrt|le|ge|left|approx)|(?<![A-Za-z])(?:is|are|equals|be|the|of|to"
    r"|and|so|an?|(?<!is the )(?<!is our )(?<!is my )answer|final|correct|required"
    r"|because|when|where|there|this|our|these|as|but|if|than|we|get|have|gives|then|thus|hence|therefore"
    r"|that|let|since|with|for|by|from|or|which))\s*\Z",
    re.IGNORECASE,
)
_OPEN_PARENTHESIS = re.compile(r"^[^()]*\d[^()]*\)[\s.,;]*$")
_BARE_COMPUTATION = re.compile(
    r"^\s*[\d\s.+\-*/x\u00d7\u00b7()^]*[+\-*/\u00d7\u00b7^][\d\s.+\-*/x\u00d7\u00b7()^]*\.\s*$"
)
_ENDING = re.compile(
    r"(?:\s|</?[A-Za-z_]{1,20}>|[\u25a1\u25a0\u220e\u25a2\u2705\u2713\u2714]|\$?\\(?:square|blacksquare|qed|Box)\b\$?|\bQ\.?E\.?D\.?|^[-=_*`~]{3,}$)+\Z",
    re.MULTILINE,
)
_VALUED = re.compile(r"[\d$\\\u221a\u03c0\u221e]")
_OPEN_FORMULA = re.compile(r"(?:^|[\s(])\$[\\A-Za-z(][^$]*\Z")
_SPLIT = re.compile(
    r"(?<=[^\d][.!?])(?<![Ee]q\.)(?<!ig\.)\s+(?=[^\s\d])|(?<=\w\d[.!?])\s+(?=[A-Z$\\(])|\n+|(?<=[\u3002\uff01\uff1f])"
)
_BEFORE_ITEM = re.compile(r"(?:^|\n)[ \t>*#-]{0,9}\(?\d{1,3}[.)]\Z")
_NUMBERED = re.compile(r"\(\d{1,3}\)[.,;]?")
_CONTRAST = re.compile(r"[,;]\s+(?:not|rather than|instead of)\s+[^\s,;]*\d[^\s,;]*\Z")
_REMARK = re.compile(r"\([^()]*[a-z]{3,}\s[^()]*\)[.]?")
_FORMULA = re.compile(
    r"\\[A-Za-z{]|^[(\[{]\d+[)\]}]$|\d\s*(?:,\s|;)|\u221a|\^|\u03c0"
    r"|[A-Za-z\d)]\s?[-+*/=<>\u2212\u2260\u2264\u2265\u2248]\s?[A-Za-z\d(]"
)
_WORDS = re.compile(
    r"(?<![\\A-Za-z])(?!(?:sin|cos|tan|cot|sec|csc|ln|log|exp|pi|sqrt|mod|gcd|lcm|max|min|and|or)(?![A-Za-z]))[A-Za-z]*[a-z][A-Za-z]+"
)
_EMPHASISED = re.compile(
    r"(?<![\w*])(\*{1,3})(?=[^\s*])([^\n*]{1,100}?)(?<=[^\s*])\1(?![\w*])|(?<!`)`([^`\n]{1,100})`(?!`)"
)
_COPULA = re.compile(r"(?:\b(?:is|are|was|were|equals?|be)\b|(?<![<>!:=])=(?!=))\s*")
_SUBJECT = re.compile(
    r"[\s,]*(?:(?:so|thus|therefore|hence|then|and|finally),?\s+){0,2}"
    r"(\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\)|[-+]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)"
    r"\s+(?:is|are|was)\s+(?:indeed\s+|thus\s+|therefore\s+)?(?:the|our|my|an?)\b(?!\s+(?:wrong|incorrect|contradiction))",
    re.IGNORECASE,
)
"""A sentence that begins with its value: 42 is the smallest number with 8 divisors."""
_CJK = re.compile(r"((?<=\d)[\u4e07\u4ebf\u5343\u767e\u5341]+)?[\u3001-\u303f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]+")
"""Words that stand at a number without a space; those that multiply it stay."""
_TAG = re.compile(r"</?[A-Za-z_]{1,20}>")
_ANSWER = re.compile(r"^\W{0,9}(?:final\s)?answer\W{0,5}[:=]\s*", re.IGNORECASE)
_PREDICATE = re.compile(
    r"(?:[^\n]{0,300}[.:!]\s+|)(?:(?:so|thus|therefore|hence),?\s+)?(?:the|it|this|that|there|he|she|they|we|i|our)\b[^.\n]{0,200}"
    r"\b(?:is|are|was|were)\s+([^.\n]{1,60}?)[.!]?",
    re.IGNORECASE,
)
_DOUBTED = re.compile(r"\b(?:whether|if|suppose|unclear|unknown|assum\w+|unless|would|could|might)\b", re.IGNORECASE)
_ASKED = re.compile(
    r"\?[\s*\"')]*\Z|\bwould be\b.*\bif\b|\bis\s+(?:either\s+)?one of\b"
    r"|\A\W*if\s+(?:the|our|my)\s+(?:final\s+)?(?:answer|value|result)\b",
    re.IGNORECASE,
)
"""A sentence that asks, supposes or leaves the choice."""
_SAID = re.compile(r"\banswer is:?[ \t]+([^\n.]{1,100})", re.IGNORECASE)


def find_unmarked(visible: str) -> str | None:
    """The value that the end of a response states; None if it states none. `visible` is without thinking."""
    text = _after_empty_boxes(visible)
    tail = _ENDING.sub("", _TAG.sub(" ", _CURRENCY.sub("", text[-TAIL:])))
    if not _VALUED.search(tail):
        return None
    lines = tail.splitlines()
    if _breaks_off(lines):
        return None
    if len(_ENUMERATORS.findall(tail)) > 1 and _ENUMERATORS.fullmatch(lines[-1]):
        return None  # the number of an item that says nothing
    for sentence in reversed(_split(tail)):
        bare = _strip_labels(sentence)
        if _REMARK.fullmatch(bare) or (_NUMBERED.fullmatch(sentence) and sentence != tail.strip()):
            continue
        if _VALUED.search(bare):
            found = _read_sentence(bare)
            if found is not None:
                return found or None
        elif _LABEL.fullmatch(sentence.strip(" \t*#")):
            return None  # it breaks off in a step that says nothing
    return None


def find_stated_words(visible: str) -> str | None:
    """The words after the last "answer is", else the last line if it is short."""
    if any(not box.text for box in boxed_answers(visible)):
        visible = _after_empty_boxes(visible)
    tail = without_emphasis(_ENDING.sub("", visible[-TAIL:]))
    stated = _SAID.findall(tail)
    last = tail.rpartition("\n")[2].strip(" *_")
    if stated:
        return str(stated[-1]).strip(" *_")
    return predicate(last) or (last if 0 < len(last) <= LAST_LINE else None)


def predicate(text: str) -> str | None:
    """The words after the last verb of a sentence such as "So the winner is Evelyn."; None for any other text."""
    match = _PREDICATE.fullmatch(without_emphasis(text).strip())
    return None if match is None or _DOUBTED.search(text) else match[1].strip(" *_\"'")


def _after_empty_boxes(visible: str) -> str:
    """What follows the last box, which is empty if this is called."""
    box = next(boxed_answers(visible), None)
    return visible if box is None else visible[box.end :]


def _breaks_off(lines: list[str]) -> bool:
    """Whether the last line stops within a sentence or formula, or the last two are a scratch calculation."""
    last = without_emphasis(lines[-1])
    if len(lines) > 1 and last.strip().isdigit() and _BARE_COMPUTATION.match(lines[-2]):
        return True
    opened = last.rpartition("\\[")[2] if "\\[" in last else ""
    dollars = last.count("$") - last.count("\\$")
    unclosed = bool(opened and "\\]" not in opened) or (dollars % 2 == 1 and _OPEN_FORMULA.search(last) is not None)
    return unclosed or _BROKEN_OFF.search(last) is not None


def _split(tail: str) -> list[str]:
    """The sentences and lines, without cutting formulas."""
    masked = mask(tail)
    ends = (
        cut
        for cut in _SPLIT.finditer(masked)
        if "\n" in cut[0] or not _BEFORE_ITEM.search(masked, max(0, cut.start() - 15), cut.start())
    )
    cuts = [0, *(end.end() for end in ends), len(tail)]
    pieces = [tail[start:end].strip() for start, end in itertools.pairwise(cuts)]
    return [piece for piece in pieces if piece]


def _strip_labels(sentence: str) -> str:
    """The sentence without the labels of steps and the numbers of items and equations."""
    sentence = _ANSWER.sub("", sentence)
    return _REFERENCE.sub("", _LABEL.sub("", _ENUMERATOR.sub("", sentence)))


def _read_sentence(sentence: str) -> str | None:
    """The value of a sentence; "" if it denies it or gives none, None if an earlier sentence may."""
    if _ASKED.search(sentence):
        return ""
    emphasised = [match[2] or match[3] for match in _EMPHASISED.finditer(sentence)]
    valued = [words for words in emphasised if any(map(str.isdigit, words)) or "$" in words or "\\" in words]
    plain = without_emphasis(sentence)
    if len(valued) == 1:
        before, after = (
            plain.split(without_emphasis(valued[0]), 1) if without_emphasis(valued[0]) in plain else ("", "")
        )
        if not _denies(before, after):
            value = stated_value(valued[0])
            if value is not None:
                return value
    if _OPEN_PARENTHESIS.match(plain) and "(" not in plain:
        return ""
    formula = plain.strip(" .,;*\"'")
    if (
        "$" not in formula
        and "\\boxed" not in formula
        and _FORMULA.search(formula)
        and not _WORDS.search(mask(formula))
    ):
        return undelimit(formula)
    contrast = _CONTRAST.search(plain)
    if contrast is not None and any(map(str.isdigit, plain[: contrast.start()])):
        plain = plain[: contrast.start()]  # it is 42, not 41
    plain = conclusion(plain)
    subject = _SUBJECT.match(plain)
    if subject is not None and not _denies("", plain[subject.end(1) :]):
        return undelimit(subject[1])
    masked = mask(plain)
    for copula in reversed(list(_COPULA.finditer(masked))):
        value = stated_value(plain[copula.end() :])
        if value is not None and "\\boxed" not in value and (any(map(str.isdigit, value)) or "\\" in value):
            return "" if _denies(plain[: copula.end()], plain[copula.end() + len(value) :]) else _complete(plain, value)
    plain = _CJK.sub(r"\1 ", _SPACED_MINUS.sub("-", to_latex(plain))).strip(" '\"")
    if not any(character.isdigit() or character in "$\\" for character in plain):
        return None
    found = find_last_expression(plain)
    if found is None:
        return None
    position = plain.rfind(found)
    if position >= 0 and _denies(plain[:position], plain[position + len(found) :]):
        return ""
    return _complete(plain, found)


def _denies(before: str, after: str) -> bool:
    return _DENIED_BEFORE.search(before[-120:]) is not None or _DENIED_AFTER.match(after[:80]) is not None


def _complete(text: str, found: str) -> str:
    """The value with what belongs to it: the rest of a hedge, a magnitude, a letter at its end."""
    position = text.rfind(found)
    if position < 0:
        return found
    attached = _ATTACHED.match(text, position + len(found))
    if attached is not None:
        return found + attached[0]  # 8x is not 8
    hedge = next((hedge[1] for hedge in _HEDGE.finditer(text) if hedge.start() <= position < hedge.end()), None)
    if hedge is not None:
        return hedge
    magnitude = _MAGNITUDE.match(text, position + len(found))
    return f"{found} {magnitude[1]}" if magnitude else found
