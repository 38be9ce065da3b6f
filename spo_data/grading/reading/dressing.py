r"""Removing typography that does not change an answer's value: delimiters, spaces, Unicode signs.

undress(r" $\text{42}$. ")      # "42"
to_latex("√2 + ½")                # r"\sqrt{2} + \frac{1}{2}"
split_percent(r"50\%")            # ("50", True)
"""

import re


def undress(text: str) -> str:
    r"""The text as LaTeX, without surrounding white space, dollar signs, `\(…\)`, `\text{…}` or full stop."""
    text = to_latex(text)
    for _ in range(8):
        before = text
        text = _EDGE_SPACE.sub("", text)
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
        text = text.removeprefix("\\$").removesuffix("\\$").strip("$€£¥₹`;\u201c\u201d").strip()
        text = _COLOURED.sub(r"{\1}", text)
        for left, right in _PAIRS:
            if text.startswith(left) and text.endswith(right) and len(text) >= len(left) + len(right):
                inner = text[len(left) : -len(right)]
                if right != "}" or has_balanced_braces(inner):
                    text = inner
        if text == before:
            break
    return text


def to_latex(text: str) -> str:
    """The text with LaTeX for Unicode mathematics, without invisible characters, and with long runs of space as one."""
    if not text.isascii():
        text = _ROOT.sub(lambda root: f"\\sqrt{_INDEX.get(root[1], '')}{{{root[2]}}}", _INVISIBLE.sub("", text))
        text = _SUPERSCRIPTS.sub(lambda run: f"^{{{run[0].translate(_FROM_SUPERSCRIPT)}}}", text.translate(_SYMBOLS))
    return _LONG_SPACE.sub(" ", text)


def split_percent(text: str) -> tuple[str, bool]:
    """The text without a percent sign at its end, and whether it had one."""
    match = _PERCENT.search(text)
    return (text[: match.start()].rstrip(), True) if match else (text, False)


def has_balanced_braces(text: str) -> bool:
    """Whether the braces are balanced, not counting escaped ones."""
    depth = 0
    for token in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth < 0:
            return False
    return depth == 0


_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_ROOT = re.compile("([\u221a\u221b\u221c])\\s*(\\d+|[A-Za-z]|(?<=[\u221a\u221b\u221c])\\((?:[^()]*)\\))")
_INDEX = {"\u221b": "[3]", "\u221c": "[4]"}
_SUPERSCRIPTS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_FROM_SUPERSCRIPT = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_SYMBOLS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2013\uff0d\u2010\u2011", "-"),
        **dict.fromkeys("\u00a0\u202f\u2009\u2007\u3000", " "),
        "\u00d7": r"\times ",
        "\u00b7": r"\cdot ",
        "\u00f7": r"\div ",
        "\u221e": r"\infty ",
        "\u03c0": r"\pi ",
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
        "\u3001": ",",
        "\u2a7d": r"\le ",
        "\u2a7e": r"\ge ",
        "\u2264": r"\le ",
        "\u2265": r"\ge ",
        "\u2260": r"\ne ",
        "\u2248": r"\approx ",
        "\u222a": r"\cup ",
        "\u2229": r"\cap ",
        "\u2208": r"\in ",
        "\u2205": r"\emptyset ",
        "\u00b0": r"^\circ ",
        "\u00bd": r"\frac{1}{2}",
        "\u2153": r"\frac{1}{3}",
        "\u2154": r"\frac{2}{3}",
        "\u00bc": r"\frac{1}{4}",
        "\u00be": r"\frac{3}{4}",
        "\u2044": "/",
        "\u2236": ":",
        "\u00a2": r"\text{ cents}",
        **{chr(0x2080 + digit): f"_{digit}" for digit in range(10)},
        **dict(zip("\uff0c\u3002\uff1a\uff08\uff09\uff0e", ",.:().", strict=True)),
    }
)
_LONG_SPACE = re.compile(r"(?:\s|~|\\[,;:! ]|\\q?quad(?![A-Za-z])){4,}|\s+(?=\s)")
_EDGE_SPACE = re.compile(r"^(?:\s|~|&|\\[,;:! ])+|(?:\s|~|\\[,;:! ]|(?<!\\)\\{1,2}\Z)+$")
_COLOURED = re.compile(r"^\\(?:textcolor|color)\s*\{[a-z]+\}\s*\{?([^{}]*)\}?$")
_PAIRS = (
    *(("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("{", "}")),
    *(
        (f"\\{name}{{", "}")
        for name in (
            *("text", "textbf", "textit", "textrm", "textsf", "texttt", "emph", "underline", "mbox", "boxed"),
            *("mathrm", "mathbf", "mathit", "mathsf", "mathtt"),
        )
    ),
)
_PERCENT = re.compile(r"(?:\\?%|\\text\{\s*(?:\\?%|per\s?cent)\s*\}|\bper\s?cent)$")
