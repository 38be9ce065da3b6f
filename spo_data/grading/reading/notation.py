r"""One notation for the many that mean the same: what every reader after this one relies on.

normalise(r"\left( \dfrac12,\ \sqrt2 \right)")      # r"(\frac{1}{2}, \sqrt{2})"
normalise("6.3x10^-7")                               # r"6.3\times 10^{-7}"
canonical(r"\left( \aleph_{0} \right)")              # r"(\aleph_0)"

`normalise` changes notation only: words, units, names and separators are left to the readers.
"""

import re

from spo_data.grading.reading.dressing import to_latex, undress


def normalise(text: str) -> str:
    """The text in the notation that the other readers expect."""
    text = _NEGATIVE_SPACE.sub("", undress(text))
    text = _CURRENCY.sub("", _DOLLAR.sub(" ", text.replace(r"\$", "")))
    text = _ROWS.sub(lambda rows: _ROW_END.sub(" , ", (rows["inside"] or rows["equations"]).replace("&", "")), text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _BASE_WORD.sub(lambda base: f"_{{{BASES[base[1].lower()]}}}", text)
    text = _PLAIN_POWER.sub(r"\\\1^{\3}(\2)", text)
    return undress(_SPACES.sub(" ", text))


def canonical(text: str) -> str:
    """The text without anything that carries no meaning in a formula: white space, sizes, needless braces."""
    text = normalise(text)
    for _ in range(3):
        text = TEXT_COMMAND.sub(r"\1", text)
    text = _NEEDLESS_BRACES.sub(r"\1", text.replace("\\operatorname", "\\"))
    return _TIGHT.sub("", text).rstrip(".")


def with_constants(text: str) -> str:
    r"""The text with `e` for `\mathrm{e}`, `\pi` for `pi`, `\sin` for `sin`, `\alpha` for `alpha`."""
    text = _ROMAN.sub(lambda match: f"{{{match[1].strip()}}}", text.replace(r"\varnothing", r"\emptyset"))
    return _PLAIN_COMMAND.sub(lambda match: f"\\{match[1]} ", text)


def without_phrases(text: str) -> str:
    r"""The text with the words of `\text{…}` and its kind in place of the command."""
    return to_latex(TEXT_COMMAND.sub(r" \1 ", _BRACED_POWER.sub(r"^\1", text)))


TEXT_NAMES = r"(?:text(?:bf|rm|it|sf|normal)?|textnormal|math(?:rm|bf|it|sf)|mbox|operatorname\*?)"
"""The commands whose argument is words."""
TEXT_COMMAND = re.compile(rf"\\{TEXT_NAMES}\s{{0,4}}\{{([^{{}}]*)\}}")
FUNCTIONS = (
    *("arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh", "coth", "sin", "cos", "tan", "cot", "sec", "csc"),
    *("log", "ln", "exp"),
)
GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "theta", "kappa", "lambda", "mu", "sigma", "tau", "phi"),
    *("omega", "psi", "chi", "rho", "Delta", "Omega", "Gamma", "pi"),
)

