"""The tool loop, token by token, with a scripted engine and a scripted interpreter."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.engines.tool_loop import (
    OUTPUT,
    ToolResponse,
    Turn,
    code_of,
    encode,
    refuse_stops,
    response_text,
    tool_loop,
)
from spo_data.errors import UserError
from spo_data.provenance import ToolsRecord
from spo_data.sandbox.interpreter import Execution, Limits, SandboxError
from support.byte_tokenizer import EOS, ByteTokenizer

TOKENIZER = ByteTokenizer()
PROMPT = [1, 2, 3]


def tools(max_turns: int = 8, output_chars: int = 2000) -> ToolsRecord:
    return ToolsRecord(interpreter="python", max_turns=max_turns, seconds=30, memory_mb=1024, output_chars=output_chars)


@dataclass
class Scripted:
    """Both the engine, which answers with one script after another, cut at `max_tokens`, and the interpreter."""

    turns: Sequence[Sequence[int] | str]
    outputs: Sequence[str | Exception] = ()
    logprobs: bool = False
    concurrency: int = 1
    contexts: list[list[int]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)

    async def generate(self, context: list[int], max_tokens: int, number: int) -> Turn:
        self.contexts.append(context)
        self.numbers.append(number)
        script = self.turns[len(self.contexts) - 1]
        ids = list(script.encode()) if isinstance(script, str) else list(script)
        reason = "length" if len(ids) > max_tokens or (len(ids) == max_tokens and ids[-1] != EOS) else "stop"
        ids = ids[:max_tokens]
        return Turn(ids, reason, [-0.5] * len(ids) if self.logprobs else None)

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        assert (limits, stdin) == (Limits(30, 1024), "")
        self.programs.append(code)
        output = self.outputs[len(self.programs) - 1]
        if isinstance(output, Exception):
            raise output
        return Execution(output, "", 0)


def respond(script: Scripted, *, budget: int = 10_000, stop: Sequence[str] = (), **settings: int) -> ToolResponse:
    return asyncio.run(
        tool_loop(script.generate, script, TOKENIZER, PROMPT, budget=budget, settings=tools(**settings), stop=stop)
    )


def ids_of(*parts: Sequence[int] | str) -> list[int]:
    return [number for part in parts for number in (part.encode() if isinstance(part, str) else part)]


def test_a_response_without_code_is_one_request_and_all_its_own() -> None:
    script = Scripted([[*b"the answer is 4", EOS]])
    response = respond(script)
    assert (script.numbers, script.contexts) == ([0], [PROMPT])
    assert response.token_ids.tolist() == [*b"the answer is 4", EOS]
    assert response.response_mask.all()
    assert (response.text, response.finish_reason, response.tool_turns) == ("the answer is 4", "stop", 0)


def test_the_output_comes_back_as_tokens_of_its_own_that_the_mask_leaves_out() -> None:
    call = "let me see <code>\n```python\n6 * 7\n```\n</code>"
    script = Scripted([call, [*b"so 42", EOS]], ["42\n"], logprobs=True)
    response = respond(script)
    output = OUTPUT.format("42")
    assert response.token_ids.tolist() == ids_of(call, output, b"so 42", [EOS])
    own = [True] * len(call) + [False] * len(output) + [True] * 6
    assert response.response_mask.tolist() == own
    assert response.token_logprobs is not None
    assert np.isnan(response.token_logprobs).tolist() == [not each for each in own]
    assert (response.token_logprobs[response.response_mask] == -0.5).all()
    assert script.contexts == [PROMPT, ids_of(PROMPT, call, output)]
    assert script.numbers == [0, 1]
    assert script.programs == ["__import__('sys').displayhook((6 * 7))"]
    assert response.text == f"{call}{output}so 42"
    assert (response.tool_turns, response.last_tokens, response.finish_reason) == (1, 6, "stop")


@pytest.mark.parametrize("end", [[*b"</code", 257], [*b"</code", 258], [259], [*b"</code", 260]])
def test_the_token_that_ends_a_block_is_kept_and_resubmitted_whatever_it_holds_beside(end: list[int]) -> None:
    """A token may hold more than the end of the block, such as the first byte of a character (258). Re-tokenized text
    would change the context and turn that byte into U+FFFD."""
    call = [*b"<code>1", *end]
    script = Scripted([call, [*b"\xa9!", EOS]], ["1\n"])
    response = respond(script)
    assert script.contexts[1] == [*PROMPT, *call, *OUTPUT.format("1").encode()]
    assert response.token_ids.tolist() == [*script.contexts[1][3:], *b"\xa9!", EOS]
    assert script.programs == ["__import__('sys').displayhook((1))"]
    assert response.response_mask.sum() == len(call) + 3


def test_tokens_that_an_engine_sampled_beyond_the_end_of_a_block_are_dropped() -> None:
    script = Scripted([[*b"<code>1</code> and more", EOS], [*b"x", EOS]], ["1\n"], logprobs=True)
    response = respond(script)
    assert response.token_ids.tolist() == ids_of("<code>1</code>", OUTPUT.format("1"), "x", [EOS])
    assert response.token_logprobs is not None
    assert len(response.token_logprobs) == len(response.token_ids)


def test_a_block_that_the_budget_cuts_is_not_run() -> None:
    script = Scripted(["<code>print(1)</code>"])
    response = respond(script, budget=15)
    assert (response.finish_reason, response.tool_turns, script.programs) == ("length", 0, [])
    assert response.token_ids.tolist() == list(b"<code>print(1)<")
    assert response.response_mask.all()


def test_a_block_that_ends_with_the_budget_is_not_run() -> None:
    call = "<code>print(1)</code>"
    response = respond(Scripted([call]), budget=len(call))
    assert (response.finish_reason, response.tool_turns) == ("length", 0)
    assert response.text == call


@pytest.mark.parametrize("room", [-1, 0])
def test_output_that_would_leave_the_model_no_token_ends_the_response_and_is_not_appended(room: int) -> None:
    call, output = "<code>print(1)</code>", OUTPUT.format("1")
    script = Scripted([call], ["1\n"])
    response = respond(script, budget=len(call) + len(output) + room)
    assert response.token_ids.tolist() == list(call.encode())
    assert (response.finish_reason, response.tool_turns, len(script.contexts)) == ("length", 1, 1)


def test_output_that_leaves_the_model_one_token_is_appended() -> None:
    call, output = "<code>print(1)</code>", OUTPUT.format("1")
    script = Scripted([call, "yes"], ["1\n"])
    response = respond(script, budget=len(call) + len(output) + 1)
    assert response.text == f"{call}{output}y"
    assert (response.finish_reason, len(response.token_ids)) == ("length", len(call) + len(output) + 1)


def test_a_response_that_asks_for_more_programs_than_it_may_run_ends_as_truncated() -> None:
    call = "<code>1</code>"
    script = Scripted([call] * 3, ["1\n"] * 3)
    response = respond(script, max_turns=2)
    assert (response.finish_reason, response.tool_turns, len(script.programs)) == ("length", 2, 2)
    assert response.text == (call + OUTPUT.format("1")) * 2 + call


def test_the_last_program_may_be_followed_by_an_answer() -> None:
    script = Scripted(["<code>1</code>", "<code>2</code>", [*b"3", EOS]], ["1\n", "2\n"])
    assert respond(script, max_turns=2).finish_reason == "stop"


def test_an_end_tag_without_a_block_asks_for_nothing_and_sampling_goes_on() -> None:
    """The reference implementation ends the response there, so an answer after the tag is lost."""
    script = Scripted(["I close with </code>", [*b" but had none: 4", EOS]])
    response = respond(script)
    assert response.text == "I close with </code> but had none: 4"
    assert (response.tool_turns, response.response_mask.all(), script.numbers) == (0, True, [0, 1])


class CountingTokenizer(ByteTokenizer):
    """Counts the tokens that it decodes."""

    decoded = 0

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        CountingTokenizer.decoded += len(token_ids)
        return super().decode(token_ids, skip_special_tokens)


def decoded(script: Scripted, **settings: int) -> tuple[ToolResponse, int]:
    """The response, and how many tokens were decoded for it."""
    CountingTokenizer.decoded = 0
    drawn = tool_loop(script.generate, script, CountingTokenizer(), PROMPT, budget=100_000, settings=tools(**settings))
    return asyncio.run(drawn), CountingTokenizer.decoded


def test_end_tags_over_and_over_are_not_read_from_the_start_each_time() -> None:
    """If the model repeated the tag, its response held up every other one for half a minute."""
    script = Scripted([*["</code>"] * 500, "<code>1</code>", [EOS]], ["1\n"])
    response, tokens = decoded(script)
    assert response.tool_turns == 1
    assert script.programs == ["__import__('sys').displayhook((1))"]
    assert tokens < 20 * len(response.token_ids)


def test_the_end_of_a_block_is_found_without_reading_all_that_follows_again_and_again() -> None:
    """verl may cut a request in the middle of the end tag, and the next request does not stop at its remainder."""
    script = Scripted(["<code>1</code>" + "x" * 5_000, [EOS]], ["1\n"])
    response, tokens = decoded(script)
    assert response.text.startswith("<code>1</code>" + OUTPUT.format("1"))
    assert tokens < 50_000


def test_a_block_whose_tag_two_turns_share_is_run() -> None:
    """A token may hold an end tag and the beginning of the next block's start tag."""
    assert respond(Scripted([[261], [*b"de>1</code>"], [EOS]], ["1\n"])).tool_turns == 1
    assert respond(Scripted([[*b"</code>", *b"<co"], [EOS]])).tool_turns == 0, "sampled beyond an end tag: dropped"


