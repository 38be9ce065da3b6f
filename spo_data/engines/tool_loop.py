"""The tool loop: a model writes programs between `<code>` tags, their output comes back between `<interpreter>` tags.

    response = await tool_loop(generate, interpreter, tokenizer, prompt_ids, budget=16_384, settings=policy.tools)
    response.token_ids, response.response_mask

It knows no engine: estimation and training give it a `generate` that samples the next tokens after a context. What
holds of the tokens:

* A turn is sampled up to `</code>`. Its token ids are kept as they were and resubmitted as they were, whatever bytes of
  a character the last of them splits; text is never tokenized again. Output is tokenized by itself and appended.
* `response_mask` is true for the model's own tokens, false for output. Log-probs of output are NaN.
* The budget counts both. Output that would leave the model no token is not appended; the response ends as "length".
* At most `max_turns` programs run. A response that asks for one more has been ended by a limit too: "length".
* A `</code>` without `<code>` before it asks for nothing: sampling goes on.
* Where the interpreter fails for us, the response ends as "tool_error": no observation of the policy.
"""

import re
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from spo_data.errors import UserError
from spo_data.provenance import ToolsRecord
from spo_data.sandbox.interpreter import Interpreter, Limits, SandboxError, describe_for_model
from spo_data.sandbox.notebook import show_last

CODE_START, CODE_END = "<code>", "</code>"
OUTPUT = "<interpreter>\n{}\n</interpreter>\n\n"
"""The reference's wording of what comes back."""

