"""A prompt: its messages, its ground truth, and the id that joins it everywhere.

    prompt_id([Message("user", "What is 2 + 2?")])     # 32 hex digits

A prompt id depends on the messages alone, never on a row number, a template's rendering or a decoded transcript: the
same question in two datasets has one id, and it is the only join key between values, samples and training rows.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple


class Message(NamedTuple):
    """One chat message."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """The chat messages after the answer instruction and the system prompt, with the ground truth they are graded by.

    `extra_info` is for verifiers that need more than a ground truth: verl's column of that name, or the origin of a
    generated problem (`{"generator", "parameters", "index"}`). None if a row has neither.
    """

    messages: tuple[Message, ...]
    ground_truth: str
    data_source: str
    extra_info: dict[str, Any] | None = None

    @cached_property
    def prompt_id(self) -> str:
        """The id of the messages; see `prompt_id`."""
        return prompt_id(self.messages)

    @property
    def text(self) -> str:
        """The first user message's stripped content: the column that the reference trainer joins on."""
        return next(message.content.strip() for message in self.messages if message.role == "user")


def prompt_id(messages: Iterable[Message]) -> str:
    """Return 32 hex digits of SHA-256 over the canonical JSON of the messages' roles and stripped contents."""
    canonical = json.dumps(
        [{"content": message.content.strip(), "role": message.role} for message in messages],
        ensure_ascii=True,
        separators=(",", ":"),
        sort_keys=True,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def sample_seed(run_seed: int, prompt_id: str, sample_index: int) -> int:
    """Return the 63-bit seed of one sample, a hash of (run seed, prompt id, sample index).

    It depends on nothing else, so more samples, more prompts or another order change no existing seed. (vLLM derives
    the seeds of one request's n samples as seed + index, so rows seeded as base + row would share most seeds.)
    """
    digest = hashlib.sha256(f"{run_seed}:{prompt_id}:{sample_index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def turn_seed(seed: int, turn: int) -> int:
    """Return the 63-bit seed of one request of a response; the first request (turn 0) has the sample's own seed."""
    if turn == 0:
        return seed
    digest = hashlib.sha256(f"{seed}:turn:{turn}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class DroppedRow:
    """A row that did not become a prompt, or a prompt that cannot be sampled."""

    row: int
    """The row's position in the dataset, from 0."""
    reason: str
    detail: str = ""
