"""The responses of a verl batch, read as arrays.

    responses = read_responses(batch)      # without the rows that only pad the batch
    responses.uids, responses.rewards, responses.log_probs

verl keeps a batch's tensors in TransferQueue; the batch itself holds keys and tags.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta

from spo_data.grading.verdict import OBSERVATIONS
from spo_data.prompts.identity import Message

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
    """Token ids, unpadded like `prompts`."""
    masks: list[npt.NDArray[Any]]
    """Whether the model sampled each response token."""
    log_probs: list[npt.NDArray[Any]]
    """verl's `old_log_probs` of the response tokens."""
    verdicts: Mapping[str, int]
    """How often each verdict that is an observation was given."""
    truncated: list[bool]
    """Whether a limit ended the response."""
    tool_turns: list[int] | None
    """How many programs each response ran; None without an interpreter."""
    tool_seconds: list[float] | None
    """How long each response waited for its programs; None without an interpreter."""


def read_responses(batch: KVBatchMeta) -> Responses:
    """Read what SPO learns from a batch."""
    places = [place for place, tag in enumerate(batch.tags) if not tag.get("is_padding", False)]
    data = tq.kv_batch_get(
        keys=[batch.keys[place] for place in places], partition_id=batch.partition_id, select_fields=FIELDS
    )
    loops = list(data["extra_fields"])
    given = Counter(fields["reward_extra_info"]["verdict"] for fields in loops)
    has_tools = any("tool_turns" in fields for fields in loops)
    return Responses(
        places=places,
        uids=list(data["uid"]),
        rewards=[float(scores.sum()) for scores in data["rm_scores"].unbind()],
        prompts=_rows(data["prompts"]),
        responses=_rows(data["responses"]),
        masks=_rows(data["response_mask"]),
        log_probs=_rows(data["old_log_probs"]),
        verdicts={str(verdict): given.get(verdict, 0) for verdict in sorted(OBSERVATIONS)},
        truncated=[bool(fields["truncated"]) for fields in loops],
        tool_turns=[int(fields["tool_turns"]) for fields in loops] if has_tools else None,
        tool_seconds=[float(fields["tool_seconds"]) for fields in loops] if has_tools else None,
    )


def response_metrics(responses: Responses) -> dict[str, float]:
    """Return means over the responses, with those of the interpreter if there is one."""
    if not responses.truncated:
        return {}
    metrics = {"spo/truncated": float(np.mean(responses.truncated))}
    if responses.tool_turns is not None and responses.tool_seconds is not None:
        turns, lengths = np.array(responses.tool_turns), sum(map(len, responses.masks))
        metrics |= {
            "spo/tool_use": float(np.mean(turns > 0)),
            "spo/tool_turns": float(np.mean(turns)),
            "spo/tool_seconds": float(np.mean(responses.tool_seconds)),
            "spo/tool_tokens": 1 - sum(int(mask.sum()) for mask in responses.masks) / max(lengths, 1),
        }
    return metrics


def verdict_metrics(verdicts: Mapping[str, int]) -> dict[str, float]:
    """Return counts as metrics; "total" makes verl add them up if a step has several batches."""
    return {f"spo/verdict_total/{verdict}": float(count) for verdict, count in verdicts.items()}


def messages(turns: Iterable[Mapping[str, Any]]) -> list[Message]:
    """Return the chat messages of a dataset row."""
    return [Message(str(turn["role"]), str(turn["content"])) for turn in turns]


def _rows(nested: torch.Tensor) -> list[npt.NDArray[Any]]:
    return [row.numpy() for row in nested.unbind()]
