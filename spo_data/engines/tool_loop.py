"""The tool loop: a model writes programs in `<code>` tags and reads their output in `<interpreter>` tags.

    response = await tool_loop(generate, interpreter, tokenizer, prompt_ids, budget=16_384, settings=policy.tools)
    response.token_ids, response.response_mask

It knows no engine: estimation and training give it a `generate` that samples the next tokens after a context. These
rules hold for the tokens:

* A turn is sampled up to `</code>`. Its token ids are kept and resubmitted unchanged, even if the last one splits a
  character; sampled text is never tokenized again. Output is tokenized separately and appended.
* `response_mask` is true for the model's own tokens, false for output. Log-probs of output are NaN.
* The budget counts both. If output would leave no token for the model, it is not appended and the response ends as
  "length".
* At most `max_turns` programs run. A response that asks for one more also ends as "length".
* A `</code>` without `<code>` before it runs nothing: sampling continues.
* If the interpreter itself fails, the response ends as "tool_error", which is no observation of the policy.
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
"""How the model reads a program's output: the reference's wording."""
NO_TOOL_WORDING = "the prompt does not tell the model about its interpreter: use --template retool"
"""What a user reads if the model has an interpreter that its prompts do not mention."""

FinishReason = Literal["stop", "length", "tool_error"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What an engine sampled in one request."""

    token_ids: Sequence[int]
    finish_reason: Literal["stop", "length"]
    """"length" if `max_tokens` ended it."""
    token_logprobs: Sequence[float] | None = None


class Generate(Protocol):
    """Samples after a context until the model ends its turn, CODE_END appears, or `max_tokens` are sampled."""

    async def __call__(self, context: list[int], max_tokens: int, number: int) -> Turn:
        """Return one turn; `number` counts the requests of one response from 0, and each needs its own seed."""
        ...


@dataclass(frozen=True, slots=True)
class ToolResponse:
    """A response with the output of its programs."""

    text: str
    token_ids: np.ndarray
    """int32, shape (n_response_tokens,)."""
    response_mask: np.ndarray
    """bool, the same shape: true for tokens that the model sampled."""
    token_logprobs: np.ndarray | None
    """float32, the same shape; NaN where the mask is false."""
    finish_reason: FinishReason
    last_tokens: int
    """Number of tokens after the last output; `response_text` looks for stop strings in these."""
    tool_turns: int
    tool_seconds: float
    """Time spent waiting for the interpreter, including its queue."""
    detail: str | None = None
    """The reason, if `finish_reason` is "tool_error"."""


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
    """Draw one response of at most `budget` tokens; raises whatever `generate` raises."""
    token_ids: list[int] = []
    mask: list[bool] = []
    logprobs: list[float] = []
    start, opened, requests, turns, seconds = 0, False, 0, 0, 0.0
    limits = Limits(settings.seconds, settings.memory_mb)

    def finish(reason: FinishReason, detail: str | None = None) -> ToolResponse:
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
        own, found = _cut_after_code_end(tokenizer, turn.token_ids)
        token_ids += own
        mask += [True] * len(own)
        logprobs += list(turn.token_logprobs or ())[: len(own)]
        if not found:
            return finish(turn.finish_reason)
        # The whole turn is decoded only if it may hold a program: a model may repeat the end tag many times.
        opened = opened or CODE_START in decode(tokenizer, token_ids[max(start, len(token_ids) - len(own) - _BORDER) :])
        code = code_of(decode(tokenizer, token_ids[start:])) if opened else None
        if len(token_ids) >= budget or (code is not None and turns == settings.max_turns):
            return finish("length")
        if code is None:
            continue
        began = time.monotonic()
        try:
            execution = await interpreter.run(show_last(code), limits)
        except SandboxError as error:
            return finish("tool_error", str(error))
        finally:
            seconds += time.monotonic() - began
        turns += 1
        output = encode(tokenizer, OUTPUT.format(describe_for_model(execution, limits, settings.output_chars)))
        if len(token_ids) + len(output) >= budget:
            return finish("length")
        token_ids += output
        mask += [False] * len(output)
        if turn.token_logprobs is not None:
            logprobs += [np.nan] * len(output)
        start, opened = len(token_ids), False


def refuse_stops(stop: Sequence[str]) -> None:
    """Raise UserError if a stop string would end a response at the tags with which it asks for a program."""
    for each in stop:
        if each in _CALL or CODE_START in each or CODE_END in each:
            raise UserError(
                f"--stop {each!r} would end a response at its first program, which --tools python expects between"
                f" {CODE_START} and {CODE_END}; remove this stop string"
            )


_CALL = f"\n{CODE_START}\n```python\n```\n{CODE_END}\n"
"""A program as the chat's wording tells the model to write one."""


def response_text(tokenizer: Any, token_ids: Sequence[int], last_tokens: int, stop: Sequence[str]) -> str:
    """Return a response as a grader reads it: without special tokens and without the stop string that ended it.

    Stop strings are searched in the last `last_tokens` tokens only, because tool output may contain one too.
    """
    text = decode(tokenizer, token_ids)
    last = decode(tokenizer, token_ids[len(token_ids) - last_tokens :])
    ends = [end for each in stop if (end := text.find(each, len(text) - len(last))) >= 0]
    return text[: min(ends)] if ends else text


def code_of(text: str) -> str | None:
    """Return the program between the last `</code>` and the last `<code>` before it, without markdown fences, or None.

    A response that mentions the tag before it uses it has several `<code>`.
    """
    before, end, _ = text.rpartition(CODE_END)
    _, opened, code = before.rpartition(CODE_START)
    if not end or not opened:
        return None
    first, _, rest = code.strip().partition("\n")
    # Not one regular expression for the whole block: on a long run of blanks it would take minutes.
    if _FENCE.fullmatch(first) and rest.endswith("```"):
        code = rest.removesuffix("```").rstrip(" \t")
    return code.strip("\n")


_FENCE = re.compile(r"```[a-zA-Z0-9]*[ \t]*")
_BORDER = 16
"""How many tokens before a turn are searched for the beginning of a tag that the turn completes."""


def decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Return the text of token ids, decoded as the engine decodes it."""
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))


def encode(tokenizer: Any, text: str) -> list[int]:
    """Return a text's token ids; a printed `<|im_end|>` stays text and never becomes the token that ends a turn."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])


def _cut_after_code_end(tokenizer: Any, sampled: Sequence[int]) -> tuple[list[int], bool]:
    """Return the tokens up to the one that completes CODE_END (an engine may stop later), and whether there is one."""
    own = list(sampled)
    if CODE_END not in decode(tokenizer, own):
        return own, False
    if CODE_END not in decode(tokenizer, own[:-1]):
        return own, True
    return own[: bisect_left(range(len(own)), True, key=lambda end: CODE_END in decode(tokenizer, own[:end]))], True
