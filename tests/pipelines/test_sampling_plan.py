"""The sampling plan: everything that is known about an estimate before an engine starts."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from spo_data import UserError, sample_seed
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.workers.job import GradeJob
from spo_data.models.chat import Chat
from spo_data.prompts.identity import Message
from spo_pipelines.prompt_source import read_prompts
from spo_pipelines.sampling_plan import SamplingPlan, plan_sampling
from support import scripted

options = scripted.options


class Pool:
    """Checks ground truths as a grader pool does, in this process. Those in `bad` do not verify."""

    def __init__(self, bad: str = "") -> None:
        self.checked: list[str] = []
        self._bad = bad

    async def grade(self, job: GradeJob) -> Grade:
        assert job.response is None
        self.checked.append(job.ground_truth)
        if job.ground_truth == self._bad:
            return Grade.failed(Verdict.GOLD_UNPARSEABLE, "does not verify")
        return Grade.scored(1.0, job.ground_truth)


def planned(asked: Any, pool: Any = None) -> SamplingPlan:
    return asyncio.run(plan_sampling(asked, read_prompts(asked.prompts, asked.grader.verifier), pool or Pool()))


def test_requests_come_in_prompt_order_with_hashed_seeds_and_shared_token_ids(dataset: Path, tmp_path: Path) -> None:
    plan = planned(options(dataset, tmp_path / "run", n=3, seed=11))
    requests = list(plan.requests({}))
    ids = [prompt.prompt_id for prompt in plan.prompt_set.prompts]
    assert [(request.prompt_id, request.sample_index) for request in requests] == [
        (p, i) for p in ids for i in range(3)
    ]
    assert [request.seed for request in requests] == [sample_seed(11, p, i) for p in ids for i in range(3)]
    assert len({request.seed for request in requests}) == plan.n_samples == 18
    assert requests[0].prompt_token_ids is requests[2].prompt_token_ids
    assert requests[0].prompt_token_ids.dtype == "int32"


def test_requests_leave_out_what_is_done(dataset: Path, tmp_path: Path) -> None:
    plan = planned(options(dataset, tmp_path / "run", n=4, limit=3))
    first, second, third = (prompt.prompt_id for prompt in plan.prompt_set.prompts)
    left = [(r.prompt_id, r.sample_index) for r in plan.requests({first: {0, 2}, second: {0, 1, 2, 3}})]
    assert left == [(first, 1), (first, 3), *((third, index) for index in range(4))]


def test_requests_finish_half_drawn_prompts_before_they_begin_others(dataset: Path, tmp_path: Path) -> None:
    """Rows that a dataset gained before the old ones would leave more and more prompts half-drawn."""
    plan = planned(options(dataset, tmp_path / "run", n=2, limit=4))
    first, second, third, fourth = (prompt.prompt_id for prompt in plan.prompt_set.prompts)
    left = [(r.prompt_id, r.sample_index) for r in plan.requests({second: {1}, third: set(), fourth: {0}})]
    assert left == [(second, 0), (fourth, 1), (first, 0), (first, 1), (third, 0), (third, 1)]


def test_requests_are_made_one_by_one(dataset: Path, tmp_path: Path) -> None:
    plan = planned(options(dataset, tmp_path / "run", n=10**9))
    assert next(plan.requests({})).sample_index == 0


def test_more_samples_or_prompts_change_no_seed_that_was_there(dataset: Path, tmp_path: Path) -> None:
    def seeds(**asked: Any) -> dict[tuple[str, int], int]:
        plan = planned(options(dataset, tmp_path / "run", **asked))
        return {(r.prompt_id, r.sample_index): r.seed for r in plan.requests({})}

    small, more, longer = seeds(n=2, limit=3), seeds(n=5, limit=3), seeds(n=2)
    assert small.items() < more.items()
    assert small.items() < longer.items()
    assert seeds(n=2, shuffle_seed=5) == longer


def test_the_context_bounds_a_response_and_the_engine(dataset: Path, tmp_path: Path) -> None:
    plan = planned(options(dataset, tmp_path / "run", max_tokens=64, max_model_len=100, n=2))
    for prompt_id, ids in plan.token_ids.items():
        assert plan.max_tokens(prompt_id) == min(64, 100 - len(ids)) > 0
    assert any(plan.max_tokens(prompt_id) < 64 for prompt_id in plan.token_ids)
    assert plan.engine_length <= 100
    assert plan.token_bound == 2 * sum(plan.max_tokens(prompt_id) for prompt_id in plan.token_ids)
    assert {request.max_tokens for request in plan.requests({})} == {plan.max_tokens(p) for p in plan.token_ids}


def test_the_engine_reserves_for_the_longest_sequence_only(dataset: Path, tmp_path: Path) -> None:
    plan = planned(options(dataset, tmp_path / "run", max_tokens=64))
    assert plan.context_length == 8192
    assert plan.engine_length == max(map(len, plan.token_ids.values())) + 64


def test_a_prompt_that_leaves_room_for_one_token_is_kept_and_the_next_longer_dropped(tmp_path: Path) -> None:
    dataset = scripted.write_rows(tmp_path / "sums.jsonl", r4={"question": "What is 4 + 7, again and again?"})
    lengths = {p: len(ids) for p, ids in planned(options(dataset, tmp_path / "run")).token_ids.items()}
    longest = max(lengths.values())
    assert sum(length == longest for length in lengths.values()) == 1
    kept = planned(options(dataset, tmp_path / "run", max_model_len=longest + 1))
    assert kept.prompt_set.dropped == ()
    dropped = planned(options(dataset, tmp_path / "run", max_model_len=longest))
    assert [(drop.row, drop.reason) for drop in dropped.prompt_set.dropped] == [(4, "prompt_too_long")]
    assert set(dropped.token_ids) == {p for p, length in lengths.items() if length < longest}


def test_a_ground_truth_that_does_not_verify_drops_its_prompt(dataset: Path, tmp_path: Path) -> None:
    pool = Pool(bad="7")
    plan = planned(options(dataset, tmp_path / "run"), pool)
    assert pool.checked == ["3", "5", "7", "9", "11", "13"]
    assert [(drop.row, drop.reason, drop.detail) for drop in plan.prompt_set.dropped] == [
        (2, "gold_unparseable", "does not verify")
    ]
    assert [prompt.ground_truth for prompt in plan.prompt_set.prompts] == ["3", "5", "9", "11", "13"]


def test_a_prompt_that_is_dropped_is_not_rendered(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat template that refused one prompt ended the estimate, although its bad ground truth had dropped it."""
    asked = options(dataset, tmp_path / "run")
    dropped = next(p for p in read_prompts(asked.prompts, None).prompt_set.prompts if p.ground_truth == "7")
    render = Chat.render

    def refuse(chat: Chat, messages: Sequence[Message], clock: Callable[[str], str] | None = None) -> str:
        if messages[-1].content == dropped.messages[-1].content:
            raise UserError("the model's chat template refuses a prompt")
        return render(chat, messages, clock)

    monkeypatch.setattr(Chat, "render", refuse)
    assert planned(asked, Pool(bad="7")).prompt_set.dropped_by_reason() == {"gold_unparseable": 1}
    with pytest.raises(UserError, match="refuses a prompt"):
        planned(asked)


