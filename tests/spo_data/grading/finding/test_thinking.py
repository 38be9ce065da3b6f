"""What a response thinks is no part of its answer, in whatever way a model sets it off."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.grading.finding.extract import extract_answer
from spo_data.grading.finding.thinking import strip_thinking


@pytest.mark.parametrize(
    ("response", "visible"),
    [
        ("no thinking", "no thinking"),
        ("", ""),
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),  # the template opened the thinking
        ("<think>a</think>b</think>c", "c"),
        ("<think>a<think>b</think>c", "c"),
        ("a<think>b</think>c</think>d", "d"),
        ("<think>a", None),
        ("<think>a</think>b<think>c", None),
        ("<think></think>", ""),
        ("<think>a</thinking>b", "b"),
        ("a<reflection>b</reflection>", "a\n"),
        ("<thinking>a<reflection>b</reflection>c</thinking>d", "d"),
        ("<thinking>a<reflection>b</reflection>c", None),
        ("a < b and c > d", "a < b and c > d"),
        ("<no_think>b", "<no_think>b"),
        ("<b>b</b>", "<b>b</b>"),
    ],
)
def test_thinking_is_stripped_and_thinking_that_never_ends_leaves_nothing(response: str, visible: str | None) -> None:
    assert strip_thinking(response) == visible


BLOCKS = [
    *(("<think>", "</think>"), ("<Thinking>", "</Thinking>"), ("<thought>", "</thought>"), ("<cot>", "</cot>")),
    *(("<reasoning>", "</reasoning>"), ("<scratchpad>", "</scratchpad>"), ("<scratch_pad>", "</scratch_pad>")),
    *(("<inner_thoughts>", "</inner_thoughts>"), ("<inner-monologue>", "</inner-monologue>")),
    *(("<seed:think>", "</seed:think>"), ("<think_fast>", "</think_fast>"), ("<analysis>", "</analysis>")),
    *(("<chain_of_thought>", "</chain_of_thought>"), ("<plan>", "</plan>"), ("<think lang='en'>", "</think>")),
    *(("[THINK]", "[/THINK]"), ("\u25c1think\u25b7", "\u25c1/think\u25b7"), ("<|think|>", "<|/think|>")),
    *(("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|thinking_start|>", "<|thinking_end|>")),
    ("<|begin_of_thought|>", "<|end_of_thought|><|begin_of_solution|>"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    *(("<unused94>thought\n", "<unused95>"), ("<|channel>thought\n", "<channel|>")),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysisWell, ", "assistantfinal"),
    ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
    ("Here is my thought process:\n", "\nHere is my response:\n"),
]
ENDS = [
    *("", "<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>", "<|endoftext|>", "<|return|>", "<|end|>", "<eos>"),
    *("<|END_RESPONSE|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "[|endofturn|]", "<turn|>", "<|end_of_solution|>"),
    *("<|im_end|>\n<|im_start|>user\nAnother? \\boxed{3}", "<|eot_id|><|start_header_id|>user<|end_header_id|>"),
]
MARKERS = [
    *("\\boxed{%s}", "So it is $\\boxed{%s}$.", "Answer: %s", "**Final Answer:** %s", "The answer is **%s**."),
    *("<answer>%s</answer>", "<final_answer>%s</final_answer>", "<|begin_of_box|>%s<|end_of_box|>", "#### %s"),
    *("## Final Answer\n\n%s", '{"answer": "%s"}', "\u7b54\u6848\uff1a%s", "\u2705 Answer: `%s`"),
]


@given(st.sampled_from(BLOCKS), st.sampled_from(MARKERS), st.sampled_from(ENDS), st.integers(0, 999))
def test_any_thinking_any_mark_and_any_chat_token_give_the_answer_back(
    block: tuple[str, str], marker: str, end: str, answer: int
) -> None:
    before, after = block
    response = f"{before}perhaps \\boxed{{-1}}, no{after}\n{marker % answer}{end}"
    assert extract_answer(response) == str(answer)


@pytest.mark.parametrize("before", [before for before, _ in BLOCKS], ids=ascii)
def test_thinking_that_never_ends_is_no_answer(before: str) -> None:
    r"""Unfinished `<seed:think>` and others were read as the answer, so a guess in them scored."""
    assert strip_thinking(f"{before}The answer is \\boxed{{42}}.") is None


@pytest.mark.parametrize("after", [after for _, after in BLOCKS[:-5]], ids=ascii)
def test_thinking_that_the_chat_template_opened_is_stripped_too(after: str) -> None:
    assert (strip_thinking(f"perhaps \\boxed{{41}}{after}b") or "").strip() == "b"


@pytest.mark.parametrize(
    "hostile",
    [
        *("<" * 200_000, "<think>" * 30_000, "</think>" * 30_000, "<a " * 70_000, "<|" * 100_000, "[THINK" * 30_000),
        *("<|channel|>" * 20_000, " " * 200_000, "<s>" * 60_000, "</s>    " * 30_000, "<|im_end|>" * 20_000),
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_long_hostile_text_is_read_in_linear_time(hostile: str) -> None:
    """A tenth of a second for 200,000 characters; were a step quadratic, it would take minutes."""
    started = time.process_time()
    strip_thinking(hostile)
    assert time.process_time() - started < 5
