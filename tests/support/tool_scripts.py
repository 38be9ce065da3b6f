"""Scripted responses with programs, which estimation and training must turn into the same tokens.

for case in CASES:
    script = ScriptedTurns(tokenizer, case)           # the model: its text, as an engine would cut it
    ids, finish_reason = script.sample(number=0, max_tokens=case.budget, stop=["</code>"])
    interpreter = ScriptedInterpreter(case.outputs)   # the results of its programs
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from spo_data.sandbox.interpreter import Execution, SandboxError


@dataclass(frozen=True)
class Case:
    """One response: what the model writes in each request, and the results of its programs."""

    name: str
    turns: tuple[str | tuple[str | int, ...], ...]
    """Each is a text, or pieces of text and token ids. After the last piece the model ends its response."""
    outputs: tuple[Execution | SandboxError, ...] = ()
    budget: int = 200
    max_turns: int = 8
    stop: tuple[str, ...] = ()
    finish_reason: Literal["stop", "length", "tool_error"] = "stop"


def printed(text: str) -> Execution:
    """The result of a program that printed this text."""
    return Execution(stdout=text, stderr="", return_code=0)


ONE_BLOCK = "Let me see. <code>\n```python\nprint(6 * 7)\n```\n</code>"
THE_ANSWER = "\nIt is \\boxed{42}."
HALVES = 10_813, 38_887
"""The two tokens of one character (an emoji) in SmolLM2's tokenizer."""

CASES = (
    Case("no code", (THE_ANSWER,)),
    Case("one block", (ONE_BLOCK, THE_ANSWER), (printed("42\n"),)),
    Case("two blocks", (ONE_BLOCK, f"\nAgain. {ONE_BLOCK}", THE_ANSWER), (printed("41"), printed("42"))),
    Case("the budget cuts a block", (ONE_BLOCK,), budget=12, finish_reason="length"),
    Case("the budget cuts the answer", (ONE_BLOCK, THE_ANSWER), (printed("42"),), budget=41, finish_reason="length"),
    Case("the end of code is the last token", (ONE_BLOCK,), budget=24, finish_reason="length"),
    Case("no room for the output", (ONE_BLOCK,), (printed("4" * 60),), budget=60, finish_reason="length"),
    Case("the model ends at the last token", ("It is 4.",), budget=6),
    Case(
        "one program more than allowed",
        (ONE_BLOCK, ONE_BLOCK),
        (printed("42"),),
        max_turns=1,
        finish_reason="length",
    ),
    Case("a stray end of code", ("There is no code </code>", THE_ANSWER)),
    Case(
        "output between the halves of a character",
        (("<code>\nprint(1) # ", HALVES[0], "</code>"), (HALVES[1], THE_ANSWER)),
        (printed("1"),),
    ),
    Case(
        "a stop string that the output has too",
        (ONE_BLOCK, "\nIt is \\boxed{42}. DONE and more"),
        (printed("DONE"),),
        stop=("DONE",),
    ),
    Case("a program that failed", (ONE_BLOCK, THE_ANSWER), (Execution("", "NameError: x", 1),)),
    Case("no sandbox", (ONE_BLOCK,), (SandboxError("the sandbox is down"),), finish_reason="tool_error"),
)


@dataclass
class ScriptedTurns:
    """A model that writes a case's turns, request by request, cut as an engine would cut them."""

    tokenizer: Any
    case: Case

    def sample(self, number: int, max_tokens: int, stop: Sequence[str]) -> tuple[list[int], Literal["stop", "length"]]:
        """Token ids up to the end of the response, the token that completes a stop string, or the budget."""
        said = self._token_ids(self.case.turns[number])
        for length, token in enumerate(said, start=1):
            text = self.tokenizer.decode(said[:length], skip_special_tokens=True)
            if token == self.tokenizer.eos_token_id or any(each in text for each in stop):
                return said[:length], "stop"
            if length == max_tokens:
                return said[:length], "length"
        raise AssertionError("a turn ends with the end token")

    def _token_ids(self, turn: str | tuple[str | int, ...]) -> list[int]:
        pieces = (turn,) if isinstance(turn, str) else turn
        encoded = (
            [piece] if isinstance(piece, int) else self.tokenizer(piece, add_special_tokens=False)["input_ids"]
            for piece in pieces
        )
        return [*chain.from_iterable(encoded), self.tokenizer.eos_token_id]


@dataclass
class ScriptedInterpreter:
    """See `spo_data.sandbox.interpreter.Interpreter`."""

    outputs: Sequence[Execution | SandboxError]
    programs: list[str] = field(default_factory=list)

    @property
    def concurrency(self) -> int:
        """One at a time."""
        return 1

    async def run(self, code: str, *_: Any, **__: Any) -> Execution:
        """The next output."""
        self.programs.append(code)
        output = self.outputs[len(self.programs) - 1]
        if isinstance(output, SandboxError):
            raise output
        return output
