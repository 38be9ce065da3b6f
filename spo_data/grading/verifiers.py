r"""Verifiers: does an answer equal the ground truth?

    verifier = load_verifier("math-verify")
    verifier.grade(r"so it is \boxed{0.5}", r"\frac{1}{2}", None)      # Graded(CORRECT, 1.0, "0.5")

* `math-verify`: mathematical equality (Hugging Face's math-verify). Integers are compared without sympy, ground truths
  that are words (`A`, `yes`) as text. Only the extracted answer is parsed, boxed again: several boxes would merge into
  a set, and `2^{10}` outside LaTeX would parse as 2. A response that marks no answer is read as math-verify reads it:
  "the answer is …", else the last formula or number.
* `exact`: equal text after white space is folded.
* `reasoning-gym`: the generator's own `score_answer`, a float in [0, 1].

They run inside the pool's processes, on the main thread, without a timeout of their own.
"""

import importlib.metadata
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from spo_data.errors import UserError
from spo_data.grading.extract import extract_answer, strip_thinking
from spo_data.grading.verdict import NO_ANSWER, Graded, Verdict

RULES = 1
"""Counts changes of our own rules (extraction, fast paths) that can change a verdict; part of a grader's version."""

Task = Mapping[str, Any]

_INTEGER = re.compile(r"[+-]?(?:\d{1,300}|\d{1,3}(?:,\d{3}){1,99})")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_WORDS = re.compile(r"[A-Za-z]+(?:[ -][A-Za-z]+)*")


class Verifier(Protocol):
    """Grades one response. Raises nothing for a bad answer: whatever it raises is our failure (`grader_error`)."""

    def grade(self, response: str, ground_truth: str, task: Task | None) -> Graded: ...

    def check_gold(self, ground_truth: str, task: Task | None) -> Graded:
        """`correct` where the ground truth verifies against itself, `gold_unparseable` where it does not."""
        ...


def load_verifier(name: str) -> Verifier:
    """The verifier of that name; raises UserError where there is none."""
    if name not in VERIFIERS:
        raise UserError(f"--verifier {name}: choose one of {', '.join(VERIFIERS)}")
    return VERIFIERS[name]()


def verifier_version(name: str) -> str:
    """What a verdict depends on: the library behind the verifier and our own rules."""
    packages = {"math-verify": ("math-verify", "sympy"), "reasoning-gym": ("reasoning-gym",)}.get(name, ())
    return " ".join([*(f"{package} {importlib.metadata.version(package)}" for package in packages), f"rules {RULES}"])


class ExactVerifier:
    """`exact`."""

    def grade(self, response: str, ground_truth: str, task: Task | None) -> Graded:  # noqa: ARG002 # the protocol's
        answer = extract_answer(response)
        if answer is None:
            return NO_ANSWER
        return Graded.scored(float(answer.split() == ground_truth.split()), answer)

    def check_gold(self, ground_truth: str, task: Task | None) -> Graded:
        return _checked(self.grade(f"\\boxed{{{ground_truth}}}", ground_truth, task), ground_truth)


class MathVerifier:
    """`math-verify`."""

    def grade(self, response: str, ground_truth: str, task: Task | None) -> Graded:  # noqa: ARG002 # the protocol's
        answer = extract_answer(response) or _last_expression(response)
        return NO_ANSWER if answer is None else self._compare(answer, ground_truth)

    def check_gold(self, ground_truth: str, task: Task | None) -> Graded:  # noqa: ARG002 # the protocol's
        return _checked(self._compare(ground_truth, ground_truth), ground_truth)

    def _compare(self, answer: str, ground_truth: str) -> Graded:
        gold_integer, answer_integer = _integer(ground_truth), _integer(answer)
        if gold_integer is not None and answer_integer is not None:
            return Graded.scored(float(gold_integer == answer_integer), answer)
        if _WORDS.fullmatch(ground_truth):
            return Graded.scored(float(_words(answer) == _words(ground_truth)), answer)
        gold = _parsed(ground_truth)
        if not gold:
            return Graded.failed(Verdict.GOLD_UNPARSEABLE, f"math-verify cannot parse {ground_truth[:200]!r}", answer)
        parsed = _parsed(answer)
        equal = bool(parsed) and _math_verify().verify(
            list(gold), list(parsed), timeout_seconds=None, raise_on_error=True
        )
        return Graded.scored(float(equal), answer)


