"""verl's reward manager uses our graders: it gives the estimate's verdicts, and never scores our own failures 0."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

FUNCTION = """
import os, time

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    if "sleep" in solution_str:
        time.sleep(60)
    if "crash" in solution_str:
        os._exit(1)
    if "once" in solution_str and not os.path.exists(__file__ + ".tried"):
        open(__file__ + ".tried", "w").close()
        os._exit(1)
    return {"score": float(solution_str.strip() == ground_truth), "extra": extra_info["index"]}
"""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    from spo_data.models.embedded import embedded_model

    return AutoTokenizer.from_pretrained(embedded_model())


def make_item(tokenizer: Any, response: str, ground_truth: str, uid: str = "draw0", **extra_fields: Any) -> Any:
    """The item for one response that verl's agent loop passes to the reward worker, padded in the same way."""
    import numpy as np
    import torch
    from tensordict import TensorDict
    from verl import DataProto

    prompt = tokenizer("What is it?", return_tensors="pt")["input_ids"]
    ids = torch.tensor([[*tokenizer(response)["input_ids"], tokenizer.eos_token_id]])
    mask = torch.ones(1, prompt.shape[1] + ids.shape[1], dtype=torch.int64)
    ids, mask = (torch.nn.functional.pad(each, (0, 5)) for each in (ids, mask))
    batch = TensorDict({"prompts": prompt, "responses": ids, "attention_mask": mask}, batch_size=1)
    rows = {
        "uid": uid,
        "data_source": "test",
        "reward_model": {"style": "rule", "ground_truth": ground_truth},
        "extra_info": {"index": 3},
        "tool_extra_fields": extra_fields,
    }
    return DataProto(batch=batch, non_tensor_batch={name: np.array([row], object) for name, row in rows.items()})


def make_reward(tokenizer: Any, verifier: str, **settings: Any) -> Any:
    from omegaconf import OmegaConf

    from spo_train.hooks.reward import GradedReward

    kwargs = {"verifier": verifier, "thinking": False, "seconds": 2, "memory_gb": 4, "workers": 1} | settings
    return GradedReward(OmegaConf.create({"reward": {"reward_kwargs": kwargs}}), tokenizer)


def grade(reward: Any, *items: Any) -> list[Any]:
    async def all_of_them() -> list[Any]:
        try:
            return await asyncio.gather(*(reward.run_single(item) for item in items), return_exceptions=True)
        finally:
            await reward._pool.__aexit__(None, None, None)

    return asyncio.run(all_of_them())


def test_verdicts_are_the_estimates(tokenizer: Any) -> None:
    reward = make_reward(tokenizer, "math-verify")
    graded = grade(
        reward,
        make_item(tokenizer, r"It is \boxed{1/2}.", "0.5"),
        make_item(tokenizer, r"It is \boxed{3}.", "0.5"),
        make_item(tokenizer, "I do not know.", "0.5"),
        make_item(tokenizer, r"It is \boxed{1/2}. And so on", "0.5", truncated=True),
    )
    assert [each["reward_score"] for each in graded] == [1.0, 0.0, 0.0, 0.0]
    assert [each["reward_extra_info"]["verdict"] for each in graded] == ["correct", "wrong", "no_answer", "truncated"]


@pytest.mark.slow
def test_a_truncated_response_is_graded_if_the_values_were_made_so(tokenizer: Any) -> None:
    graded = grade(
        make_reward(tokenizer, "math-verify", truncated="grade"),
        make_item(tokenizer, r"It is \boxed{1/2}. And so on", "0.5", truncated=True),
        make_item(tokenizer, r"It is \boxed{3}. And so on", "0.5", truncated=True),
        make_item(tokenizer, r"It is \boxed{1/2}.", "0.5"),
    )
    assert [each["reward_score"] for each in graded] == [1.0, 0.0, 1.0]
    assert [each["reward_extra_info"]["verdict"] for each in graded] == ["truncated", "truncated", "correct"]