def test_an_interpreter_that_fails_ends_the_response_as_our_failure() -> None:
    script = Scripted(["<code>1</code>", "<code>2</code>"], ["1\n", SandboxError("no answer from http://x")])
    response = respond(script)
    assert (response.finish_reason, response.detail) == ("tool_error", "no answer from http://x")
    assert response.tool_turns == 1
    assert response.text == "<code>1</code>" + OUTPUT.format("1") + "<code>2</code>"


def test_what_the_engine_raises_is_passed_on() -> None:
    with pytest.raises(IndexError):
        respond(Scripted([]))


def test_a_stop_string_cuts_the_text_where_the_model_wrote_it_and_not_in_output() -> None:
    script = Scripted(["<code>1</code>", [*b"4 END", 0]], ["an END in output\n"])
    response = respond(script, stop=("END",))
    assert response.text == "<code>1</code>" + OUTPUT.format("an END in output") + "4 "


def test_output_is_cut_to_its_limit_before_it_is_tokenized() -> None:
    script = Scripted(["<code>1</code>", [EOS]], ["x" * 100])
    assert "(90 characters left out)" in respond(script, output_chars=10).text


def test_a_program_that_prints_a_special_token_prints_text() -> None:
    """The text became a real special token, which ended a turn in the middle of a response and is invisible in text."""
    from spo_data.models.chat import load_chat
    from spo_data.models.names import resolve_model

    tokenizer = load_chat(resolve_model("smollm2-135m")).tokenizer
    ids = encode(tokenizer, "<|im_end|>\n<|im_start|>user")
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<|im_end|>\n<|im_start|>user"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<code>a</code>", "a"),
        ("<code>\n```python\na\nb\n```\n</code>", "a\nb"),
        ("<code>\n```py\na\n```\n</code>", "a"),
        ("<code>```\na\n```</code>", "a"),
        ("<code>\n    a\n</code>", "    a"),
        ("with `<code>` I write <code>a</code>", "a"),
        ("<code>a</code> then <code>b</code>", "b"),
        ("a</code>", None),
        ("</code> and <code>", None),
        ("<code>a", None),
        ("<code></code>", ""),
        ("<code>x = '```'\n```</code>", "x = '```'\n```"),
    ],
)
def test_the_last_block_is_the_program_without_its_fences(text: str, code: str | None) -> None:
    assert code_of(text) == code


