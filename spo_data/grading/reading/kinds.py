"""The kinds of answers.

    read_answer("x = 5 \\text{ cm}")     # Answer(Quantity(Number(5), "cm"), names=("x",))

An `Answer` is a value with what was said around it. The value's class is its kind, and decides how it is compared.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from spo_data.grading.reading.numbers import Number


class Form(StrEnum):
    """How the items of a collection were written, which decides whether their order counts."""

    LIST = "list"
    """`1, 2`, or "1 and 2": what a problem with several answers has."""
    TUPLE = "tuple"
    """`(1, 2)`, a vector in angle brackets."""
    SET = "set"
    r"""`\{1, 2\}`."""
    INTERVAL = "interval"
    """`[1, 2)`: two ends, at least one of them in square brackets."""
    COLUMN = "column"
    """A matrix of one column."""
    RATIO = "ratio"
    """`1 : 2`."""
    EITHER = "either"
    r"""The same value in several notations: `\frac{7}{3} \approx 2.33`. Any of them may be the ground truth."""


@dataclass(frozen=True, slots=True)
class Numeral:
    """An integer with its base, `101_2`."""

    text: str


@dataclass(frozen=True, slots=True)
class Expression:
    """Anything in mathematical notation that is none of the other kinds: math-verify reads it."""

    latex: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a unit, or of something that is counted. Units are compared only if several tell items apart."""

    value: Number | Numeral | Expression
    unit: str
    r"""In lower case and without a plural's s; `%` for a percentage of an expression."""


@dataclass(frozen=True, slots=True)
class Relation:
    """An equation that gives no value, an inequality or a membership."""

    latex: str


@dataclass(frozen=True, slots=True)
class Congruence:
    r"""`3 \pmod 7`."""

    residue: "Answer"
    modulus: str


@dataclass(frozen=True, slots=True)
class Collection:
    """Several answers in one form."""

    form: Form
    items: tuple["Answer", ...]
    brackets: str = ""
    """Of an interval, such as `[)`."""
    latex: str = ""
    """As it was written, for math-verify."""


@dataclass(frozen=True, slots=True)
class Text:
    """Words, or notation that nothing here reads: equal only to the same text."""

    folded: str
    is_words: bool = True
    """False for notation: that it differs says less than that words differ."""


Value = Number | Numeral | Quantity | Expression | Relation | Congruence | Collection | Text


@dataclass(frozen=True, slots=True)
class Answer:
    """A value, its names and the remark after it.

    `f(2) = 3` has the name "f(2)", and `(x, y) = (1, 2)` has items named x and y. The remark, such as "(about 1.41)" or
    "for all n", is kept for people: no rule compares it.
    """

    value: Value
    names: tuple[str, ...] = ()
    remark: str = ""
    text: str = field(default="", compare=False)
    """As it was written, normalised."""
