"""The engine protocol: `submit(request)` returns one finished response.

An engine takes requests one sample at a time and answers each as it finishes; it never groups, never waits for a
sibling, and never falls back to another engine. A request that fails alone raises RequestError; an engine that can
serve nobody any more raises EngineError.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from spo_data.errors import SpoError


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One response to draw."""

    prompt_id: str
    sample_index: int
    seed: int
    prompt_token_ids: np.ndarray
    """int32, shape (n_prompt_tokens,); shared by the prompt's samples."""
    max_tokens: int
    stop: tuple[str, ...] = ()
    """Strings that end it beside the policy's own."""
    turn: int = 0
    """Which of the requests of one response it is; each has a seed of its own."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished response."""

    text: str
    token_ids: np.ndarray
    """int32, shape (n_response_tokens,), with the end token where there is one."""
    finish_reason: Literal["stop", "length", "tool_error"]
    """"tool_error" where the interpreter failed for us, in the middle of a response."""
    token_logprobs: np.ndarray | None = None
    """float32, shape (n_response_tokens,), in nats; None unless asked for, NaN for tool output."""
    response_mask: np.ndarray | None = None
    """bool, shape (n_response_tokens,), false for tool output; None where every token is the model's."""
    tool_turns: int = 0
    detail: str | None = None
    """Why, where it ended as "tool_error"."""


class RequestError(Exception):
    """This request failed; others go on."""


class EngineError(SpoError):
    """The engine cannot start or has died; the message is its last error line."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What an engine runs on: `count` of the devices called `name`."""

    name: str
    count: int


class Engine(Protocol):
    """What samples. `capacity` is how many requests it works on at once."""

    @property
    def capacity(self) -> int: ...

    @property
    def devices(self) -> Devices: ...

    async def submit(self, request: SampleRequest) -> Completion:
        """Return the finished response; raises RequestError or EngineError."""
        ...
