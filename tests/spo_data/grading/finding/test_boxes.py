"""Which box of a response holds its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.grading.finding.boxes import find_boxes, find_last_box


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
        (r"\boxed{'Monday'}", "Monday"),
        (r"\boxed{ '42' }", "42"),
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
    "empty",
    [
        *(r"\boxed{}", r"\boxed{ }", r"\boxed{''}", r"\boxed{\text{}}", r"\boxed{\ }", r"\boxed{\boxed{}}"),
        *(r"\boxed{...}", r"\boxed{\ldots}", r"\boxed{\cdots}", "\\boxed{\u2026}", r"\boxed{___}"),
        *(r"\boxed{answer}", r"\boxed{\text{answer}}", r"\boxed{your answer}", r"\boxed{<answer>}"),
        *(r"\boxed{'The final answer goes here.'}", r"\boxed{[your final answer here]}", r"\boxed{ANSWER}"),
        "\\boxed{\u7b54\u6848}",
    ],
)
@pytest.mark.parametrize("between", [". ", "\n\nFormat: ", " and "])
def test_an_empty_box_or_an_echoed_instruction_leaves_the_box_before_it(empty: str, between: str) -> None:
    r"""The last box counted even if it held nothing, so a right answer before `put it in \boxed{}` was no answer."""
    assert find_last_box(f"\\boxed{{42}}{between}{empty}") == "42"
    assert find_last_box(empty) is None


@pytest.mark.parametrize("content", ["no solution", "solution", "result", "0", "the empty set", r"\text{none}", "?"])
def test_words_that_can_be_answers_are_no_instruction(content: str) -> None:
    assert find_last_box(f"\\boxed{{{content}}}") == content


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        (r"\boxed{2} and \boxed{3}", "2, 3"),
        (r"\[\boxed{2} \quad \boxed{3}\]", "2, 3"),
        (r"\boxed{(0, 1)} \text{ for part (a) and } \boxed{(2, 5)}", "(0, 1), (2, 5)"),
        (r"$m=\boxed{2}$ and $n=\boxed{3}$", "m = 2, n = 3"),
        (r"\(r_1 = \boxed{2}\), \(r_2 = \boxed{3}\)", "r_1 = 2, r_2 = 3"),
        (r"$x=\boxed{2}$ or $x=\boxed{3}$", "2, 3"),
        (r"\boxed{5} and \boxed{5}", "5"),
        (r"\boxed{2}, so \boxed{3}", "3"),
        (r"\boxed{2} \boxed{3}", "3"),
    ],
)
def test_joined_boxes_are_one_answer_and_keep_names_that_differ(text: str, joined: str) -> None:
    """The names before joined boxes were dropped, so values of two unknowns could be swapped."""
    assert find_last_box(text) == joined


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<|begin_of_box|>7<|end_of_box|>", "7"),
        ("It is <|begin_of_box|>(B)<|end_of_box|>.", "(B)"),
        (r"<|begin_of_box|>\boxed{7}<|end_of_box|>", "7"),
        (r"\boxed{6}, no: <|begin_of_box|>7<|end_of_box|>", "7"),
        ("<|begin_of_box|>7", None),
    ],
)
def test_the_box_tokens_of_glm_are_boxes(text: str, content: str | None) -> None:
    assert find_last_box(text) == content


def test_all_boxes_are_listed_in_order() -> None:
    assert find_boxes(r"\boxed{1} <|begin_of_box|>2<|end_of_box|> \fbox{3} \boxed{}") == ["1", "2", "3", ""]


_BALANCED = st.recursive(
    st.text(alphabet="ab1 ", max_size=5).map(lambda text: f"x{text}x"),
    lambda inner: st.tuples(inner, inner).map(lambda pair: f"{pair[0]}{{{pair[1]}}}"),
)


@given(before=st.sampled_from(["", r"\boxed{old}", "text {", "}}"]), content=_BALANCED, after=st.text(alphabet="ab. }"))
def test_a_box_gives_back_what_was_put_in_it(before: str, content: str, after: str) -> None:
    assert find_last_box(f"{before}\\boxed{{{content}}}{after}") == content
