"""A batch of verl's, read as arrays.

    responses = read_responses(batch)      # of the rows that are responses: some only pad it
    responses.uids, responses.rewards, responses.log_probs

verl keeps a batch's tensors in TransferQueue; the batch itself has keys and tags.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta

from spo_data.grading.verdict import OBSERVATIONS
from spo_data.prompt import Message

FIELDS = ["uid", "prompts", "responses", "response_mask", "old_log_probs", "rm_scores", "extra_fields"]


@dataclass(frozen=True, slots=True)
class Responses:
    """The responses of a batch; one entry each, in the batch's order."""

    places: list[int]
    """Their rows in the batch."""
    uids: list[str]
    rewards: list[float]
    prompts: list[npt.NDArray[Any]]
    responses: list[npt.NDArray[Any]]
    """Token ids, unpadded, as `prompts` are."""
    masks: list[npt.NDArray[Any]]
    """Whether a response token is the model's own."""
    log_probs: list[npt.NDArray[Any]]
    """verl's `old_log_probs` of the response tokens."""
    verdicts: Mapping[str, int]
    """How often each verdict on the policy was given."""


def read_responses(batch: KVBatchMeta) -> Responses:
    """Everything that is learnt from a batch."""
    places = [place for place, tag in enumerate(batch.tags) if not tag.get("is_padding", False)]
    data = tq.kv_batch_get(
        keys=[batch.keys[place] for place in places], partition_id=batch.partition_id, select_fields=FIELDS
    )
    given = Counter(fields["reward_extra_info"]["verdict"] for fields in data["extra_fields"])
    return Responses(
        places=places,
        uids=list(data["uid"]),
        rewards=[float(scores.sum()) for scores in data["rm_scores"].unbind()],
        prompts=_rows(data["prompts"]),
        responses=_rows(data["responses"]),
        masks=_rows(data["response_mask"]),
        log_probs=_rows(data["old_log_probs"]),
        verdicts={str(verdict): given.get(verdict, 0) for verdict in sorted(OBSERVATIONS)},
    )


def verdict_metrics(verdicts: Mapping[str, int]) -> dict[str, float]:
    """Counts as metrics; "total" makes verl add them up where a step has several batches."""
    return {f"spo/verdict_total/{verdict}": float(count) for verdict, count in verdicts.items()}


def messages(turns: Iterable[Mapping[str, Any]]) -> list[Message]:
    """The chat messages of a dataset's row."""
    return [Message(str(turn["role"]), str(turn["content"])) for turn in turns]


def _rows(nested: torch.Tensor) -> list[npt.NDArray[Any]]:
    return [row.numpy() for row in nested.unbind()]