class ReasoningGymVerifier:
    """`reasoning-gym`: the problem is generated again from its task, and its generator scores the answer."""

    def grade(self, response: str, ground_truth: str, task: Task | None) -> Graded:
        answer = extract_answer(response)
        return NO_ANSWER if answer is None else self._score(answer, ground_truth, task)

    def check_gold(self, ground_truth: str, task: Task | None) -> Graded:
        return _checked(self._score(ground_truth, ground_truth, task), ground_truth)

    def _score(self, answer: str, ground_truth: str, task: Task | None) -> Graded:
        if task is None:
            raise ValueError("the prompt was not generated by reasoning-gym")
        generator = _generator(task["generator"], tuple(sorted(task["parameters"].items())))
        entry = generator[task["index"]]
        if entry["answer"] != ground_truth:
            raise ValueError("the generator now gives another ground truth: another reasoning-gym version made it")
        return Graded.scored(min(1.0, float(generator.score_answer(answer, entry))), answer)


VERIFIERS: Mapping[str, type[Verifier]] = {
    "math-verify": MathVerifier,
    "exact": ExactVerifier,
    "reasoning-gym": ReasoningGymVerifier,
}


def _checked(graded: Graded, ground_truth: str) -> Graded:
    if graded.verdict is Verdict.CORRECT:
        return graded
    return Graded.failed(
        Verdict.GOLD_UNPARSEABLE, graded.detail or f"{ground_truth[:200]!r} does not verify against itself"
    )


def _integer(text: str) -> int | None:
    text = _bare(text)
    return int(text.replace(",", "")) if _INTEGER.fullmatch(text) else None


def _bare(text: str) -> str:
    """Without the full stop, dollar signs and percent sign around it, which carry no value of their own here."""
    text = text.strip()
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip()
    text = text.strip("$").strip()
    if text.endswith("."):
        text = text[:-1].rstrip()
    return text.removesuffix("%").removesuffix("\\").rstrip()


def is_number(text: str) -> bool:
    """Whether the text is a plain integer or decimal: then one value alone is right, however it is written."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _last_expression(response: str) -> str | None:
    """What math-verify itself takes for the answer of a response that marks none, as the response words it."""
    visible = strip_thinking(response)
    if visible is None or not any(character.isdigit() or character in "$\\" for character in visible):
        return None
    configs = [_math_verify().LatexExtractionConfig(), _math_verify().ExprExtractionConfig()]
    found = _parse(visible, configs, fallback_mode="first_match")
    words = found[-1] if len(found) > 1 else None
    return words if isinstance(words, str) and words.strip() else None


def _parse(text: str, configs: list[Any], fallback_mode: str) -> list[Any]:
    try:
        return list(_math_verify().parse(text, configs, fallback_mode=fallback_mode, parsing_timeout=None))
    except _ParserFailedError as error:
        raise MemoryError(f"math-verify ran out of memory or stack on {text[:80]!r}") from error


class _ParserFailedError(BaseException):
    """math-verify takes every Exception in its parser for "no expression here", which would score 0."""


@lru_cache(maxsize=1)
def _math_verify() -> Any:
    import math_verify
    import math_verify.parser

    def loud(parse: Callable[..., Any]) -> Callable[..., Any]:
        def parse_or_fail(*arguments: Any, **named: Any) -> Any:
            try:
                return parse(*arguments, **named)
            except (MemoryError, RecursionError) as error:
                raise _ParserFailedError from error

        return parse_or_fail

    for name in ("latex2sympy", "parse_expr"):
        setattr(math_verify.parser, name, loud(getattr(math_verify.parser, name)))
    return math_verify


def _words(text: str) -> str:
    text = re.sub(r"\\(?:text|textbf|mathrm|textrm)\s*\{(.*?)\}", r"\1", text.strip().strip("$"))
    return " ".join(text.strip(" .()").split()).casefold()


@lru_cache(maxsize=4096)
def _parsed(expression: str) -> tuple[Any, ...]:
    expression = _bare(expression)
    config = _math_verify().LatexExtractionConfig(boxed_match_priority=0)
    return tuple(_parse(f"\\boxed{{{expression}}}", [config], fallback_mode="no_fallback"))


@lru_cache(maxsize=64)
def _generator(name: str, parameters: tuple[tuple[str, Any], ...]) -> Any:
    from spo_data.dataset_rows import reasoning_gym_dataset

    return reasoning_gym_dataset(name, dict(parameters))