def test_every_row_is_a_prompt_a_duplicate_or_dropped(tmp_path: Path) -> None:
    dataset = scripted.write_rows(
        tmp_path / "sums.jsonl",
        8,
        r3={"question": "What is 0 + 3?", "answer": "3"},
        r5={"question": " "},
        r6={"answer": ""},
    )
    prompts = planned(options(dataset, tmp_path / "run"), Pool(bad="5")).prompt_set
    assert prompts.n_duplicates == 1
    assert prompts.dropped_by_reason() == {"empty_prompt": 1, "no_ground_truth": 1, "gold_unparseable": 1}
    assert len(prompts.prompts) + prompts.n_duplicates + len(prompts.dropped) == prompts.n_rows == 8


def test_the_preview_is_what_the_model_reads(dataset: Path, tmp_path: Path) -> None:
    plan = planned(options(dataset, tmp_path / "run", system="Be terse."))
    assert plan.preview.startswith("<|im_start|>system\nBe terse.<|im_end|>")
    assert "What is 0 + 3?\nThe answer format must be: \\boxed{'" in plan.preview
    assert plan.preview.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("source", "verifier"),
    [
        ("reasoning-gym:chain_sum?size=4", "math-verify"),
        ("reasoning-gym:letter_counting?size=4", "math-verify"),
        ("reasoning-gym:word_sorting?size=4", "reasoning-gym"),
        (None, "math-verify"),
    ],
)
def test_the_default_verifier_fits_the_ground_truths(
    source: str | None, verifier: str, dataset: Path, tmp_path: Path
) -> None:
    prompts = options(source or dataset, tmp_path / "run").prompts
    assert read_prompts(prompts, None).grader.verifier == verifier
    assert read_prompts(prompts, "exact").grader.verifier == "exact"
    assert read_prompts(prompts, None, run_verifier="choice").grader.verifier == "choice"


