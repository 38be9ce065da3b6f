r"""Leaks: a ground truth counts as given away only if a prompt marks it as an answer."""

import time
from pathlib import Path

import pytest

from spo_data.grading.ground_truths import find_leaked_answer
from spo_data.prompts.identity import Message
from spo_data.prompts.template import BUILT_IN, AnswerTemplate, load_template

# (why, the problem's text, its ground truth, the words that give it away)
LEAKS = [
    ("a box", r"Simplify $x + 1$. \boxed{x+1}", "x+1", "x+1"),
    ("a box amid the problem", r"They wrote \boxed{12} below. What is 6 + 6?", "12", "12"),
    ("the second of two boxes", r"\boxed{5} and \boxed{12}: what is 6 + 6?", "12", "12"),
    ("a box with a nested brace", r"Halve 1. \boxed{\frac{1}{2}}", r"\frac{1}{2}", r"\frac{1}{2}"),
    ("an fbox", r"What is 6 + 6? \fbox{12}", "12", "12"),
    ("a tag", "What is 6 + 6? <answer>12</answer>", "12", "12"),
    ("a tag over several lines", "What is 6 + 6?\n<answer>\n12\n</answer>\nShow why.", "12", "12"),
    ("an Answer line", "Compute 2^5.\nAnswer: 32", "32", "32"),
    ("an Answer line amid the text", "Compute 2^5.\nAnswer: 32\nExplain each step.", "32", "32"),
    ("a bold Answer line", "Compute 2^5.\n**Answer:** 32", "32", "32"),
    ("a Final Answer line", "Compute 2^5.\nFinal answer: 32", "32", "32"),
    ("a Solution line", "Compute 2^5.\nSolution: 32", "32", "32"),
    ("an Answer heading", "Compute 2^5.\n## Answer: 32", "32", "32"),
    ("a line that begins with ####", "Compute 2^5.\n#### 32\nThat is all.", "32", "32"),
    ("the answer is", "What is 6*7? The answer is 42.", "42", "42"),
    ("the answer is, with a colon", "What is 6*7? The answer is: 42", "42", "42"),
    ("the answer is, amid a sentence", "The answer is 42, but why is 6*7 that?", "42", "42"),
    ("the answer is a decimal", "What is 1/4? The answer is 0.25. Explain.", "0.25", "0.25"),
    ("answer =", "What is 6*7? (answer = 42", "42", "42"),
    ("the last line alone", "What is 5+5?\n10", "10", "10"),
    ("the last line alone, in words", "Which city is it?\n\nParis.", "paris", "Paris."),
    ("equal in value: a decimal", "What is 6*7? The answer is 42.0", "42", "42.0"),
    ("equal in value: the gold is the decimal", r"What is 6*7? \boxed{42}", "42.0", "42"),
    ("equal in value: a thousands separator", r"What is 40^2 - 600? \boxed{1,000}", "1000", "1,000"),
    ("equal in value: a fraction", r"Halve 1. \boxed{1/2}", r"\frac{1}{2}", "1/2"),
    ("equal in value: dollars around it", "What is 6*7?\n$42$", "42", "$42$"),
    ("equal but for case and a full stop", "Which city?\nAnswer: PARIS.", "Paris", "PARIS."),
    ("equal but for LaTeX's text", r"Which city? \boxed{\text{Paris}}", "Paris", r"\text{Paris}"),
    ("a letter of a multiple choice", "Which?\nA) 4\nB) 5\nAnswer: B", "B", "B"),
]


@pytest.mark.parametrize(("text", "gold", "words"), [pytest.param(*case[1:], id=case[0]) for case in LEAKS])
def test_a_marked_answer_that_is_the_ground_truth_leaks(text: str, gold: str, words: str) -> None:
    assert find_leaked_answer(text, gold) == words


NO_LEAKS = [
    ("a number of the problem", "Tom has 12 apples and gives none away. How many are left?", "12"),
    ("a number of the problem, on its only line", "12", "12"),
    ("the number at the end of a sentence", "How many are there\nof the 12?", "12"),
    ("an equation's right side", "Solve for x:\nx + 3 = 15", "15"),
    ("an option with a letter", "What is 6 + 6?\nA) 10\nB) 11\nC) 12", "12"),
    ("the letter of an option", "What is 6 + 6?\n(A) 10 (B) 11 (C) 12", "C"),
    ("the letter of the last option", "What is 6 + 6?\nA. 10\nB. 12", "B"),
    ("options named after Answer:", "What is 6 + 6? Choose A, B or C.\nAnswer: A, B or C", "C"),
    ("a marked answer of another value", "What is 6*7? The answer is not 41, the answer is 43.", "42"),
    ("a boxed other value", r"Is \boxed{41} right for 6*7?", "42"),
    ("an Answer line of another value", "Compute 2^5.\nAnswer: 33", "32"),
    ("a longer number that begins with it", "What is 6*7? The answer is 421.", "42"),
    ("a decimal that begins with it", "The answer is 42.5 for another one. What is 6*7?", "42"),
    ("another value with its digits", r"\boxed{-42}", "42"),
    ("a box that does not close", r"Write \boxed{42", "42"),
    ("where the answer goes", r"What is 6*7? Put your answer in \boxed{}.", "42"),
    ("the answer, not given", "The answer is an integer. What is 6*7?", "42"),
    ("a heading with the problem's number", "### Problem 42\nWhat is 6*7?", "42"),
    ("five hashes are a heading", "##### 42\nis the chapter. What is 6*7?", "42"),
    ("another word before it", "The answers are 42 and 43. Which is 6*7?", "42"),
    ("an empty text", "", "42"),
    ("white space alone", " \n \n", "42"),
    ("an empty ground truth", "Answer: .\n\n.", "."),
    ("bare options, one on each line", "What is 5 + 5?\n8\n9\n10", "10"),
    ("data on lines of their own", "What is the largest of these numbers?\n3\n7\n9", "9"),
]