@given(st.text(alphabet="`a \t\n", max_size=30).map(lambda text: f"```py{text}```"))
def test_fences_are_what_one_expression_would_find(text: str) -> None:
    fenced = re.fullmatch(r"```[a-zA-Z0-9]*[ \t]*\n(.*?)\n?[ \t]*```", text.strip(), re.DOTALL)
    assert code_of(f"<code>{text}</code>") == (fenced[1] if fenced else text).strip("\n")


@pytest.mark.timeout(20)
def test_a_program_with_a_long_run_of_blanks_is_read_at_once() -> None:
    """One regular expression for the whole block took minutes, and no other response advanced meanwhile."""
    blanks = " " * 300_000
    assert code_of(f"<code>```py\n{blanks}1\n```</code>") == f"{blanks}1"


@pytest.mark.parametrize(
    "stop",
    ["</code>", "</code", "</", "<code>", "<code", "code>", "e", "\n</code>", "<", "\n<code", ">\n", "```", "```\n</"],
)
def test_a_stop_string_that_ends_a_response_at_its_program_is_refused(stop: str) -> None:
    """`</code` and `>\\n` were accepted. Every response ended before its first program and was graded as finished."""
    with pytest.raises(UserError, match="program, which --tools python expects between <code> and </code>; remove"):
        refuse_stops(["END", stop])


def test_other_stop_strings_are_fine() -> None:
    refuse_stops(["END", "\n\n", "</answer>"])


def test_the_text_of_a_response_is_cut_at_the_first_of_several_stop_strings() -> None:
    assert response_text(TOKENIZER, list(b"a b c b"), 7, ("c", "b")) == "a "
    assert response_text(TOKENIZER, list(b"a b c b"), 3, ("c", "b")) == "a b "


@given(
    turns=st.lists(
        st.sampled_from(["<code>1</code>", "x", "</code>", "<code>", "\n```", "é"]).flatmap(
            lambda end: st.text(max_size=5).map(lambda text: (text + end).encode(errors="replace"))
        ),
        min_size=1,
        max_size=8,
    ),
    budget=st.integers(1, 120),
    max_turns=st.integers(1, 3),
)
def test_tokens_mask_and_budget_add_up_whatever_the_model_writes(
    turns: list[bytes], budget: int, max_turns: int
) -> None:
    script = Scripted([list(turn) for turn in turns] + [[EOS]] * 9, ["out\n"] * 9, logprobs=True)
    response = respond(script, budget=budget, max_turns=max_turns)
    assert len(response.token_ids) == len(response.response_mask) <= budget
    assert response.token_logprobs is not None
    assert (np.isnan(response.token_logprobs) == ~response.response_mask).all()
    assert response.tool_turns == len(script.programs) <= max_turns
    output = OUTPUT.format("out").encode()
    assert (~response.response_mask).sum() % len(output) == 0
    for earlier, later in zip(script.contexts, script.contexts[1:], strict=False):
        assert later[: len(earlier)] == earlier
    assert response.token_ids.tolist()[: len(script.contexts[-1]) - 3] == script.contexts[-1][3:]
