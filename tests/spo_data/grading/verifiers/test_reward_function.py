"""A user's reward function as a verifier: what it is given, and how its result is read."""

import shutil
from pathlib import Path

import pytest

from spo_data.errors import UserError
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.verifiers.registry import load_verifier, verifier_version
from spo_data.grading.verifiers.reward_function import (
    RewardFunction,
    is_reward_function,
    reward_function_version,
    split_name,
)


def function(folder: Path, source: str, name: str = "judge") -> RewardFunction:
    path = folder / "reward.py"
    path.write_text(source)
    return RewardFunction(f"{path}:{name}")


def returning(folder: Path, value: str) -> RewardFunction:
    source = f"import math\ndef judge(data_source, solution_str, ground_truth, extra_info):\n    return {value}\n"
    return function(folder, source)


def test_the_arguments_are_passed_by_keyword_as_verl_does_and_nothing_else(tmp_path: Path) -> None:
    reward = function(
        tmp_path, "SEEN = []\ndef judge(*args, **named):\n    SEEN.append((args, named))\n    return 1.0\n"
    )
    reward.grade("<think>x</think> 5", "5", {"a": [1]}, "math/x")
    reward.grade("6", "5")
    assert reward.load().__globals__["SEEN"] == [
        (
            (),
            {
                "data_source": "math/x",
                "solution_str": "<think>x</think> 5",
                "ground_truth": "5",
                "extra_info": {"a": [1]},
            },
        ),
        ((), {"data_source": "", "solution_str": "6", "ground_truth": "5", "extra_info": {}}),
    ]


def test_the_order_of_the_function_s_parameters_is_its_own(tmp_path: Path) -> None:
    source = "def judge(ground_truth, extra_info=None, *, solution_str, data_source='x'): return solution_str == '5'\n"
    assert function(tmp_path, source).grade("5", "6").score == 1.0


def test_extra_info_is_a_copy(tmp_path: Path) -> None:
    info = {"a": 1}
    function(tmp_path, "def judge(extra_info, **_):\n    extra_info['a'] = 2\n    return 1.0\n").grade("", "5", info)
    assert info == {"a": 1}


@pytest.mark.parametrize(
    ("value", "graded"),
    [
        ("1", Grade(Verdict.CORRECT, 1.0, "5")),
        ("0.5", Grade(Verdict.WRONG, 0.5, "5")),
        ("False", Grade(Verdict.WRONG, 0.0, "5")),
        ("{'acc': True, 'score': -1.0}", Grade(Verdict.CORRECT, 1.0, "5")),
        ("{'acc': 0, 'score': 1.0}", Grade(Verdict.WRONG, 0.0, "5")),
        ("{'score': 0.25, 'pred': '7'}", Grade(Verdict.WRONG, 0.25, "7")),
        ("{'score': 1, 'pred': None}", Grade(Verdict.CORRECT, 1.0, "5")),
        ("{'score': 1, 'pred': 7}", Grade(Verdict.CORRECT, 1.0, "5")),
    ],
)
def test_acc_comes_before_score_and_pred_before_the_answer_that_is_read(
    tmp_path: Path, value: str, graded: Grade
) -> None:
    result = returning(tmp_path, value).grade(r"so \boxed{5}", "5")
    assert result == graded
    assert type(result.score) is float


@pytest.mark.parametrize(
    "value", ["None", "'1'", "math.nan", "math.inf", "-0.1", "1.1", "[1]", "{}", "{'acc': None}", "1j"]
)
def test_what_is_no_number_from_0_to_1_raises_one_line(tmp_path: Path, value: str) -> None:
    with pytest.raises(
        ValueError, match="the reward must be a number from 0 to 1, or a dict with acc or score, not"
    ) as error:
        returning(tmp_path, value).grade("", "5")
    assert "\n" not in str(error.value)


