r"""The verifier `math-verify-plain`: Hugging Face's math-verify as it is.

It is `verify(parse(f"${gold}$"), parse(response))`.

    PlainMathVerifier().grade(r"\boxed{5 6}", "11")          # correct, as the library says

Thinking is not stripped and nothing is corrected. The library's own time limits are off, because the pool has one.
A ground truth in which the library finds nothing is `gold_unparseable`; a response in which it finds nothing is
`no_answer`.

The verifier `math-verify` corrects the library by replacing functions of its modules, and both verifiers may run in one
process (`--also`). So this one imports a copy of the modules, which only it sees.
"""

import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from itertools import product
from typing import Any

from spo_data.grading.verdict import NO_ANSWER, Grade, Verdict
from spo_data.grading.verifiers.base import TextVerifier

_COPIED = ("math_verify", "latex2sympy2_extended")
"""The packages whose functions `math-verify` may replace."""


class PlainMathVerifier(TextVerifier):
    """`math-verify-plain`."""

    reads_thinking = False

    def grade_text(self, response: str, ground_truth: str) -> Grade:
        gold = _parse_gold(ground_truth)
        if not gold:
            return Grade.failed(Verdict.GOLD_UNPARSEABLE, f"math-verify cannot parse {ground_truth[:200]!r}")
        answer = _parse(response)
        if not answer:
            return NO_ANSWER
        text = next((part for part in answer if isinstance(part, str)), str(answer[0]))
        return Grade.scored(float(any(_equals(*pair) for pair in product(gold, answer))), text)


@lru_cache(maxsize=1024)
def _parse_gold(ground_truth: str) -> list[Any]:
    return _parse(f"${ground_truth}$")


def _parse(text: str) -> list[Any]:
    try:
        return list(_load_copy().parse(text, parsing_timeout=None))
    except _OutOfMemoryError as error:
        raise MemoryError(f"math-verify ran out of memory on {text[-80:]!r}") from error


def _equals(gold: Any, answer: Any) -> bool:
    """What `verify` says of one pair of readings. It calls every exception unequal, even one for lack of memory."""
    try:
        return bool(_load_copy().verify(gold, answer, timeout_seconds=None, raise_on_error=True))
    except MemoryError:
        raise
    except Exception:
        return False


class _OutOfMemoryError(BaseException):
    """Not an Exception: the parser catches those. The memory limit is ours, so reaching it is no wrong answer."""


@lru_cache(maxsize=1)
def _load_copy() -> Any:
    """Import math-verify again, whether or not it was imported before; other imports get the modules they had."""
    shared = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in _COPIED}
    try:
        import math_verify
        import math_verify.parser
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in _COPIED]:
            del sys.modules[name]
        sys.modules.update(shared)
    for name in ("latex2sympy", "parse_expr"):
        setattr(math_verify.parser, name, _raise_out_of_memory(getattr(math_verify.parser, name)))
    return math_verify


def _raise_out_of_memory(parse: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(parse)
    def parse_or_raise(*arguments: Any, **named: Any) -> Any:
        try:
            return parse(*arguments, **named)
        except MemoryError as error:
            raise _OutOfMemoryError from error

    return parse_or_raise
