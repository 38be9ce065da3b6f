"""The reward inside verl: the estimate's grader, with its verifier and limits.

    reward.reward_manager.source=importlib
    reward.reward_manager.name=GradedReward
    reward.reward_manager.module.path=pkg://spo_train.hooks.reward
    reward.reward_kwargs={verifier: math-verify, version: math-verify 0.9.0 rules 3, truncated: zero, thinking: false,
        stop: [], seconds: 10, memory_gb: 4, workers: 2}

Responses are graded in the processes of `spo_data.grading`, never in a thread of verl's worker. If the verdict is not
an observation of the policy, grading is tried again, then the failure is counted and raised: verl marks the prompt
failed and replaces it. A failed grading is never scored 0. If the verifier's code is no longer that of the version
with which the training run was started, or if the grading processes do not start, training ends. The sample carries
its verdict in `reward_extra_info["verdict"]`; an `acc` beside it would make verl's validation count failed samples as
wrong. A truncated response scores 0, or what its grader gives with `truncated: grade`.
"""

import asyncio
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from spo_data.engines.tool_loop import response_text
from spo_data.errors import SpoError
from spo_data.grading.verdict import TRUNCATED, Grade
from spo_data.grading.workers.import_guard import ChangedGraderError
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool
from spo_train.hooks import failures
from spo_train.literal import from_literal
from spo_train.spo.single_stream import UID

ATTEMPTS = 2
"""The second attempt is for graders that were killed because the machine was busy."""


_ADVICE = (
    "undo the change and resume the training run; to keep the changed verifier, resume it with"
    " --allow-mismatch verifier"
)
"""What to do if the verifier changed during training."""


class UngradedError(RuntimeError):
    """A response could not be graded; the message says why."""


class GradedReward(RewardManagerBase):
    """A reward manager for verl around one `GraderPool`, which starts with the first response."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        settings = config.reward.reward_kwargs
        self._thinking = bool(settings.thinking)
        self._grades_truncated = settings.get("truncated", "zero") == "grade"
        verifier = str(from_literal(settings.verifier))
        self._pool = GraderPool(
            verifier,
            versions={verifier: str(from_literal(settings.get("version", "")))},
            workers=int(settings.workers),
            seconds=float(settings.seconds),
            memory_gb=float(settings.memory_gb),
        )
        self._started = False
        self._starting = asyncio.Lock()

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Grade the last response of one session; raises UngradedError if that fails."""
        item = data[-1]
        loop_output = item.non_tensor_batch.get("tool_extra_fields") or {}
        is_truncated = bool(loop_output.get("truncated"))
        graded = TRUNCATED if is_truncated and not self._grades_truncated else await self._grade(item)
        if is_truncated:
            graded = graded.as_truncated()
        return {
            "reward_score": graded.score,
            "reward_extra_info": {"verdict": str(graded.verdict)},
        }

    async def _grade(self, item: Any) -> Grade:
        row = item.non_tensor_batch
        job = GradeJob(
            self._text(item),
            str(row["reward_model"]["ground_truth"]),
            row.get("extra_info"),
            str(row["data_source"]),
            thinking=self._thinking,
        )
        try:
            await self._start()
            for _ in range(ATTEMPTS):
                graded = await self._pool.grade(job)
                if graded.verdict.is_observation:
                    return graded
        except SpoError as error:  # no more verdicts: truncated responses alone would go on to be trained on
            failures.give_up(f"{error}; {_ADVICE}" if isinstance(error, ChangedGraderError) else str(error))
            raise
        if str(row.get("uid", "")).startswith(UID):  # validation counts its own failures
            failures.count(str(graded.verdict))
        raise UngradedError(f"{graded.verdict}: {graded.detail or 'no detail'}")

    async def _start(self) -> None:
        async with self._starting:
            if not self._started:
                await self._pool.__aenter__()
                self._started = True

    def _text(self, item: Any) -> str:
        """Return the response as the estimate's grader reads it."""
        responses, mask = item.batch["responses"], item.batch["attention_mask"][-len(item.batch["responses"]) :]
        token_ids = responses[mask.bool()].tolist()
        loop_output = item.non_tensor_batch.get("tool_extra_fields") or {}
        last_tokens = int(loop_output.get("last_tokens", len(token_ids)))
        stop = from_literal(self.config.reward.reward_kwargs.get("stop", ()))
        return response_text(self.tokenizer, token_ids, last_tokens, stop)
