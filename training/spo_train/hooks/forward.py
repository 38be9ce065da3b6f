"""A forward pass of verl's trainer over responses that are not in its batch.

    log_probs(worker_group, [(prompt_ids, response_ids, mask), ...], temperature=1.0, tokens=16_384)

The rows travel through their own TransferQueue partition, which is emptied afterwards.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.utils.seqlen_balancing import calculate_workload, get_seqlen_balanced_partitions
from verl.utils.tensordict_utils import list_of_dict_to_tensordict
from verl.workers.utils.padding import response_from_nested

PARTITION = "spo"
ROWS = 1024
"""Most sequences in one call."""

Tokens = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.bool_]]
"""Prompt token ids, response token ids, and whether the model sampled each response token."""


def log_probs(
    worker_group: Any, sequences: Sequence[Tokens], temperature: float, tokens: int
) -> list[npt.NDArray[np.float32]]:
    """Return the current policy's log-prob of each response token, one array per sequence, in order.

    `tokens` is the most that a worker takes in one micro-batch.
    """
    found: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(sequences), ROWS):
        found += _log_probs(worker_group, sequences[start : start + ROWS], temperature, tokens)
    return found


def _log_probs(
    worker_group: Any, sequences: Sequence[Tokens], temperature: float, tokens: int
) -> list[npt.NDArray[np.float32]]:
    workers = _data_parallel_size(worker_group)
    places = [
        *range(len(sequences)),
        *[0] * (-len(sequences) % workers),
    ]  # padded to the same number of rows a worker
    keys = [f"{number}_0_0" for number in range(len(places))]
    lengths = torch.tensor([len(sequences[place][0]) + len(sequences[place][1]) for place in places])
    tags = [{"status": "success", "seq_len": length} for length in lengths.tolist()]
    fields = list_of_dict_to_tensordict([_fields(*sequences[place]) for place in places])
    tq.kv_batch_put(keys=keys, partition_id=PARTITION, fields=fields, tags=tags)
    try:
        batch = KVBatchMeta(partition_id=PARTITION, keys=list(keys), tags=tags)
        shares = get_seqlen_balanced_partitions(calculate_workload(lengths), k_partitions=workers, equal_size=True)
        batch.reorder([place for share in shares for place in share])
        batch.extra_info = {
            "calculate_entropy": False,
            "compute_loss": False,
            "temperature": temperature,
            "use_dynamic_bsz": True,  # the number of rows is not a multiple of a micro-batch
            "max_token_len_per_gpu": max(tokens, int(lengths.max())),
        }
        worker_group.compute_log_prob(batch)
        data = tq.kv_batch_get(
            keys=keys[: len(sequences)], partition_id=PARTITION, select_fields=["log_probs", "response_mask"]
        )
        responses = response_from_nested(data["log_probs"], data["response_mask"])
        return [each.float().numpy() for each in responses.unbind()]
    finally:
        tq.kv_clear(keys=keys, partition_id=PARTITION)


def _fields(
    prompt: npt.NDArray[np.int32], response: npt.NDArray[np.int32], mask: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    prompts, responses = (torch.from_numpy(ids.astype(np.int64)) for ids in (prompt, response))
    input_ids = torch.cat([prompts, responses])
    own = torch.from_numpy(mask.astype(np.int64))
    return {
        "prompts": prompts,
        "responses": responses,
        "response_mask": own,
        "loss_mask": own,
        "input_ids": input_ids,
        "position_ids": torch.arange(len(input_ids)),
        "multi_modal_inputs": {},
    }


def _data_parallel_size(worker_group: Any) -> int:
    known = worker_group._dispatch_info
    if "actor" not in known:
        known["actor"] = worker_group._query_dispatch_info("actor")
    return int(max(known["actor"])) + 1