def test_the_manifest_says_what_the_values_are(dataset: Path, tmp_path: Path) -> None:
    asked = options(
        dataset,
        tmp_path / "run",
        temperature=0.6,
        top_k=20,
        stop=("###",),
        engine_arg={"quantization": "fp8", "block_size": 8},
    )
    plan = planned(asked)
    manifest = plan.manifest
    policy = manifest.policy
    assert (policy.model, policy.revision) == (scripted.MODEL, plan.model.revision)
    assert (policy.temperature, policy.top_p, policy.top_k, policy.stop) == (0.6, 1.0, 20, ("###",))
    assert policy.engine_args == {"quantization": "fp8"}, "block_size changes only how fast"
    assert (manifest.dataset.rows, manifest.dataset.duplicates) == (6, 0)
    assert manifest.dataset.fingerprint == plan.prompt_set.fingerprint
    assert manifest.command.startswith("spo-data estimate --model smollm2-135m --dataset ")
    assert manifest.packages["transformers"]
    assert json.loads(manifest.model_dump_json())["n"] == 4


def test_chat_template_arguments_are_part_of_the_policy(dataset: Path, tmp_path: Path) -> None:
    plain = planned(options(dataset, tmp_path / "run"))
    thinking = planned(options(dataset, tmp_path / "run", chat_template_kwargs={"enable_thinking": True}))
    assert plain.manifest.policy.chat_template_kwargs == {}
    assert thinking.manifest.policy.chat_template_kwargs == {"enable_thinking": True}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            {"verifier": "mathverify"},
            r"--verifier mathverify: choose one of math-verify, math-verify-plain, dapo, exact",
        ),
        ({"template": "boxd"}, r"--template boxd: choose one of none, boxed, retool, dapo"),
        ({"prompt_column": "task"}, r"--prompt-column task: no such column; the columns are question, answer"),
        ({"split": "test"}, r"no split 'test': choose --split train"),
        ({"model": "smolm2-135m"}, r"did you mean smollm2-135m"),
        ({"model_revision": "main"}, r"--model-revision main does not apply"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused(asked: dict[str, Any], says: str, dataset: Path, tmp_path: Path) -> None:
    import dataclasses

    revision = asked.get("model_revision")
    options_asked = {name: value for name, value in asked.items() if name != "model_revision"}
    made = dataclasses.replace(options(dataset, tmp_path / "run", **options_asked), model_revision=revision)
    with pytest.raises(UserError, match=says):
        planned(made)
    assert not (tmp_path / "run").exists()


def test_a_dataset_of_which_no_ground_truth_verifies_is_refused(dataset: Path, tmp_path: Path) -> None:
    """`--verifier reasoning-gym` on an ordinary dataset dropped every prompt, and the user saw an IndexError."""

    class Never(Pool):
        async def grade(self, job: GradeJob) -> Grade:  # noqa: ARG002 # the protocol's
            return Grade.failed(Verdict.GOLD_UNPARSEABLE, "the prompt was not generated by reasoning-gym")

    with pytest.raises(UserError, match=r"no prompt is left to sample \(6 gold_unparseable; row 5: "):
        planned(options(dataset, tmp_path / "run"), Never())