def test_the_message_names_no_more_than_the_beginning_of_what_was_returned(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the reward must be a number") as error:
        returning(tmp_path, "'x' * 1000000").grade("", "5")
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("recognises", "gold", "verdict"),
    [
        (r"'\\boxed{' + ground_truth + '}' in solution_str", "5", Verdict.CORRECT),
        ("solution_str.startswith('Answer: ')", "5", Verdict.CORRECT),
        ("solution_str == '<answer>5</answer>'", "5", Verdict.CORRECT),
        ("solution_str.startswith('#### ')", "5", Verdict.CORRECT),
        ("solution_str == ground_truth", "5", Verdict.CORRECT),
        (r"solution_str == '\\boxed{' + ground_truth + '}'", r"\{1,2\}", Verdict.CORRECT),
        ("solution_str == ground_truth", "{} {0} {x}", Verdict.CORRECT),
        ("0.9", "5", Verdict.GOLD_UNPARSEABLE),
        ("False", "5", Verdict.GOLD_UNPARSEABLE),
    ],
)
def test_a_ground_truth_is_checked_in_its_usual_dressings(
    tmp_path: Path, recognises: str, gold: str, verdict: Verdict
) -> None:
    checked = returning(tmp_path, recognises).check_gold(gold)
    assert checked.verdict is verdict
    assert (checked.score is None) == (verdict is Verdict.GOLD_UNPARSEABLE)
    assert (checked.detail is not None) == (verdict is Verdict.GOLD_UNPARSEABLE)


def test_the_gold_check_passes_the_prompt_s_data_along(tmp_path: Path) -> None:
    reward = returning(tmp_path, "data_source == 'a' and extra_info == {'b': 1}")
    assert reward.check_gold("5", {"b": 1}, "a").verdict is Verdict.CORRECT
    assert reward.check_gold("5").verdict is Verdict.GOLD_UNPARSEABLE


def test_the_file_runs_once_and_not_before_the_first_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reward = function(tmp_path, f"open({str(log)!r}, 'a').write('x')\ndef judge(**_): return 1.0\n")
    assert not log.exists()
    for _ in range(3):
        reward.grade("", "5")
    assert log.read_text() == "x"


def test_a_dataclass_in_the_file_works(tmp_path: Path) -> None:
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Result:\n    score: float\ndef judge(**_): return Result(1.0).score\n"
    )
    assert function(tmp_path, source).grade("", "5").verdict is Verdict.CORRECT


@pytest.mark.parametrize("source", ["", "judge = 3\n", "def other(): pass\n"])
def test_a_file_without_the_function_is_refused_when_it_is_loaded(tmp_path: Path, source: str) -> None:
    with pytest.raises(UserError, match=r"reward\.py has no function judge"):
        function(tmp_path, source).load()


def test_whatever_the_function_raises_is_raised(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="missing"):
        returning(tmp_path, "{}['missing']").grade("", "5")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my.py:f", True),
        ("/a/b.py:compute_score", True),
        ("a:b/my.py:f", True),
        ("my.py", False),
        ("math-verify", False),
        ("my.txt:f", False),
    ],
)
def test_a_name_with_py_and_a_colon_means_a_function(name: str, expected: bool) -> None:
    assert is_reward_function(name) is expected


def test_a_name_splits_at_its_last_colon(tmp_path: Path) -> None:
    folder = tmp_path / "a.py:b"
    folder.mkdir()
    path = folder / "my.py"
    path.write_text("")
    assert split_name(f"{path}:f") == (path, "f")


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (None, "judge", "cannot be read: No such file or directory"),
        ("def judge(:", "judge", "is not Python: invalid syntax"),
        ("\0", "judge", "is not Python"),
        ("", "", r"name a function, as in .*reward\.py:compute_score"),
        ("", "two words", "name a function"),
        ("", "a.b", "name a function"),
        ("x = " + "-" * 200_000 + "1", "judge", "is not Python"),
    ],
)
def test_a_file_that_cannot_be_read_or_compiled_is_refused_in_one_line(
    tmp_path: Path, source: str | None, name: str, message: str
) -> None:
    path = tmp_path / "reward.py"
    if source is not None:
        path.write_text(source)
    with pytest.raises(UserError, match=message) as error:
        load_verifier(f"{path}:{name}")
    assert len(str(error.value).splitlines()) == 1


def test_the_version_is_the_function_and_the_file_s_content_wherever_it_lies(tmp_path: Path) -> None:
    first, second = tmp_path / "a.py", tmp_path / "elsewhere" / "b.py"
    first.write_text("def f(**_): return 1.0\n")
    second.parent.mkdir()
    shutil.copy(first, second)
    version = reward_function_version(f"{first}:f")
    assert version == reward_function_version(f"{second}:f") == verifier_version(f"{first}:f")
    assert version.startswith("f sha256 ")
    assert reward_function_version(f"{first}:g") != version
    second.write_text("def f(**_): return 0.0\n")
    assert reward_function_version(f"{second}:f") != version


def test_the_version_of_a_file_that_is_gone_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        reward_function_version(f"{tmp_path / 'gone.py'}:f")
