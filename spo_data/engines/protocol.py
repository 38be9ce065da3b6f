"""The engine protocol: `submit(request)` returns one finished response.

An engine takes one request per sample and returns each response as soon as it is finished. It never groups requests,
never waits for a sibling, and never falls back to another engine. If one request fails, it raises RequestError; if
the engine can serve no request any more, it raises EngineError.
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
    """Strings that end the response, in addition to the policy's own."""
    turn: int = 0
    """The number of this request within its response, from 0; each request has its own seed."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished response."""

    text: str
    token_ids: np.ndarray
    """int32, shape (n_response_tokens,), with the end token if there is one."""
    finish_reason: Literal["stop", "length", "tool_error"]
    """"tool_error" if the interpreter itself failed in the middle of a response."""
    token_logprobs: np.ndarray | None = None
    """float32, shape (n_response_tokens,), in nats; None unless requested, NaN for tool output."""
    response_mask: np.ndarray | None = None
    """bool, shape (n_response_tokens,), false for tool output; None if the model sampled every token."""
    tool_turns: int = 0
    detail: str | None = None
    """The reason, if `finish_reason` is "tool_error"."""


class RequestError(Exception):
    """This request failed; others continue."""


class EngineError(SpoError):
    """The engine cannot start or has died; the message is its last error line."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What an engine runs on: `count` of the devices called `name`."""

    name: str
    count: int


class Engine(Protocol):
    """Anything that samples responses. `capacity` is the number of requests it works on at once."""

    @property
    def capacity(self) -> int: ...

    @property
    def devices(self) -> Devices: ...

    async def submit(self, request: SampleRequest) -> Completion:
        """Return the finished response; raises RequestError or EngineError."""
        ...
