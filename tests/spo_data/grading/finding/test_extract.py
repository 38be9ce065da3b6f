"""Which part of a response is its answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.grading.finding.extract import extract_answer, find_answer


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
        (r"\boxed{41} <answer>42</answer>", "42"),
        (r"\boxed{} Answer: 42", "42"),
        (r"Answer: \boxed{} 42", "42"),
        (r"<answer>\boxed{42}</answer>", "42"),
        (r"<answer>It is \boxed{42} in all</answer>", "42"),
        ("<final_answer>42</final_answer>", "42"),
        ("<ANSWER>42</ANSWER>", "42"),
        ("[ANSWER]42[/ANSWER]", "42"),
        ("<result>42</result>", "42"),
        ("<solution>First we add.\nThen we stop.</solution>", None),
        ("<answer>your answer here</answer>", None),
        ("Answer: 42", "42"),
        ("so\nAnswer: 42\n", "42"),
        ("**Answer:** 42", "42"),
        ("**Answer: 42**", "42"),
        ("__Answer__: 42", "42"),
        ("  Answer:   42  ", "42"),
        ("Answer: 41\nwait\nAnswer: 42", "42"),
        ("Answer: (A) the first", "(A) the first"),
        ("The Answer: 42", "42"),
        ("Answer = 42", "42"),
        ("Final answer - 42", "42"),
        ("ANS: 42", "42"),
        ("Answer (in cm): 42", "42"),
        ("> 1. Answer: 42", "42"),
        ("| Answer: 42 |", "42"),
        ("<b>Answer:</b> 42", "42"),
        ("\u2705 **Final Answer: `42`**", "42"),
        ('Answer: "42"', "42"),
        ("Long solution. Answer: 42", "42"),
        ("Respuesta: 42", "42"),
        ("Antwort: 42", "42"),
        ("\u7b54\u6848\uff1a42", "42"),
        ("\u6b63\u786e\u7b54\u6848\u662fB", "B"),
        ("\uc815\ub2f5: 42", "42"),
        ('{"answer": 42}', "42"),
        ('{"reason": "so", "final_answer": "\\\\frac{1}{2}"}', r"\frac{1}{2}"),
        ("Answer:", None),
        ("Answer:\n42", "42"),
        ("### Final Answer\n\n**42**", "42"),
        ("**Answer**\n\\[\nx = 42\n\\]\nas asked", "\\[\nx = 42\n\\]"),
        ("Final Answer: $$\n42\n$$", "$$\n42\n$$"),
        ("2 + 2 is 4\n#### 4", "4"),
        ("#### 1,234", "1,234"),
        ("####: 4", "4"),
        ("the total is #### 4 apples", "4 apples"),
        ("#### 4\n\nI hope this helps!", "4"),
        ("Answer: 41\n<answer>42</answer>", "42"),
        ("forty-two", None),
        ("", None),
    ],
)
def test_an_answer_is_what_a_response_marks(response: str, answer: str | None) -> None:
    assert extract_answer(response) == answer


@pytest.mark.parametrize(
    "marked",
    [
        *("Answer: 42", "The final answer is 42.", "So the answer is $42$.", "#### 42", "<answer>42</answer>"),
        *("**Final Answer**\n\n42", "Therefore, the correct answer is **42**.", "ANSWER IS 42"),
    ],
)
def test_a_later_mark_goes_before_an_earlier_box(marked: str) -> None:
    """A box for an intermediate result was the answer, whatever the response said after it."""
    assert extract_answer(f"The first part gives \\boxed{{5}}, so we multiply.\n\n{marked}") == "42"
    assert extract_answer(f"{marked}\n\nMore exactly: \\boxed{{5}}") == "5"


@pytest.mark.parametrize(
    "remark",
    [
        *("If we also counted zero, the answer would be 7.", "If it were odd, the answer is 7.", "Answer: see above"),
        *("The answer is not 7.", "The answer is reasonable.", "I hope the answer is clear.", "#### Check\nIt holds."),
        "The answer:",
    ],
)
def test_a_remark_on_the_answer_is_no_later_mark(remark: str) -> None:
    assert extract_answer(f"So it is \\boxed{{42}}.\n\n{remark}") == "42"


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("The answer is 70,000, in total, so that is what she earns.", "70,000"),
        ("The answer is 5 or 6.", "5 or 6"),
        ("the final answer is $5$ or $6$", "5 or 6"),
        ("The answer is $5$ million.", "5 million"),
        ("The answer is (7, 8).", "(7, 8)"),
        ("The answer is 12 apples because we count both.", "12 apples"),
        ("The answer is approximately 3.14.", "3.14"),
        ("The answer is\n\\[ x = 5 \\]", "x = 5"),
        ("The answer to part (b) is 5.", "5"),
        ("The answer is $f'(x) = 2x$.", "f'(x) = 2x"),
        ("The answer is C because I computed it.", "C"),
        ("The answer is a matter of taste.", None),
        ("The answer is not 5.", None),
    ],
)
def test_a_stated_answer_ends_where_the_sentence_explains_it(sentence: str, value: str | None) -> None:
    assert extract_answer(sentence) == value


@pytest.mark.parametrize("heading", ["#### Step 2: add the terms", "#### Conclusion", "##### Check", "#### 2. Add"])
def test_a_markdown_heading_with_text_below_it_is_not_an_answer(heading: str) -> None:
    """A fourth-level heading was read as GSM8K's answer line, so a right answer below it was graded wrong."""
    assert extract_answer(f"{heading}\nThe answer is $42$.") == "42"
    assert extract_answer(f"{heading}\nIt follows.") is None


def test_a_box_before_another_problem_is_not_the_answer_to_it() -> None:
    r"""Models go on with a problem of their own: its echoed \boxed{} says that the box before it does not answer it."""
    assert extract_answer(r"so \boxed{0}. Your turn: compute $7 \cdot 9$. Put it in $\boxed{[answer]}$.") is None


def test_an_answer_that_is_not_accepted_leaves_an_earlier_one() -> None:
    response = "We get \\boxed{12}.\n\nAnswer: D"
    assert getattr(find_answer(response, str.isdigit), "text", None) == "12"
    assert getattr(find_answer(response, str.isspace), "text", None) == "D"


def test_a_sentence_around_a_box_that_is_not_accepted_is_not_read_instead_of_it() -> None:
    assert getattr(find_answer(r"The final answer is \boxed{B}.", lambda text: len(text) > 1), "text", None) == "B"


@given(st.text())
def test_any_text_has_an_answer_or_none_and_never_an_empty_one(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or answer.strip() == answer != ""


@given(st.lists(st.sampled_from(["Answer: ", "**", "<answer>", "####", "$", "\n", "\\boxed{", "}", "4", "x", "is "])))
def test_any_mix_of_marks_has_an_answer_or_none_and_never_an_empty_one(pieces: list[str]) -> None:
    answer = extract_answer("".join(pieces))
    assert answer is None or answer.strip() == answer != ""


@pytest.mark.parametrize(
    "piece",
    [
        *("Answer: ", "Answer:\n", "the answer is ", "#### 1\n", '"answer": "', "<answer>", "[ANSWER]", "**", "$"),
        *("\\boxed{", "\\boxed{}", "\\boxed{1}, ", "<|begin_of_box|>", "{", "\\text{ and } ", "\n", " ", "_", "`"),
    ],
    ids=ascii,
)
def test_a_long_response_of_one_piece_is_read_in_linear_time(piece: str) -> None:
    started = time.process_time()
    extract_answer(piece * (200_000 // len(piece)))
    assert time.process_time() - started < 5