@pytest.mark.parametrize(("text", "gold"), [pytest.param(*case[1:], id=case[0]) for case in NO_LEAKS])
def test_what_is_no_marked_answer_does_not_leak(text: str, gold: str) -> None:
    assert find_leaked_answer(text, gold) is None


def test_the_answer_is_a_number_with_separators() -> None:
    """The words after "the answer is" end at a comma, but a number may contain commas."""
    assert find_leaked_answer("What is 10^3? The answer is 1,000.", "1000") == "1,000"


FAR = 10_000
LONG = {
    "white space after the answer is": "The answer is" + " " * FAR,
    "stars after Answer:": "Answer:" + "*" * FAR + "x" * 600,
    "open braces": r"\boxed{" * FAR,
    "open tags": "<answer>" * FAR,
    "open text commands on the last line": "What?\n" + r"\text{" * (FAR // 2),
    "open text commands in a box": r"\boxed{" + r"\text{" * (FAR // 4) + "}" * (FAR // 4 + 1),
    "the answer is, again and again": "the answer is " * FAR,
    "lines of hashes": "####\n" * FAR,
    "digits on the last line": "What?\n" + "1" * FAR,
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_text_is_searched_in_time_that_grows_with_its_length(name: str) -> None:
    """The search runs for every prompt in the command's own process, without a time limit. It took minutes for 60,000
    blanks after "the answer is", or for as many `\\text{` on the last line.
    """
    begun = time.process_time()
    find_leaked_answer(LONG[name], "42")
    assert time.process_time() - begun < 0.3


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("problem", ["What is 6*7?", "", "  spaces \n", r"{{ prompt }} \boxed{1}", "日本語 🙂"])
def test_the_problem_inside_a_built_in_templates_wording_is_found_again(name: str, problem: str) -> None:
    template = load_template(name)
    (message,) = template.apply((Message("user", problem),))
    assert template.without_instruction(message.content) == problem


def test_a_text_that_the_template_did_not_word_stays_whole() -> None:
    assert load_template("dapo").without_instruction("What is 6*7?") == "What is 6*7?"
    assert load_template("boxed").without_instruction("") == ""


def test_the_parts_of_an_instruction_that_overlap_are_not_cut_twice() -> None:
    template = AnswerTemplate("twice", "Answer: 4 {{ prompt }}Answer: 4 ")
    assert template.without_instruction("Answer: 4 ") == "Answer: 4 "


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize(
    "gold", ["The final answer goes here.", "$Answer", "Answer", "the answer to the problem", "last line"]
)
def test_a_built_in_templates_own_wording_is_no_leak(name: str, gold: str) -> None:
    """The boxed template's example is itself a box."""
    template = load_template(name)
    (message,) = template.apply((Message("user", "What goes here, word for word?"),))
    assert find_leaked_answer(template.without_instruction(message.content), gold) is None


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_leak_in_the_problem_is_found_in_a_templates_wording(name: str) -> None:
    template = load_template(name)
    (message,) = template.apply((Message("user", "What is 5+5?\n10"),))
    assert find_leaked_answer(template.without_instruction(message.content), "10") == "10"


EXAMPLE = "For example:\nWhat is 6 * 7?\nAnswer: 42\n\n{{ prompt }}\nWrite your answer as \\boxed{12}.\n"


def test_the_example_in_a_file_template_is_no_leak_but_one_in_the_problem_is(tmp_path: Path) -> None:
    (tmp_path / "shot.jinja").write_text(EXAMPLE)
    template = load_template(str(tmp_path / "shot.jinja"))

    def leaks(problem: str, gold: str) -> str | None:
        (message,) = template.apply((Message("user", problem),))
        assert find_leaked_answer(message.content, gold) == gold, "only the wording around the problem says it"
        return find_leaked_answer(template.without_instruction(message.content), gold)

    assert leaks("What is 21 + 21?", "42") is None
    assert leaks("What is 6 + 6?", "12") is None
    assert leaks("What is 6 + 6? The answer is 12.", "12") == "12"


def test_a_file_template_that_says_the_problem_twice_leaves_the_text_whole(tmp_path: Path) -> None:
    (tmp_path / "twice.jinja").write_text("{{ prompt }}\nAgain: {{ prompt }}")
    template = load_template(str(tmp_path / "twice.jinja"))
    (message,) = template.apply((Message("user", "What is 6 + 6?"),))
    assert template.without_instruction(message.content) == message.content


def test_a_file_template_that_words_short_problems_otherwise_leaves_the_text_whole(tmp_path: Path) -> None:
    """The probe is long, but a template may leave out part of its wording for a short problem."""
    (tmp_path / "either.jinja").write_text("{{ prompt }}{% if prompt|length > 99 %}\nBe brief.{% endif %}")
    template = load_template(str(tmp_path / "either.jinja"))
    (message,) = template.apply((Message("user", "What is 6 + 6?"),))
    assert template.without_instruction(message.content) == "What is 6 + 6?"
