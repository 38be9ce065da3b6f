r"""The verifiers by name, and what a verifier is.

    verifier = load_verifier("math-verify")
    verifier.grade(r"so it is \boxed{0.5}", r"\frac{1}{2}")      # Grade(CORRECT, 1.0, "0.5")

* `math-verify`: mathematical equality (Hugging Face's math-verify, corrected), words as text. The default.
* `math-verify-plain`: Hugging Face's math-verify as it is.
* `dapo`: verl's `math_dapo` with strict box, verdict for verdict.
* `exact`: equal text, with runs of white space counted as one space.
* `choice`: one letter from A to J.
* `reasoning-gym`: the generator's own `score_answer`, a float in [0, 1].
* `FILE.py:FUNCTION`: a function with the signature of verl's `compute_score`.

They run inside the pool's processes, on the main thread, without a timeout of their own.
"""

import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from spo_data.errors import UserError
from spo_data.grading.verdict import ExtraInfo, Grade
from spo_data.grading.verifiers.choice import ChoiceVerifier
from spo_data.grading.verifiers.dapo import DapoVerifier
from spo_data.grading.verifiers.exact import ExactVerifier
from spo_data.grading.verifiers.math_verify import MathVerifier
from spo_data.grading.verifiers.math_verify_plain import PlainMathVerifier
from spo_data.grading.verifiers.reasoning_gym import ReasoningGymVerifier
from spo_data.grading.verifiers.reward_function import RewardFunction, is_reward_function, reward_function_version
from spo_data.prompts.identity import Prompt

PLAIN = "math-verify-plain"
RULES = 3
"""Part of a grader's version; counts changes of our own rules (extraction, fast paths) that can change a verdict."""
# math-verify reads a formula with latex2sympy2-extended, whose grammar two releases of antlr4 read differently; pint
# knows the units.
_MATH_PACKAGES = ("math-verify", "latex2sympy2-extended", "antlr4-python3-runtime", "sympy")
_PACKAGES = {
    "math-verify": (*_MATH_PACKAGES, "pint"),
    PLAIN: _MATH_PACKAGES,
    "reasoning-gym": ("reasoning-gym", "sympy"),
}
"""The packages that decide a verifier's verdicts."""
_IMPORTED_AS = {"antlr4-python3-runtime": "antlr4"}
"""Packages whose module has another name than theirs with underscores."""


class Verifier(Protocol):
    """Grades one response. A bad answer raises nothing: any exception is our failure (`grader_error`)."""

    reads_thinking: bool
    """Whether it strips thinking. If so, the worker adds the `<think>` that the prompt's end had opened."""

    @staticmethod
    def select_read(extra_info: ExtraInfo, data_source: str) -> Mapping[str, Any]:
        """Return what a verdict depends on of these two, by field."""
        ...

    def grade(self, response: str, ground_truth: str, extra_info: ExtraInfo = None, data_source: str = "") -> Grade: ...

    def check_gold(self, ground_truth: str, extra_info: ExtraInfo = None, data_source: str = "") -> Grade:
        """`correct` if the ground truth verifies against itself, else `gold_unparseable`."""
        ...


VERIFIERS: Mapping[str, type[Verifier]] = {
    "math-verify": MathVerifier,
    PLAIN: PlainMathVerifier,
    "dapo": DapoVerifier,
    "exact": ExactVerifier,
    "choice": ChoiceVerifier,
    "reasoning-gym": ReasoningGymVerifier,
}


def load_verifier(name: str, option: str = "--verifier") -> Verifier:
    """The verifier with this name; raises UserError, which names `option`, if there is none."""
    if is_reward_function(name):
        return RewardFunction(name, option)
    if name not in VERIFIERS:
        raise UserError(f"{option} {name}: choose one of {', '.join(VERIFIERS)}, or FILE.py:FUNCTION")
    return VERIFIERS[name]()


def reading(*names: str) -> Callable[[Prompt], Mapping[str, Any]]:
    """Return a function that returns what these verifiers read of a prompt beside its ground truth, by field.

    Their names need not exist here: a reward function's file is not opened, and a name that is unknown reads nothing.
    """
    kinds: list[type[Verifier]] = [VERIFIERS[name] for name in names if name in VERIFIERS]
    if any(map(is_reward_function, names)):
        kinds = [RewardFunction]  # it reads whatever the others read

    def read(prompt: Prompt) -> Mapping[str, Any]:
        fields = [kind.select_read(prompt.extra_info, prompt.data_source) for kind in kinds]
        return {field: value for each in fields for field, value in each.items()}

    return read


def verifier_version(name: str) -> str:
    """What a verdict depends on: the versions of the libraries and of our own rules, or of the function's files."""
    if is_reward_function(name):
        return reward_function_version(name)
    packages = (f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES.get(name, ()))
    return " ".join([*packages, *([] if name == PLAIN else [f"rules {RULES}"])])  # no rule of ours decides there


def verifier_modules(name: str) -> set[str]:
    """The top-level modules of the packages that decide a verifier's verdicts."""
    return {_IMPORTED_AS.get(package, package.replace("-", "_")) for package in _PACKAGES.get(name, ())}
