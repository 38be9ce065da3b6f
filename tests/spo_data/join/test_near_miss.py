"""Why a training prompt has no value: the nearest prompt that has one."""

import time
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spo_data.join.near_miss import NearMisses
from spo_data.prompts.identity import Message, Prompt
from spo_data.prompts.template import BUILT_IN, AnswerTemplate

QUESTION = "How many primes are there below one hundred?"
BOXED = "\nThe answer format must be: \\boxed{'The final answer goes here.'}"


def prompt(*contents: str, system: str | None = None) -> Prompt:
    roles = ("user", "assistant", "user", "assistant", "user")
    turns = [Message(role, content) for role, content in zip(roles, contents, strict=False)]
    return Prompt((*([Message("system", system)] if system else []), *turns), "25", "d")


OTHERS = [prompt(f"What is {k} squared, added to one?") for k in range(50)]


@pytest.mark.parametrize(
    ("ours", "theirs", "reason", "detail"),
    [
        (
            prompt("Add  1\nand 2"),
            prompt("Add 1 and 2"),
            "whitespace",
            "'Add  1\\nand 2' in the training data, 'Add 1 and 2' in the values",
        ),
        (
            prompt("caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait"),
            prompt(unicodedata.normalize("NFD", "caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait")),
            "characters",
            "in the training data",
        ),
        (
            prompt(QUESTION),
            prompt(QUESTION, system="Think step by step."),
            "system prompt",
            "no system prompt in the training data, the system prompt 'Think step by step.' in the values",
        ),
        (
            prompt(QUESTION, system="A"),
            prompt(QUESTION.replace(" ", "  "), system="B"),
            "system prompt",
            "the system prompt 'A' in the training data, the system prompt 'B' in the values",
        ),
        (
            prompt("Hi.", "Hello!", QUESTION),
            prompt(QUESTION),
            "earlier turns",
            "3 messages in the training data, 1 in the values",
        ),
        (
            prompt(QUESTION),
            prompt(QUESTION + BOXED),
            "instruction",
            "no instruction that we know in the training data, --template boxed in the values",
        ),
        (
            AnswerTemplate("dapo", BUILT_IN["dapo"]).apply(prompt(QUESTION).messages)[0].content,
            prompt(QUESTION + BOXED),
            "instruction",
            "--template dapo in the training data, --template boxed in the values",
        ),
        (prompt(QUESTION), prompt(QUESTION + " Think first!"), "suffix", "the values end with 'Think first!'"),
        (prompt(QUESTION + " Think it!"), prompt(QUESTION), "suffix", "the training prompts end with 'Think it!'"),
        (prompt(QUESTION), prompt("Question: " + QUESTION), "prefix", "the values begin with 'Question:'"),
        (prompt("Question: " + QUESTION), prompt(QUESTION), "prefix", "the training prompts begin with 'Question:'"),
    ],
)
def test_the_difference_is_named(ours: Prompt | str, theirs: Prompt, reason: str, detail: str) -> None:
    found = NearMisses([*OTHERS, theirs]).find(prompt(ours) if isinstance(ours, str) else ours)
    assert found.reason == reason
    assert detail in found.detail
    assert found.prompt_id == theirs.prompt_id


@pytest.mark.parametrize(
    "ours", ["What is 7 squared, added to one!!", "What is 7", "Something else.", "What is 1 + 12?"]
)
def test_another_problem_is_no_near_miss(ours: str) -> None:
    """A prompt that begins like another is a different problem, unless the rest is long enough to be an instruction."""
    found = NearMisses([*OTHERS, prompt("What is 1 + 1")]).find(prompt(ours))
    assert (found.reason, found.prompt_id) == ("not in the values", None) or len(ours) < 12


def test_the_longest_of_several_beginnings_is_found_though_longer_entries_lie_between() -> None:
    texts = [QUESTION, QUESTION + " Now.", QUESTION + " Now. And aaa?", QUESTION + " Now. And zzz?"]
    found = NearMisses(map(prompt, texts)).find(prompt(QUESTION + " Now. And then explain."))
    assert found.prompt_id == prompt(QUESTION + " Now.").prompt_id
    assert found.detail == "the training prompts end with 'And then explain.'"


@given(st.lists(st.text("ab ", min_size=1), min_size=1, max_size=12), st.text("ab ", max_size=40))
def test_an_affix_is_found_exactly_where_there_is_one(texts: list[str], ours: str) -> None:
    texts, ours = [" ".join(text.split()) for text in texts], " ".join(ours.split())
    assume(ours and ours not in texts)
    found = NearMisses([prompt(text) for text in texts if text] or [prompt("x")]).find(prompt(ours))
    known = [text for text in texts if text] or ["x"]

    def affix(one: str, other: str) -> bool:
        short, long = sorted((one, other), key=len)
        return bool(short) and len(long) - len(short) >= 8 and (long.startswith(short) or long.endswith(short))

    assert (found.reason in ("suffix", "prefix")) == any(affix(ours, text) for text in known)


def test_twenty_thousand_prompts_are_searched_in_seconds() -> None:
    """Comparing every pair would take four hundred million comparisons."""
    values = [prompt(f"{QUESTION} Part {k}, in full.") for k in range(20_000)]
    begun = time.process_time()
    finder = NearMisses(values)
    reasons = {finder.find(prompt(f"{QUESTION} Part {k}.")).reason for k in range(20_000)}
    assert reasons == {"not in the values"}
    assert time.process_time() - begun < 60
