"""The verifier `FILE.py:FUNCTION`: the user's own reward function, with verl's signature.

    def compute_score(data_source, solution_str, ground_truth, extra_info):    # --verifier my.py:compute_score
        return float(solution_str.strip().endswith(ground_truth))

The function gets the whole response, thinking included, as in verl. Like every verifier it runs in a process with a
memory limit, which is killed at the time limit. An exception, a hang or a crash is `grader_error` or `grader_timeout`,
never a score. The function returns a number in [0, 1] or, as verl's rewards do, a dict: the score is `acc` if present,
else `score`, and `pred` is the answer. What it prints is not shown. The function may be an `async def`.
"""

import asyncio
import importlib.util
import inspect
import numbers
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, cast

from spo_data.errors import UserError, first_line, reason
from spo_data.files import read_regular
from spo_data.grading.finding.extract import extract_answer
from spo_data.grading.verdict import ExtraInfo, Grade
from spo_data.grading.verifiers.reward_files import describe_files

_DRESSINGS = ("\\boxed{{{}}}", "Answer: {}", "<answer>{}</answer>", "#### {}", "{}")
"""How responses usually mark an answer: a function must recognise the ground truth in one of these forms."""


class RewardFunction:
    """A function in a file. The file is imported at the first call, in a grading process."""

    reads_thinking = False

    @staticmethod
    def select_read(extra_info: ExtraInfo, data_source: str) -> Mapping[str, Any]:
        """Return both: a function may depend on all that it gets."""
        return {"data_source": data_source, "extra_info": extra_info}

    def __init__(self, name: str, option: str = "--verifier") -> None:
        self._path, self._function_name = split_name(name, option)
        self._function: Callable[..., Any] | None = None

    def grade(self, response: str, ground_truth: str, extra_info: ExtraInfo = None, data_source: str = "") -> Grade:
        result = self.load()(
            data_source=data_source,
            solution_str=response,
            ground_truth=ground_truth,
            extra_info=dict(extra_info or {}),
        )
        if inspect.iscoroutine(result):
            result = asyncio.run(cast(Coroutine[Any, Any, Any], result))
        answer = result.get("pred") if isinstance(result, Mapping) else None
        return Grade.scored(_score(result), plain_text(answer) if isinstance(answer, str) else extract_answer(response))

    def check_gold(self, ground_truth: str, extra_info: ExtraInfo = None, data_source: str = "") -> Grade:
        """`correct` if the function gives the ground truth, in one of the usual forms of an answer, the full score."""
        for dressing in _DRESSINGS:
            graded = self.grade(dressing.format(ground_truth), ground_truth, extra_info, data_source)
            if graded.score == 1.0:
                return graded
        return graded.as_gold_check(ground_truth)

    def load(self, read: Callable[[Path], bytes] = Path.read_bytes) -> Callable[..., Any]:
        """The function; raises UserError if the file does not define it, and whatever importing the file raises.

        `read` returns the file's content, and may refuse it.
        """
        if self._function is None:
            spec = importlib.util.spec_from_file_location(f"spo_reward_{self._path.stem}", self._path)
            if spec is None:
                raise UserError(f"{self._path} is not a Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # dataclasses and pickle look up their module there
            sys.path.insert(0, str(self._path.parent.absolute()))  # for imports of modules beside it
            exec(compile(read(self._path), str(self._path), "exec", dont_inherit=True), module.__dict__)
            function = getattr(module, self._function_name, None)
            if not callable(function):
                raise UserError(f"{self._path} has no function {self._function_name}")
            try:
                inspect.signature(function).bind(data_source="", solution_str="", ground_truth="", extra_info={})
            except TypeError as error:
                raise UserError(
                    f"{self._function_name} does not have verl's compute_score signature: {error}"
                ) from None
            self._function = function
        return self._function


def is_reward_function(name: str) -> bool:
    """Whether a verifier's name is that of a function in a file."""
    return ".py:" in name


def parse_name(name: str) -> tuple[Path, str]:
    """File and function, whatever they are."""
    file, _, function = name.rpartition(":")
    return Path(file).absolute(), function  # a reward function may change the working directory


def split_name(name: str, option: str = "--verifier") -> tuple[Path, str]:
    """File and function; raises UserError, which names `option`, if the file cannot be read or compiled."""
    path, function = parse_name(name)
    try:
        compile(read_regular(path), str(path), "exec")
    except OSError as error:
        raise UserError(f"{option} {name}: {path} cannot be read: {reason(error)}") from error
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"{option} {name}: {path} is not Python: {first_line(error)}") from error
    if not function.isidentifier():
        raise UserError(f"{option} {name}: name a function, as in {path}:compute_score")
    return path, function


def reward_function_version(name: str) -> str:
    """The function's name and the checksums of its file and of the modules beside it that are imported."""
    path, function = split_name(name)
    return describe_files(function, path)


def plain_text(text: str) -> str:
    """The text as a plain `str`: the parent process cannot unpickle a subclass from the user's file."""
    return str.encode(text, errors="surrogatepass").decode(errors="surrogatepass")


def _score(result: Any) -> float:
    value = result
    if isinstance(result, Mapping):
        value = result.get("acc", result.get("score"))
    if hasattr(value, "item"):
        value = value.item()  # numpy and torch scalars
    if isinstance(value, numbers.Real) and 0.0 <= float(value) <= 1.0:  # false for nan, too
        return float(value)
    raise ValueError(f"the reward must be a number from 0 to 1, or a dict with acc or score, not {result!r:.100}")