FinishReason = Literal["stop", "length", "tool_error"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What an engine sampled in one request."""

    token_ids: Sequence[int]
    finish_reason: Literal["stop", "length"]
    """"length" where `max_tokens` ended it."""
    token_logprobs: Sequence[float] | None = None


class Generate(Protocol):
    """Samples after a context, until the model ends, CODE_END appears, or there are `max_tokens`."""

    async def __call__(self, context: list[int], max_tokens: int, number: int) -> Turn:
        """`number` counts the requests of one response from 0: each needs a seed of its own."""
        ...


@dataclass(frozen=True, slots=True)
class ToolResponse:
    """A response with the output of its programs."""

    text: str
    token_ids: np.ndarray
    """int32, shape (n_response_tokens,)."""
    response_mask: np.ndarray
    """bool, the same shape: whether a token is the model's own."""
    token_logprobs: np.ndarray | None
    """float32, the same shape; NaN where the mask is false."""
    finish_reason: FinishReason
    last_tokens: int
    """Tokens since the last output: where `response_text` looks for a stop string."""
    tool_turns: int
    tool_seconds: float
    """Waiting for the interpreter, queue included."""
    detail: str | None = None
    """Why, where it ended as "tool_error"."""


async def tool_loop(
    generate: Generate,
    interpreter: Interpreter,
    tokenizer: Any,
    prompt_ids: Sequence[int],
    *,
    budget: int,
    settings: ToolsRecord,
    stop: Sequence[str] = (),
) -> ToolResponse:
    """Draw one response of at most `budget` tokens; what `generate` raises is passed on."""
    token_ids: list[int] = []
    mask: list[bool] = []
    logprobs: list[float] = []
    start, opened, requests, turns, seconds = 0, False, 0, 0, 0.0
    limits = Limits(settings.seconds, settings.memory_mb)

    def ended(reason: FinishReason, detail: str | None = None) -> ToolResponse:
        last = len(token_ids) - start
        return ToolResponse(
            text=response_text(tokenizer, token_ids, last, stop),
            token_ids=np.asarray(token_ids, dtype=np.int32),
            response_mask=np.asarray(mask, dtype=np.bool_),
            token_logprobs=np.asarray(logprobs, dtype=np.float32) if logprobs else None,
            finish_reason=reason,
            last_tokens=last,
            tool_turns=turns,
            tool_seconds=seconds,
            detail=detail,
        )

    while True:
        turn = await generate([*prompt_ids, *token_ids], budget - len(token_ids), requests)
        requests += 1
        own, found = _until_code_end(tokenizer, turn.token_ids)
        token_ids += own
        mask += [True] * len(own)
        logprobs += list(turn.token_logprobs or ())[: len(own)]
        if not found:
            return ended(turn.finish_reason)
        # All of it is decoded only where there is something to run: a model may write the end tag over and over.
        opened = opened or CODE_START in decode(tokenizer, token_ids[max(start, len(token_ids) - len(own) - _BORDER) :])
        code = code_of(decode(tokenizer, token_ids[start:])) if opened else None
        if len(token_ids) >= budget or (code is not None and turns == settings.max_turns):
            return ended("length")
        if code is None:
            continue
        began = time.monotonic()
        try:
            execution = await interpreter.run(show_last(code), limits)
        except SandboxError as error:
            return ended("tool_error", str(error))
        finally:
            seconds += time.monotonic() - began
        turns += 1
        output = encode(tokenizer, OUTPUT.format(describe_for_model(execution, limits, settings.output_chars)))
        if len(token_ids) + len(output) >= budget:
            return ended("length")
        token_ids += output
        mask += [False] * len(output)
        if turn.token_logprobs is not None:
            logprobs += [np.nan] * len(output)
        start, opened = len(token_ids), False


def refuse_stops(stop: Sequence[str]) -> None:
    """Raise UserError for a stop string that would end a response where a program is asked for, and does not."""
    for each in stop:
        if each in _CALL or CODE_START in each or CODE_END in each:
            raise UserError(
                f"--stop {each!r}: with --tools python a program is asked for by {CODE_START} and {CODE_END}, and this"
                " would end the response there; leave it out"
            )


_CALL = f"\n{CODE_START}\n```python\n```\n{CODE_END}\n"
"""How the wording asks the model to write a program."""


def response_text(tokenizer: Any, token_ids: Sequence[int], last_tokens: int, stop: Sequence[str]) -> str:
    """A response as a grader reads it: without special tokens, and without the stop string that ended it.

    Only the last `last_tokens` tokens can have been ended by one: output may contain it.
    """
    text = decode(tokenizer, token_ids)
    last = decode(tokenizer, token_ids[len(token_ids) - last_tokens :])
    ends = [end for each in stop if (end := text.find(each, len(text) - len(last))) >= 0]
    return text[: min(ends)] if ends else text


def code_of(text: str) -> str | None:
    """The program that the last `<code>` before the last `</code>` opens, without markdown fences; None without one.

    A response that speaks of the tag before it uses it has several.
    """
    before, end, _ = text.rpartition(CODE_END)
    _, opened, code = before.rpartition(CODE_START)
    if not end or not opened:
        return None
    first, _, rest = code.strip().partition("\n")
    # Not one expression for all of it: on a long run of blanks it would take minutes.
    if _FENCE.fullmatch(first) and rest.endswith("```"):
        code = rest.removesuffix("```").rstrip(" \t")
    return code.strip("\n")


_FENCE = re.compile(r"```[a-zA-Z0-9]*[ \t]*")
_BORDER = 16
"""Tokens before a turn in which a tag that it completes may begin."""


def decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Text of token ids, as the engine gives it."""
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text by itself; a program that prints `<|im_end|>` prints text, no token that ends a turn."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])


def _until_code_end(tokenizer: Any, sampled: Sequence[int]) -> tuple[list[int], bool]:
    """The tokens up to the one that completes CODE_END, and whether there is one: an engine may stop a little late."""
    own = list(sampled)
    if CODE_END not in decode(tokenizer, own):
        return own, False
    if CODE_END not in decode(tokenizer, own[:-1]):
        return own, True
    return own[: bisect_left(range(len(own)), True, key=lambda end: CODE_END in decode(tokenizer, own[:end]))], True
