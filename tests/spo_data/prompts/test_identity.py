"""Prompt ids and sample seeds: what they depend on, what they never depend on, and that they never change."""

import hashlib
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data import Message, Prompt, prompt_id, sample_seed

ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
ANY_MESSAGES = st.lists(st.builds(Message, ROLES, st.text()), max_size=4)
FEW_MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["user", "system"]), st.text("a\n ", max_size=3)), max_size=3
)
SPACE = st.text(" \t\n\r\u00a0\u3000", max_size=4)
RUN_SEEDS = st.integers(0, 2**63 - 1)


def _stripped(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content.strip()) for message in messages]


def _thousand_ids() -> list[str]:
    return [prompt_id([Message("user", f"What is {number} + 1?")]) for number in range(1000)]


@given(ANY_MESSAGES)
def test_prompt_id_is_32_lowercase_hex_digits(messages: list[Message]) -> None:
    assert re.fullmatch("[0-9a-f]{32}", prompt_id(messages))


@given(FEW_MESSAGES, FEW_MESSAGES)
def test_two_prompts_share_an_id_exactly_when_roles_and_stripped_contents_agree(
    one: list[Message], other: list[Message]
) -> None:
    assert (prompt_id(one) == prompt_id(other)) == (_stripped(one) == _stripped(other))


@given(ANY_MESSAGES, SPACE, SPACE)
def test_prompt_id_ignores_space_around_a_content(messages: list[Message], before: str, after: str) -> None:
    padded = [Message(message.role, before + message.content + after) for message in messages]
    assert prompt_id(padded) == prompt_id(messages)


@given(ANY_MESSAGES)
def test_prompt_id_does_not_depend_on_the_kind_of_iterable(messages: list[Message]) -> None:
    assert prompt_id(messages) == prompt_id(tuple(messages)) == prompt_id(message for message in messages)


@given(st.text(), st.text(), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2))
def test_prompt_id_does_not_depend_on_gold_data_source_or_task(gold: str, source: str, task: dict[str, int]) -> None:
    messages = (Message("user", "What is 2 + 2?"),)
    assert Prompt(messages, gold, source, task).prompt_id == Prompt(messages, "4", "elsewhere").prompt_id


@pytest.mark.parametrize(
    "other",
    [
        [Message("system", "What is 2 + 2?")],
        [Message("user", "What is 2 + 3?")],
        [Message("user", "what is 2 + 2?")],
        [Message("user", "What is  2 + 2?")],
        [Message("user", "What is 2 + 2?"), Message("user", "")],
        [Message("user", "What is 2"), Message("user", "+ 2?")],
    ],
    ids=["role", "content", "case", "inner space", "empty message", "split"],
)
def test_prompt_id_sees_every_other_difference(other: list[Message]) -> None:
    assert prompt_id(other) != prompt_id([Message("user", "What is 2 + 2?")])


def test_prompt_id_depends_on_the_order_of_messages() -> None:
    one, two = Message("user", "one"), Message("user", "two")
    assert prompt_id([one, two]) != prompt_id([two, one])


def test_prompt_id_is_sha_256_of_the_canonical_json() -> None:
    canonical = '[{"content":"Be br\\u00e8f.","role":"system"},{"content":"What is 2 + 2?","role":"user"}]'
    messages = [Message("system", "Be brèf.\n"), Message("user", " What is 2 + 2?")]
    assert prompt_id(messages) == hashlib.sha256(canonical.encode()).hexdigest()[:32]


def test_prompt_ids_of_published_values_never_change() -> None:
    assert prompt_id([Message("user", "What is 2 + 2?")]) == "0d878483b4ea7833d08041c9645478ac"


def test_seeds_of_published_values_never_change() -> None:
    assert sample_seed(0, "0d878483b4ea7833d08041c9645478ac", 0) == 1_664_571_719_161_682_524
    assert sample_seed(7, "0d878483b4ea7833d08041c9645478ac", 15) == 7_172_388_319_962_501_289


@given(RUN_SEEDS, ANY_MESSAGES, st.integers(0, 10_000))
def test_a_seed_has_63_bits(run_seed: int, messages: list[Message], index: int) -> None:
    assert 0 <= sample_seed(run_seed, prompt_id(messages), index) < 2**63


def test_seeds_use_all_63_bits() -> None:
    seeds = [sample_seed(0, identifier, 0) for identifier in _thousand_ids()]
    ones = [sum(seed >> bit & 1 for seed in seeds) for bit in range(63)]
    assert all(400 < count < 600 for count in ones)


def test_a_thousand_prompts_with_eight_samples_have_eight_thousand_seeds() -> None:
    """vLLM derives a child seed as seed + index, so base-plus-row seeding gave about 1,007 distinct seeds here."""
    seeds = {sample_seed(0, identifier, index) for identifier in _thousand_ids() for index in range(8)}
    assert len(seeds) == 8000


def test_another_run_seed_shares_no_sample_seed() -> None:
    seeds = {
        sample_seed(run, identifier, index) for run in range(3) for identifier in _thousand_ids() for index in (0, 1)
    }
    assert len(seeds) == 6000


def test_seeds_do_not_depend_on_the_order_or_number_of_samples() -> None:
    wanted = [(identifier, index) for identifier in _thousand_ids()[:50] for index in range(8)]
    shuffled = random.Random(0).sample(wanted, len(wanted) // 2)
    in_order = {key: sample_seed(3, *key) for key in wanted}
    assert {key: sample_seed(3, *key) for key in shuffled} == {key: in_order[key] for key in shuffled}


@pytest.mark.parametrize(
    ("one", "other"), [((1, "2a", 3), (12, "a", 3)), ((1, "a", 23), (1, "a", 2)), ((0, "a1", 1), (0, "a", 11))]
)
def test_seeds_keep_their_three_parts_apart(one: tuple[int, str, int], other: tuple[int, str, int]) -> None:
    assert sample_seed(*one) != sample_seed(*other)


def test_text_is_the_first_user_message_stripped() -> None:
    messages = (Message("system", "Be brief."), Message("user", "\n What is 2 + 2? "), Message("user", "Really?"))
    assert Prompt(messages, "4", "test").text == "What is 2 + 2?"
