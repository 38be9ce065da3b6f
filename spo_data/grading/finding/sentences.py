r"""Finding the value that a sentence states, in the sentence's own wording.

    stated_value("12 ways, as we saw.")                 # "12 ways"
    stated_value("a matter of taste")                   # None
    find_value("There are 12 ways to choose 3 of 5.")   # "12 ways"
    without_emphasis("It is **73**.")                   # "It is 73."

A value begins with a digit, a sign, a bracket, LaTeX or a lone symbol, and ends where the sentence explains it.
Formulas between dollar signs are never cut.
"""

import re

MAX_SENTENCE = 600
"""A longer sentence is prose, not an answer."""

_MARKUP = re.compile(
    r"(?<![\w*)\]}\\])(?P<stars>\*{1,3})(?=[^\s*])(?P<starred>[^\n*]{1,300}?)(?<=[^\s*])(?P=stars)(?![\w*(])"
    r"|(?<![\w`])(?P<ticks>`{1,3})(?P<ticked>[^\n`]{1,300})(?P=ticks)(?!\w)"
    r"|(?<![\w\\}])(?P<scores>_{1,3})(?=[^\s_{])(?P<scored>[^\n_\\${}]{1,100}?)(?P=scores)(?!\w)"
    r"|(?<!=)==(?P<marked>[^\n=]{1,100})==(?!=)|~~[^\n~]{1,100}~~|</?(?:b|strong|em|i|u|code|mark|span|p)>|<br\s?/?>"
)
_QUOTES = "\"'\u201c\u201d\u2018\u2019\u00ab\u00bb\u300c\u300d"
_MATH = re.compile(
    r"\$\$[^$]{1,600}\$\$|\$[^$\n]{1,600}\$|\\\((?:[^\\]|\\[^)]){1,600}?\\\)|\\\[(?:[^\\]|\\[^\]]){1,600}?\\\]"
    r"|\\(?:text|mathrm|textbf|mbox)\s?\{[^{}]{0,200}\}"
)
_DELIMITER = re.compile(r"\$\$?|\\[()\[\]]")

_ADVERB = re.compile(
    r"(?:(?:about|approximately|approx\.?|roughly|exactly|precisely|simply|just|therefore|thus|hence|then|indeed|only"
    r"|equal to|given by|at|now|also|again|obviously|clearly|actually|still|found to be|a total of|the number|the value"
    r"|option|choice|letter|\u9009\u9879?|:|\uff1a)(?![A-Za-z])[\s:,]*){1,4}",
    re.IGNORECASE,
)
_FUNCTIONS = r"(?:sin|cos|tan|cot|sec|csc|ln|log|exp|sqrt|pi|arcsin|arccos|arctan|max|min|gcd|lcm|infinity|inf|oo)"
_VALUE = re.compile(
    rf"[-+\u2212\u2013~\u2248\u00b1<>=\u2264\u2265\s]{{0,4}}(?:[$\u20ac\u00a3\u00a5\\(\[{{|.]?\s?[\d\\(\[{{|\u221a\u03c0\u221e\u2205\u00bd\u2153\u2154\u00bc\u00be]"
    rf"|\$|{_FUNCTIONS}(?![A-Za-z])"
    r"|[B-HJ-Zb-hj-z](?![A-Za-z'\u2019])|[AaIi](?=\s*(?:$|[.,;:)=+*/^_<>\u2264\u2265-]|(?:and|or|because|since|as)\b))"
    r"|[A-Z]{2,4}(?=\s*=))"
)
"""How a value begins."""
_CLAUSE = re.compile(
    r",?\s+(?:because|since|so|as|which|who|that|when|where|while|whose|if|for|after|before|but|not|rather|thus"
    r"|therefore|hence|is|are|was|were|has|have|had|using|given|rounded|corresponding|satisf\w+|such|into|on|of|does"
    r"|(?:more|fewer|less)(?=\s+[a-z]+\s+than\b)|(?:to|by|with|from|at|in)(?=\s+[A-Za-z])|and\s+(?:we|it|so|the|this|that|thus|hence|I|not|then|therefore)"
    r"|that's|it's|i\.e|e\.g|namely|approximately|about|roughly|equivalently|or\s+(?:about|approximately|equivalently))\b|,\s+(?=[a-z]{2,}\s+[a-z])|\s+(?:\u2014|--)\s?(?=[A-Za-z]{2})|;\s+(?=[a-z]{3})|\s+\((?=[a-z]{3,}\s[a-z]|(?:see|by|from|as|using|cf)\b)"
)
"""Where a sentence goes on to explain the value."""
_END = re.compile(r"(?<!\.)[.!?](?=\s|$|[)\"'*\u201d])|[\u3002\uff01\uff1f]|\n|</?[A-Za-z_]{2,20}>")
_NUMBER = re.compile(r"[\d$\\]")
_COPULA = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|becomes?|makes?|gives?|gets?|gains?|earns?|costs?|needs?|takes?|totals?|has|have"
    r"|obtain|find|yields?|contains?|exist|remains?|leaves?|leaving|it's|that's|there's)"
    r"|(?<![<>!:=])=(?!=)|:|\u662f|\u4e3a|\uff1a|\u5171\u6709|\u7b49\u4e8e)\s*"
)
_PROSE = re.compile(r"(?<![\\A-Za-z])(?!(?:and|or)(?![A-Za-z]))[A-Za-z]{2,}(?![A-Za-z(_])")