def test_a_sample_that_failed_is_not_wrong_in_validation(tokenizer: Any) -> None:
    """With an `acc` beside the reward, verl's validation fills in 0 for failed samples: half of these were wrong."""
    from verl.trainer.ppo.metric_utils import process_validation_metrics

    (graded,) = grade(make_reward(tokenizer, "math-verify"), make_item(tokenizer, r"\boxed{4}", "4"))
    infos = {"reward": [graded["reward_score"]]} | {key: [it] for key, it in graded["reward_extra_info"].items()}
    expected = {("sums", "a"): 1, ("sums", "b"): 1}  # the grading of b failed
    metrics = process_validation_metrics(["sums"], ["a"], infos, expected_acc_counts=expected)
    assert metrics["sums"] == {"reward": {"mean@1": 1.0}}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The failures that the trainer is told of."""
    from spo_train.hooks import failures

    verdicts: list[str] = []
    monkeypatch.setattr(failures, "count", verdicts.append)
    return verdicts


def test_our_own_failure_is_no_reward(tokenizer: Any, tmp_path: Path, counted: list[str]) -> None:
    """verl's own manager grades in a thread: a crash of the grader ends its worker and counts as wrong."""
    from spo_train.hooks.reward import UngradedError

    function = tmp_path / "mine.py"
    function.write_text(FUNCTION)
    reward = make_reward(tokenizer, f"{function}:compute_score")
    crashed, in_validation, right = grade(
        reward,
        make_item(tokenizer, "crash", "x", uid="draw7"),
        make_item(tokenizer, "crash", "x", uid="5fb1"),
        make_item(tokenizer, "x", "x"),
    )
    for failed in (crashed, in_validation):
        assert isinstance(failed, UngradedError)
        assert str(failed).startswith("grader_error: ")
    assert right == {"reward_score": 1.0, "reward_extra_info": {"verdict": "correct"}}
    assert counted == ["grader_error"]  # of the training prompt alone


@pytest.mark.slow
def test_a_grading_that_fails_once_is_tried_again(tokenizer: Any, tmp_path: Path, counted: list[str]) -> None:
    function = tmp_path / "mine.py"
    function.write_text(FUNCTION)
    (graded,) = grade(make_reward(tokenizer, f"{function}:compute_score"), make_item(tokenizer, "once", "once"))
    assert graded["reward_score"] == 1.0
    assert counted == []


def test_an_answer_inside_unfinished_thinking_is_none(tokenizer: Any) -> None:
    """A chat template may open the thinking block, so that the response alone does not show it."""
    item = make_item(tokenizer, r"Is it \boxed{4}?", "4")
    found = [grade(make_reward(tokenizer, "math-verify", thinking=each), item)[0] for each in (True, False)]
    assert [each["reward_extra_info"]["verdict"] for each in found] == ["no_answer", "correct"]


@pytest.mark.slow  # each attempt waits until its time is over
def test_a_grading_that_hangs_is_no_reward(tokenizer: Any, tmp_path: Path, counted: list[str]) -> None:
    """A hang blocked verl's reward worker."""
    from spo_train.hooks.reward import UngradedError

    function = tmp_path / "mine.py"
    function.write_text(FUNCTION)
    (hung,) = grade(
        make_reward(tokenizer, f"{function}:compute_score"), make_item(tokenizer, "sleep", "x", uid="draw7")
    )
    assert isinstance(hung, UngradedError)
    assert str(hung).startswith("grader_timeout: ")
    assert counted == ["grader_timeout"]


def test_text_after_a_stop_string_is_not_graded(tokenizer: Any) -> None:
    """The engine removes the stop string from the text but keeps its tokens."""
    reward = make_reward(tokenizer, "math-verify", stop=["<end>"])
    (graded,) = grade(reward, make_item(tokenizer, r"\boxed{4}<end> or \boxed{5}", "4"))
    assert graded["reward_score"] == 1.0


def test_a_verifier_that_changes_ends_training_and_gives_no_reward(
    tokenizer: Any, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grading process that was replaced gave rewards of the file as it was then, under the version of the record."""
    from spo_data.grading.verifiers.registry import verifier_version
    from spo_data.grading.workers.import_guard import ChangedGraderError
    from spo_train.hooks import failures

    said: list[str] = []
    monkeypatch.setattr(failures, "give_up", said.append)
    function = tmp_path / "mine.py"
    function.write_text(FUNCTION)
    recorded = verifier_version(f"{function}:compute_score")
    function.write_text("def compute_score(**_): return 1.0\n")
    (refused,) = grade(
        make_reward(tokenizer, f"{function}:compute_score", version=recorded), make_item(tokenizer, "x", "x")
    )
    assert isinstance(refused, ChangedGraderError)
    assert counted == []
    (line,) = said
    assert line.startswith(f"{function} changed during grading: sha256 {recorded.split()[2]} is recorded")
    assert line.endswith("to keep the changed verifier, resume it with --allow-mismatch verifier")
    assert "\n" not in line


def test_graders_that_do_not_start_end_training(
    tokenizer: Any, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine they gave no answer in time; training went on with truncated responses alone, all scored 0."""
    from spo_data.errors import SpoError
    from spo_train.hooks import failures

    said: list[str] = []
    monkeypatch.setattr(failures, "give_up", said.append)
    function = tmp_path / "mine.py"
    function.write_text("import os\nos._exit(1)\n")
    failed = grade(make_reward(tokenizer, f"{function}:compute_score"), make_item(tokenizer, "x", "x"))
    assert isinstance(failed[0], SpoError)
    assert counted == []
    assert said[0].startswith(f"--verifier {function}:compute_score does not load: ")
