"""The record of one finished and graded response."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from spo_data.engines.protocol import Completion
from spo_data.grading.verdict import Grade, Verdict


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished and graded response."""

    prompt_id: str
    sample_index: int
    seed: int
    response: str
    token_ids: np.ndarray
    """int32, shape (n_response_tokens,)."""
    finish_reason: Literal["stop", "length", "tool_error"]
    answer: str | None
    verdict: Verdict
    score: float | None
    detail: str | None = None
    tool_turns: int = 0
    token_logprobs: np.ndarray | None = None
    """float32, shape (n_response_tokens,)."""
    response_mask: np.ndarray | None = None
    """bool, shape (n_response_tokens,), false for tool output; None if the model sampled every token."""

    @property
    def sampled_tokens(self) -> int:
        """The number of tokens that the model sampled, excluding tool output."""
        return len(self.token_ids) if self.response_mask is None else int(self.response_mask.sum())

    @property
    def graded(self) -> Grade:
        """The grader's verdict, score, answer and detail."""
        return Grade(self.verdict, self.score, self.answer, self.detail)

    @staticmethod
    def of(prompt_id: str, sample_index: int, seed: int, completion: Completion, graded: Grade) -> "Sample":
        """Combine the engine's completion and the grader's verdict."""
        return Sample(
            prompt_id=prompt_id,
            sample_index=sample_index,
            seed=seed,
            response=completion.text,
            token_ids=completion.token_ids,
            finish_reason=completion.finish_reason,
            answer=graded.answer,
            verdict=graded.verdict,
            score=graded.score,
            detail=graded.detail,
            tool_turns=completion.tool_turns,
            response_mask=completion.response_mask,
            token_logprobs=completion.token_logprobs,
        )