_CONCLUSION = re.compile(
    r"\b(?:so|thus|hence|therefore|giving|making|totall?ing|leaving|meaning|resulting in|for a total of"
    r"|which (?:gives|makes|is|means|leaves))\b",
    re.IGNORECASE,
)


def without_emphasis(text: str) -> str:
    """The text without markdown and HTML emphasis, and without backticks around words."""
    for _ in range(3):  # bold around code, or italics in bold
        before, text = text, _MARKUP.sub(_inside, text)
        if text == before:
            break
    return text


def stated_value(rest: str) -> str | None:
    """The value that the words after "the answer is" begin with; None if they begin with none."""
    text = without_emphasis(rest[:MAX_SENTENCE].replace('\\"', '"')).lstrip(" \t*_`:")
    adverb = _ADVERB.match(text)
    text = (text[adverb.end() :] if adverb else text).lstrip(" \t\n*_`")
    quoted = text.lstrip(_QUOTES)
    text = _EITHER.sub("", quoted if quoted != text else text)
    if not _VALUE.match(text):
        return None
    masked = mask(text)
    ends = [end.start() for end in (_END.search(masked), _CLAUSE.search(masked)) if end]
    value = undelimit(text[: min(ends, default=len(text))])
    return (value.rstrip(_QUOTES) if len(quoted) < len(text) else value) or None


def find_value(text: str) -> str | None:
    """The value that a marked text states: the text itself if it begins with a value, else that of its sentence."""
    if not is_prose(text) and _VALUE.match(text):
        return text
    value = stated_value(text)
    if value is not None:
        return value
    bare = conclusion(without_emphasis(text[-MAX_SENTENCE:]))
    masked = mask(bare)
    for copula in reversed(list(_COPULA.finditer(masked))):
        value = stated_value(bare[copula.end() :])
        if value is not None:
            return value
    return None


def conclusion(sentence: str) -> str:
    """What follows the last "so" or "therefore" of a sentence, if it has a number or formula; else the sentence."""
    masked = mask(sentence)
    for word in reversed(list(_CONCLUSION.finditer(masked))):
        if _NUMBER.search(sentence, word.end()):
            return sentence[word.end() :]
    return sentence


def mask(text: str) -> str:
    """The text with formulas blanked, at the same length, so that words and ends of sentences can be looked for."""
    return _MATH.sub(lambda match: "#" * len(match[0]), text)


def undelimit(text: str) -> str:
    r"""The text without formula delimiters, currency signs before digits, and surrounding quotes."""
    text = _DELIMITER.sub("", text.replace("\\$", "")) if len(text) < MAX_SENTENCE else text
    return text.strip(' \t\n,;:*`|"\u201c\u201d\uff0c\u3001\uff1b').removesuffix("\\").strip()


def is_prose(text: str) -> bool:
    """Whether the text has words that are no part of a formula."""
    return _PROSE.search(mask(text)) is not None


_EITHER = re.compile(r"^either\s+", re.IGNORECASE)


def _inside(match: re.Match[str]) -> str:
    return match["starred"] or match["ticked"] or match["scored"] or match["marked"] or ""
