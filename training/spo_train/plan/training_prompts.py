"""The prompts of a training run as its record identifies them, and what differs in those of a training run to resume.

prompts_fingerprint(data.prompts)             # ids and ground truths
rows_fingerprint(data.prompts, "exact")       # all that a response or a reward depends on
describe_changed_rows(out, data, "exact")     # "extra_info differs for 3 of 20 prompts, such as …"
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.grading.verifiers.registry import reading
from spo_data.prompts.differences import Difference, find_differences
from spo_data.prompts.identity import Message, Prompt
from spo_train.filenames import TRAIN_ROWS

if TYPE_CHECKING:
    import pyarrow as pa

    from spo_train.data.training_rows import TrainingData


def prompts_fingerprint(prompts: Sequence[Prompt]) -> str:
    """Return SHA-256 over ids and ground truths, in the order of the tracker's arrays."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(f"{prompt.prompt_id}\0{prompt.ground_truth}\n".encode())
    return digest.hexdigest()


def rows_fingerprint(prompts: Sequence[Prompt], verifier: str) -> str:
    """Return SHA-256 over messages, ground truths, and what else the verifier reads of each prompt, in order."""
    digest, reads = hashlib.sha256(), reading(verifier)
    for prompt in prompts:
        row = [prompt.messages, prompt.ground_truth, dict(reads(prompt))]
        digest.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def describe_changed_rows(out: Path, data: "TrainingData", verifier: str) -> str | None:
    """Return which field of how many prompts differs from the folder's training rows, or None if they cannot tell."""
    from spo_data.values.parquet import open_parquet

    if not (out / TRAIN_ROWS).is_file():
        return None
    with open_parquet(out / TRAIN_ROWS) as file:
        earlier = file.read()
    if len(earlier) != len(data.rows):
        return None
    found: dict[str, list[tuple[Prompt, Difference]]] = {}
    reads = reading(verifier)
    for before, after in zip(_read_prompts(earlier), _read_prompts(data.rows), strict=True):
        if before.prompt_id != after.prompt_id:
            return None
        for difference in find_differences(before, after, reads):
            found.setdefault(difference.field, []).append((before, difference))
    described = (
        f"{field} differs for {len(differing):,} of {len(earlier):,} prompts, such as {differing[0][0].prompt_id}:"
        f" was {differing[0][1].before}, now {differing[0][1].after}"
        for field, differing in found.items()
    )
    return "; ".join(described) or None


def _read_prompts(rows: "pa.Table") -> Iterator[Prompt]:
    for row in rows.select(["prompt", "reward_model", "data_source", "extra_info"]).to_pylist():
        messages = tuple(Message(turn["role"], turn["content"]) for turn in row["prompt"])
        gold = str(row["reward_model"]["ground_truth"])
        yield Prompt(messages, gold, row["data_source"] or "", row["extra_info"])