_NEGATIVE_SPACE = re.compile(r"\\!\s*")
_BRACED_POWER = re.compile(r"\^\{(-?\d)\}")
_CURRENCY = re.compile(r"\A\s*(?:USD?|EUR|GBP|CNY|RMB|INR|CAD|AUD|Rs\.?)(?=\s*\d)")
_DOLLAR = re.compile(r"\$")
_NEEDLESS_BRACES = re.compile(r"\{(\w|\\[A-Za-z]+)\}")
_TIGHT = re.compile(r"\s+(?![A-Za-z\d])|(?<![A-Za-z\d])\s+|(?<=[A-Za-z])\s+(?=\d)|(?<=\d)\s+(?=[A-Za-z])")
_SPACES = re.compile(r"\s+")
_END = r"(?![A-Za-z])"
_ARGUMENT = r"(\d|[A-Za-z]|\\(?:pi|alpha|beta|theta|phi|lambda|mu|omega|infty)(?![A-Za-z]))"
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right)\s*\.", ""),
        (
            r"\\(?:left|right|[bB]ig{1,2}[lr]?|displaystyle|textstyle|boldsymbol|bm|bf|rm|it|sf|nolimits|limits)"
            + _END,
            "",
        ),
        (r"\\(?:checkmark|blacksquare|therefore|qed)" + _END, ""),
        (r"(?<=.)\^\s*\{\s*\}", ""),
        (r"\\lbrace" + _END, r"\\{"),
        (r"\\rbrace" + _END, r"\\}"),
        (r"\\colon" + _END, ":"),
        (r"\\wedge" + _END, r"\\land "),
        (r"\\vee" + _END, r"\\lor "),
        (r"\\(mathbb|mathcal|vec|bar|hat|tilde)\s+([A-Za-z])(?![A-Za-z])", r"\\\1{\2}"),
        (r"\\overline\s*\{\s*([A-Za-z])\s*\}", r"\\bar{\1}"),
        (r"\\mathrm\s*\{\s*d\s*\}", "d"),
        (r"(?<![A-Za-z\\])d([a-z])\s*/\s*d([a-z])(?![A-Za-z])", r"\\frac{d\1}{d\2}"),
        (r"(?<=\.)(\d*)\\dot\s*\{\s*(\d)\s*\}(?!\d|\\dot)", r"\1\\overline{\2}"),
        (r"\{\s*([\w\s]+?)\s*\\choose\s*([\w\s]+?)\s*\}", r"\\binom{\1}{\2}"),
        (r"\A\s*([\w\s]+?)\s*\\choose\s*([\w\s]+?)\s*\Z", r"\\binom{\1}{\2}"),
        (rf"\\{TEXT_NAMES}\s*\{{[\s~]*\^\s*(?:\{{\s*\\circ\s*\}}|\\circ)\s*([A-Za-z]?)\s*\}}", r"^{\\circ} \\text{\1}"),
        (r"\\pounds" + _END + r"|\\text\s*\{\s*(?:USD?|EUR|GBP|CNY|RMB|INR|CAD|AUD|Rs\.?)\s*\}(?=\s*\d)", ""),
        (r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\]", r"\\\\ "),
        (r"_\s*\{\s*\(\s*(\d+)\s*\)\s*\}", r"_{\1}"),
        (r"\\log\s*_\s*\{(\w+)\}\s*\{(\w+)\}", r"\\log_{\1}(\2)"),
        (r"\(\s*\\text\s*\{\s*mod\s*\}\s*(\w+)\s*\)", r"\\pmod \1"),
        (r"\\(?:large|Large|LARGE|huge|Huge|small|mathstrut|allowbreak|nonumber)" + _END, ""),
        (r"\\tag\s*\{[^{}]*\}|\\phantom\s*\{[^{}]*\}", ""),
        (r"(?:(?<!\\)\\[,;: ]|\\q?quad(?![A-Za-z])|\\[hv]space\s*\{[^{}]*\}|\\enspace(?![A-Za-z])|~)", " "),
        (r"\\text\s*\{\s*\}", ""),
        (r"\\([dtc])frac" + _END, r"\\frac"),
        (r"\\[dt]binom" + _END, r"\\binom"),
        (r"\\(?:leqslant|leq)" + _END, r"\\le "),
        (r"\\(?:geqslant|geq)" + _END, r"\\ge "),
        (r"\\neq" + _END, r"\\ne "),
        (r"\\lt" + _END, "<"),
        (r"\\gt" + _END, ">"),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"(?<=\s)!=(?=\s)", r"\\ne "),
        (r"\\(pm|mp)([A-Za-z])(?![A-Za-z])", r"\\\1 \2"),
        (r"\\(max|min|gcd)\s*\\\{(.*?)\\\}", r"\\\1(\2)"),
        (r"\\(?:varnothing|O)" + _END, r"\\emptyset "),
        (r"\\overrightarrow" + _END, r"\\vec"),
        (r"\\widehat" + _END, r"\\hat"),
        (r"\\widetilde" + _END, r"\\tilde"),
        (r"\\(?:lVert|rVert)" + _END, r"\\|"),
        (r"\\(?:lvert|rvert|vert)" + _END, "|"),
        (r"\\text\s*\{[\s,]*or\s+(?:about|approximately|roughly)\s*\}", r"\\approx "),
        (r"\\(?:simeq|thickapprox|doteq)" + _END, r"\\approx "),
        (r"\+-", r"\\pm "),
        (r"\*\*", "^"),
        (r"(?<=\d)\s*[xX]\s*10\s*\^", r"\\times 10^"),
        (r"\^\s*(-?\d+)(?![\d.])(?<=..)(?=\s*(?:$|[,;)\]\s]))", r"^{\1}"),
        (r"\^\s*\(([^()]{1,60})\)", r"^{(\1)}"),
        (r"\\frac\s*" + _ARGUMENT + r"\s*" + _ARGUMENT, r"\\frac{\1}{\2}"),
        (r"\\frac\s*" + _ARGUMENT + r"\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*" + _ARGUMENT, r"\1{\2}"),
        (r"(\\sqrt\s*(?:\[[^\[\]]*\])?)\s*" + _ARGUMENT, r"\1{\2}"),
        (r"(\\sqrt\s*(?:\[[^\[\]]*\])?)\s*\(([^()]*)\)", r"\1{\2}"),
        (r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\lg" + _END, r"\\log_{10} "),
        (r"\\log\s*_\s*(\d|[a-z])(?=[\s(\d\\])", r"\\log_{\1}"),
        (r"_\{?\\text\{\s*(?:base\s*)?(\d+)\s*\}\}?", r"_{\1}"),
        (r"\\pmod\s*\{([^{}]*)\}", r"\\pmod \1"),
        (r"\(\s*\\?mod\s+([^()]*)\)", r"\\pmod \1"),
        (r"(?<=\\equiv)([^\\]*)\\(?:bmod|mod)\s*\{?([A-Za-z0-9]+)\}?", r"\1\\pmod \2"),
    )
)
BASES = {
    word: number
    for number, word in enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], start=2)
}
_BASE_WORD = re.compile(rf"(?<=[\d)])\s*_\s*\{{\s*\\text\s*\{{\s*({'|'.join(BASES)})\s*\}}\s*\}}", re.IGNORECASE)
_ROWS = re.compile(
    r"\A\s*\\begin\s*\{(?P<kind>aligned|align\*?|gathered|gather\*?|split)\}(?P<inside>.*)\\end\s*\{(?P=kind)\}\s*\Z"
    r"|\A\s*(?:\\left\s*)?(?:\\\{)?\s*\\begin\s*\{(?P<system>cases|array)\}\s*(?:\{[lcr]\})?(?P<equations>[^&]*=[^&]*)"
    r"\\end\s*\{(?P=system)\}\s*(?:\\right\s*\.)?\s*\Z",
    re.DOTALL,
)
_ROW_END = re.compile(r"\\\\(?:\s*\[[^\[\]]*\])?")
_ROMAN = re.compile(rf"\\{TEXT_NAMES}\s*\{{([eixyznkabc]|\\pi)\}}(?!\s*[A-Za-z])")
_PLAIN_COMMAND = re.compile(rf"(?<![\\A-Za-z])({'|'.join((*FUNCTIONS, *GREEK))})(?:(?![A-Za-z])(?!\}})|(?=[xyt]\b))")
_PLAIN_POWER = re.compile(rf"(?<![\\A-Za-z])({'|'.join(FUNCTIONS)})\s*\(([^()]*)\)\s*\^\s*\{{?(-?\d+)\}}?")
