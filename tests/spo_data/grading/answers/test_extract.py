"""Which part of a response is its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.grading.answers.extract import extract_answer, find_last_box, strip_thinking


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{42}", "42"),
        (r"\boxed{41} was wrong, so \boxed{42}.", "42"),
        (r"\boxed{42} is my answer, not \boxed{43", "42"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\frac{1}{\sqrt{2}}} and more", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\{1}", r"\{1"),
        (r"\boxed{1\}}", r"1\}"),
        (r"\boxed{a\\}", r"a\\"),
        (r"\boxed {42}", "42"),
        ("\\boxed\n{42}", "42"),
        (r"\boxed{ 42 }", "42"),
        ("\\boxed{4\n2}", "4\n2"),
        (r"\fbox{42}", "42"),
        (r"\boxed{1} \fbox{2}", "2"),
        (r"\boxed{'The final answer'}", "The final answer"),
        (r"\boxed{ '42' }", "42"),
        (r"\boxed{''}", ""),
        (r"\boxed{}", ""),
        (r"\boxed{42", None),
        (r"\boxed{\frac{1}{2}", None),
        (r"\boxed{42\}", None),
        ("\\boxed{42\\", None),
        (r"\boxed 42", "42"),
        ("boxed{42}", None),
        ("no box", None),
        ("", None),
    ],
)
def test_the_last_closed_box_is_read(text: str, expected: str | None) -> None:
    assert find_last_box(text) == expected


@pytest.mark.parametrize(
    ("response", "visible"),
    [
        ("no thinking", "no thinking"),
        ("", ""),
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),  # the template opened the thinking
        ("<think>a</think>b</think>c", "c"),
        ("<think>a", None),
        ("<think>a</think>b<think>c", None),
        ("<think></think>", ""),
    ],
)
def test_thinking_is_stripped_and_thinking_that_never_ends_leaves_nothing(response: str, visible: str | None) -> None:
    assert strip_thinking(response) == visible


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"<think>\boxed{1}</think> It is \boxed{2}.", "2"),
        (r"<think>\boxed{1}</think> I give up.", None),
        (r"<think>\boxed{1}", None),
        (r"\boxed{1}<think>\boxed{2}", None),
        (r"reasoning \boxed{1}</think>\boxed{2}", "2"),
        ("<think>Answer: 1</think>", None),
        ("<answer>42</answer>", "42"),
        ("<answer> 42\n</answer>", "42"),
        ("<answer>41</answer> no: <answer>42</answer>", "42"),
        ("<answer>4\n2</answer>", "4\n2"),
        ("<answer></answer>", None),
        ("<answer>42", "42"),
        (r"<answer>41</answer> \boxed{42}", "42"),
        (r"\boxed{42} <answer>41</answer>", "42"),
        (r"\boxed{} Answer: 42", None),
        (r"<answer>\boxed{42}</answer>", "42"),
        ("Answer: 42", "42"),
        ("so\nAnswer: 42\n", "42"),
        ("**Answer:** 42", "42"),
        ("**Answer: 42**", "42"),
        ("  Answer:   42  ", "42"),
        ("Answer: 41\nwait\nAnswer: 42", "42"),
        ("Answer: (A) the first", "(A) the first"),
        ("The Answer: 42", None),
        ("Answer:", None),
        ("Answer:\n42", None),
        ("2 + 2 is 4\n#### 4", "4"),
        ("#### 1,234", "1,234"),
        ("in the middle #### 4", None),
        ("Answer: 41\n<answer>42</answer>", "42"),
        ("forty-two", None),
        ("", None),
    ],
)
def test_an_answer_is_a_box_then_a_tag_then_a_marked_line(response: str, answer: str | None) -> None:
    assert extract_answer(response) == answer


@pytest.mark.parametrize("heading", ["#### Step 2: add the terms", "#### Conclusion", "##### Check"])
def test_a_markdown_heading_with_text_below_it_is_not_an_answer(heading: str) -> None:
    """A fourth-level heading was read as GSM8K's answer line, so a right answer below it was graded wrong."""
    assert extract_answer(f"{heading}\nThe answer is $42$.") is None


@given(st.text())
def test_any_text_has_an_answer_or_none_and_never_an_empty_one(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or answer.strip() == answer != ""


_BALANCED = st.recursive(
    st.text(alphabet="ab1 ", max_size=5).map(lambda text: f"x{text}x"),
    lambda inner: st.tuples(inner, inner).map(lambda pair: f"{pair[0]}{{{pair[1]}}}"),
)


@given(before=st.sampled_from(["", r"\boxed{old}", "text {", "}}"]), content=_BALANCED, after=st.text(alphabet="ab. }"))
def test_a_box_gives_back_what_was_put_in_it(before: str, content: str, after: str) -> None:
    assert find_last_box(f"{before}\\boxed{{{content}}}{after}") == content
