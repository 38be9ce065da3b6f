"""Whether an answer equals the ground truth: one line per case, each with its reason."""

import importlib.metadata
import subprocess
import sys
from typing import Any

import pytest

from spo_data.errors import UserError
from spo_data.grading.comparing import parser
from spo_data.grading.reading.numbers import is_number
from spo_data.grading.verdict import COMPARED_AS_TEXT, Verdict
from spo_data.grading.verifiers.registry import RULES, VERIFIERS, load_verifier, verifier_version
from spo_data.prompts.rows import reasoning_gym_dataset

CORRECT, WRONG, NO_ANSWER = Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER
UNPARSEABLE = Verdict.GOLD_UNPARSEABLE
GOOGOL = "1" + "0" * 400

BOXED = [
    ("42", "42", CORRECT, "equal integers"),
    ("42", "43", WRONG, "other integer"),
    ("42", "+42", CORRECT, "a plus sign is no difference"),
    ("42", "042", CORRECT, "leading zeros are no difference"),
    ("-7", "-7", CORRECT, "negative integer"),
    ("-7", "7", WRONG, "the sign counts"),
    ("-7", "\u22127", CORRECT, "a Unicode minus"),
    ("0", "-0", CORRECT, "zero has no sign"),
    ("1000", "1,000", CORRECT, "thousands separator"),
    ("1,000", "1000", CORRECT, "thousands separator in the gold"),
    ("1000", "1{,}000", CORRECT, "LaTeX's thousands separator"),
    ("12", "1,2", WRONG, "a comma that separates no thousands is no separator"),
    ("42", "$42$", CORRECT, "dollar signs around the number"),
    ("$42$", "42", CORRECT, "dollar signs around the gold"),
    ("42", r"\(42\)", CORRECT, "LaTeX's inline delimiters"),
    ("42", "'42'", CORRECT, "the quotes of the boxed instruction"),
    ("42", "42.0", CORRECT, "integer as a decimal"),
    ("42", "42.5", WRONG, "a decimal that is not the integer"),
    ("42", r"\$42", CORRECT, "a currency sign"),
    ("42", r"42 \text{ cm}", CORRECT, "a unit"),
    ("42", r"\text{42}", CORRECT, "number as text"),
    ("42", "x = 42", CORRECT, "assignment to the gold's value"),
    ("42", "6 \\times 7", CORRECT, "a product that is the value"),
    ("42", "4 2", WRONG, "two digits are not a number"),
    ("42", "42 or 43", WRONG, "a hedge is no answer"),
    ("42", "the last digit", WRONG, "words where a number is asked"),
    ("42", "1/0", WRONG, "an undefined expression"),
    ("42", r"\infty", WRONG, "infinity is not the number"),
    ("42", "42!", WRONG, "a factorial is another number"),
    ("2^{10}", "1024", CORRECT, "a bare power parsed as 2 unless boxed"),
    ("2^{10}", "2", WRONG, "the base alone"),
    ("1024", "2^{10}", CORRECT, "a power for an integer gold"),
    (GOOGOL, "10^{400}", CORRECT, "an integer too long for the fast path"),
    (GOOGOL, GOOGOL[:-1], WRONG, "one zero less"),
    (r"\frac{1}{2}", "0.5", CORRECT, "a fraction as a decimal"),
    (r"\frac{1}{2}", "1/2", CORRECT, "a fraction with a slash"),
    (r"\frac12", r"\dfrac{2}{4}", CORRECT, "an unreduced fraction, and a fraction without braces"),
    ("1/2", r"\tfrac{1}{2}", CORRECT, "gold with a slash"),
    (r"-\frac{1}{2}", r"\frac{1}{-2}", CORRECT, "the minus below the bar"),
    (r"1\frac12", "1.5", CORRECT, "a mixed number"),
    ("1/3", "0.333333", CORRECT, "six decimals are exact enough"),
    ("1/3", "0.33", WRONG, "two decimals are not"),
    ("3.14", "3.1400", CORRECT, "trailing zeros"),
    ("3.14", r"\pi", WRONG, "a rounded gold is not the constant"),
    (r"\pi", "3.14", WRONG, "a rounded answer is not the constant"),
    (r"2\pi", r"\pi \cdot 2", CORRECT, "order of factors"),
    (r"\sqrt{8}", r"2\sqrt{2}", CORRECT, "a simplified root"),
    (r"\binom{5}{2}", "10", CORRECT, "a binomial coefficient"),
    (r"90^\circ", "90", CORRECT, "degrees"),
    (r"\{1,2,3\}", r"\{3,2,1\}", CORRECT, "sets have no order"),
    (r"\{1,2\}", r"\{1,3\}", WRONG, "another set"),
    (r"\{1,2\}", r"\{1\}", WRONG, "a part of the set"),
    ("1, 2", "2,1", CORRECT, "a list of solutions has no order"),
    ("1, 2", r"\{1,2\}", CORRECT, "a list of solutions as a set"),
    ("(1,2)", "(1, 2.0)", CORRECT, "equal pairs"),
    ("(1,2)", "(2,1)", WRONG, "pairs have an order"),
    ("(0,1)", "[0,1]", WRONG, "the ends of an interval count"),
    (r"(-\infty, 2)", r"(-\infty,2)", CORRECT, "unbounded interval"),
    (r"(0,1) \cup (2,3)", r"(0,1)\cup(2,3)", CORRECT, "union of intervals"),
    ("x>2", r"(2,\infty)", CORRECT, "an inequality as an interval"),
    ("x+1", "1+x", CORRECT, "order of terms"),
    ("x+1", "x-1", WRONG, "another polynomial"),
    ("(x+1)^2", "x^2+2x+1", CORRECT, "expanded"),
    ("y=2x+1", "2x+1", CORRECT, "the right side of an equation"),
    ("3+4i", "4i+3", CORRECT, "complex number"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}", CORRECT, "equal vectors"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}", WRONG, "vectors have an order"),
    ("A", "A", CORRECT, "a choice"),
    ("A", "B", WRONG, "another choice"),
    ("A", "(A)", CORRECT, "a choice in parentheses"),
    ("A", r"\text{(A)}", CORRECT, "a choice as LaTeX text"),
    ("yes", "Yes.", CORRECT, "case and a full stop"),
    ("yes", r"\textbf{yes}", CORRECT, "bold"),
    ("yes", "no", WRONG, "another word"),
    ("not enough", "not  enough", CORRECT, "white space in words"),
    ("yes", "1", WRONG, "a number where a word is asked"),
    ("42", "", NO_ANSWER, "an empty box"),
    ("?", "42", UNPARSEABLE, "a gold that is no mathematics is our failure"),
    (r"\frac{", "42", UNPARSEABLE, "a broken gold is our failure"),
]

WHOLE = [
    ("42", r"\boxed{41} no, \boxed{42}", CORRECT, "the last box counts"),
    ("42", r"\boxed{42} no, \boxed{41}", WRONG, "the last box counts, and boxes never merge into a set"),
    ("42", r"<think>\boxed{41}</think> \boxed{42}", CORRECT, "thinking is no answer"),
    ("42", r"<think>\boxed{42}</think> hm", NO_ANSWER, "an answer only in the thinking"),
    ("42", r"<think>\boxed{42}", NO_ANSWER, "thinking that never ends"),
    ("42", "<think>the answer is 42", NO_ANSWER, "nor is it searched for the last number"),
    ("42", "the answer is 42", CORRECT, "an unmarked answer"),
    ("42", "the answer is 41", WRONG, "a wrong unmarked answer"),
    ("42", "The final answer is $42$. I hope it is correct.", CORRECT, "an unmarked formula"),
    ("42", "I get 40 and then 42", CORRECT, "the last number"),
    ("42", "Answer: 42", CORRECT, "an answer line"),
    ("42", "**Answer:** $42$", CORRECT, "a bold answer line"),
    ("42", "#### 42", CORRECT, "GSM8K's line"),
    ("42", "<answer>42</answer>", CORRECT, "an answer tag"),
    ("42", r"<answer>\frac{</answer>", WRONG, "an answer that does not parse"),
    ("42", "Answer: }", NO_ANSWER, "nothing but a brace that would close the box"),
    ("A", "Answer: A", CORRECT, "a choice on an answer line"),
    ("yes", "The answer is yes.", CORRECT, "an unmarked word after the answer is"),
    ("yes", "I think that it is so\n**Yes**", CORRECT, "a last line of one word"),
    ("yes", "The answer is no.", WRONG, "another unmarked word"),
    ("yes", "It is hard to say whether yes or no would be right here.", NO_ANSWER, "words in a sentence"),
    ("42", "I do not know.", NO_ANSWER, "words alone"),
    ("42", "", NO_ANSWER, "nothing"),
]

FULL_STOPS = [
    ("42", r"\boxed{42.}", CORRECT, "a full stop in the box"),
    ("42", "Answer: 42.", CORRECT, "a full stop after an answer line"),
    ("42", "Answer: $42$.", CORRECT, "a full stop after an answer line's formula"),
]

EXACT = [
    ("42", r"\boxed{42}", CORRECT, "equal text"),
    ("42", r"\boxed{42.0}", WRONG, "another text, whatever its value"),
    ("a b", "\\boxed{ a \n b }", CORRECT, "white space is folded"),
    ("a b", r"\boxed{ab}", WRONG, "but not dropped"),
    ("Yes", r"\boxed{yes}", WRONG, "case counts"),
    ("yes", "<answer>yes</answer>", CORRECT, "an answer tag"),
    ("yes", "Answer: yes", CORRECT, "an answer line"),
    ("yes", "yes", NO_ANSWER, "an unmarked word is no answer"),
    ("yes", r"\boxed{}", NO_ANSWER, "an empty box"),
    ("yes", r"<think>\boxed{yes}", NO_ANSWER, "thinking that never ends"),
]


def _ids(cases: list[tuple[str, str, Verdict, str]]) -> list[str]:
    return [reason for *_, reason in cases]


def _check(name: str, gold: str, response: str, verdict: Verdict) -> None:
    graded = load_verifier(name).grade(response, gold, None)
    assert graded.verdict is verdict, graded
    assert graded.score == {CORRECT: 1.0, WRONG: 0.0, NO_ANSWER: 0.0, UNPARSEABLE: None}[verdict]
    assert (graded.answer is None) == (verdict is NO_ANSWER)


@pytest.mark.parametrize(("gold", "answer", "verdict", "reason"), BOXED, ids=_ids(BOXED))
def test_math_verify_judges_a_boxed_answer(gold: str, answer: str, verdict: Verdict, reason: str) -> None:
    del reason
    _check("math-verify", gold, f"So it is \\boxed{{{answer}}}.", verdict)


@pytest.mark.parametrize(("gold", "response", "verdict", "reason"), WHOLE, ids=_ids(WHOLE))
def test_math_verify_judges_a_whole_response(gold: str, response: str, verdict: Verdict, reason: str) -> None:
    del reason
    _check("math-verify", gold, response, verdict)


@pytest.mark.parametrize(("gold", "response", "verdict", "reason"), FULL_STOPS, ids=_ids(FULL_STOPS))
def test_math_verify_overlooks_a_full_stop(gold: str, response: str, verdict: Verdict, reason: str) -> None:
    r"""math-verify cannot parse `\boxed{42.}`. Extracted answer lines are boxed, so right answers were graded wrong."""
    del reason
    _check("math-verify", gold, response, verdict)


@pytest.mark.parametrize(("gold", "response", "verdict", "reason"), EXACT, ids=_ids(EXACT))
def test_exact_compares_text(gold: str, response: str, verdict: Verdict, reason: str) -> None:
    del reason
    _check("exact", gold, response, verdict)


@pytest.mark.parametrize(
    "gold",
    [
        *("42", "-7", "1,000", "0.5", GOOGOL, "$42$", r"\(42\)", r"\[42\]", r"\boxed{42}", r"\$10", r"42 \text{ cm}"),
        *(r"\frac{1}{2}", r"\frac12", "1/2", r"1\frac12", r"\sqrt{2}", "2^{10}", r"\pi", r"\infty", "3+4i", "5!"),
        *(r"\{1,2\}", "1, 2", "2, 3 and 5", "(1,2)", "[0,1]", r"(-\infty,2]", r"(0,1) \cup (2,3)", r"\emptyset"),
        *(r"\begin{pmatrix}1\\2\end{pmatrix}", "x+1", "y=2x+1", "x>2", "x_1", r"90^\circ", "12:30"),
        *("A", "yes", "not enough information", r"\text{yes}", "Monday, June 3"),
    ],
)
def test_a_good_gold_verifies_against_itself(gold: str) -> None:
    graded = load_verifier("math-verify").check_gold(gold, None)
    assert (graded.verdict, graded.score) == (CORRECT, 1.0), graded


@pytest.mark.parametrize(
    ("gold", "reason"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("$$", "it is empty"),
        ("?", "it is empty"),
        ("{", "its braces do not close"),
        (r"\frac{", "its braces do not close"),
        (r"\frac{1}{0}", "it has no value"),
    ],
)
def test_a_gold_that_is_no_answer_is_named_unparseable_with_its_reason(gold: str, reason: str) -> None:
    graded = load_verifier("math-verify").check_gold(gold, None)
    assert (graded.verdict, graded.score) == (UNPARSEABLE, None)
    assert graded.detail == f"{reason}: {gold!r}"


@pytest.mark.parametrize(
    ("gold", "reason"),
    [("N/A", "'N/A' states no answer"), ('{"inputs": ["1"]}', "JSON test cases"), ("def f(x): return x", "a program")],
)
def test_a_gold_that_no_answer_can_equal_is_unparseable(gold: str, reason: str) -> None:
    graded = load_verifier("math-verify").check_gold(gold, None)
    assert (graded.verdict, graded.score, graded.detail) == (UNPARSEABLE, None, reason)


@pytest.mark.parametrize("gold", [r"\unknown", r"\heartsuit 7", r"p \land q", r"\mathbb{Z}/2\mathbb{Z}"])
def test_notation_that_is_not_read_is_compared_as_text(gold: str) -> None:
    """Prompts with such ground truths were dropped, though the same text is the same answer."""
    verifier = load_verifier("math-verify")
    assert verifier.check_gold(gold, None).verdict is CORRECT
    graded = verifier.grade(r"\boxed{\other}", gold)
    assert (graded.verdict, graded.detail) == (Verdict.WRONG, COMPARED_AS_TEXT)


@pytest.mark.parametrize("answer", [r"10\%", "10%", "10"])
def test_a_gold_in_percent_is_a_gold(answer: str) -> None:
    r"""`10\%` in a box does not parse (unboxed, it is 10), so every prompt with such a ground truth was dropped."""
    verifier = load_verifier("math-verify")
    assert verifier.check_gold(r"10\%", None).verdict is CORRECT
    assert verifier.grade(f"\\boxed{{{answer}}}", r"10\%", None).verdict is CORRECT


@pytest.mark.parametrize(("gold", "verdict"), [("a  b", CORRECT), ("{", UNPARSEABLE), ("", UNPARSEABLE)])
def test_exact_checks_that_a_gold_can_be_boxed(gold: str, verdict: Verdict) -> None:
    graded = load_verifier("exact").check_gold(gold, None)
    assert graded.verdict is verdict
    assert (graded.score is None) == (verdict is UNPARSEABLE)


def _task(generator: str, index: int = 0, **parameters: Any) -> dict[str, Any]:
    return {"generator": generator, "parameters": {"seed": 0, **parameters}, "index": index}


def _gold(task: dict[str, Any]) -> str:
    return str(reasoning_gym_dataset(task["generator"], task["parameters"])[task["index"]]["answer"])


@pytest.mark.parametrize("index", [0, 1, 7])
def test_reasoning_gym_scores_with_the_generator_that_made_the_problem(index: int) -> None:
    verifier, task = load_verifier("reasoning-gym"), _task("chain_sum", index, max_terms=2, max_digits=1)
    gold = _gold(task)
    right = verifier.grade(f"\\boxed{{{gold}}}", gold, task)
    wrong = verifier.grade(f"\\boxed{{{int(gold) + 1}}}", gold, task)
    assert (right.verdict, right.score, right.answer) == (CORRECT, 1.0, gold)
    assert (wrong.verdict, wrong.score) == (WRONG, 0.0)
    assert verifier.grade("no idea", gold, task).verdict is NO_ANSWER
    assert verifier.check_gold(gold, task).verdict is CORRECT


def test_reasoning_gym_gives_partial_credit_without_calling_it_correct() -> None:
    verifier, task = load_verifier("reasoning-gym"), _task("spell_backward")
    gold = _gold(task)
    graded = verifier.grade(f"\\boxed{{{gold[:-1]}}}", gold, task)
    assert graded.verdict is WRONG
    assert graded.score is not None
    assert 0.5 < graded.score < 1


def test_a_reasoning_gym_score_is_at_most_one() -> None:
    """spell_backward gives 1.0000000000000002 for some answers, which put a value above its upper bound."""
    task = _task("spell_backward")
    gold = _gold(task)
    graded = load_verifier("reasoning-gym").grade(f"\\boxed{{{gold}x}}", gold, task)
    assert graded.score is not None
    assert graded.score <= 1


def test_reasoning_gym_refuses_a_prompt_that_it_did_not_make() -> None:
    with pytest.raises(ValueError, match="not generated by reasoning-gym"):
        load_verifier("reasoning-gym").grade(r"\boxed{4}", "4", None)


def test_reasoning_gym_refuses_a_gold_that_the_generator_no_longer_gives() -> None:
    task = _task("chain_sum")
    with pytest.raises(ValueError, match="another reasoning-gym version"):
        load_verifier("reasoning-gym").grade(r"\boxed{4}", _gold(task) + "0", task)


def test_integers_and_words_are_compared_without_sympy() -> None:
    program = (
        "import sys\n"
        "from spo_data.grading.verifiers.registry import load_verifier\n"
        "verifier = load_verifier('math-verify')\n"
        "for gold, answer in (('42', '42'), ('42', '41'), ('1,000', '$1000$'), ('yes', 'Yes'), ('A', '(B)')):\n"
        "    print(verifier.grade('\\\\boxed{' + answer + '}', gold, None).verdict)\n"
        "    assert verifier.check_gold(gold, None).score == 1.0\n"
        "assert 'sympy' not in sys.modules and 'math_verify' not in sys.modules\n"
        "verifier.grade('\\\\boxed{x}', 'x+1', None)\n"
        "assert 'sympy' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["correct", "wrong", "correct", "correct", "wrong"]


@pytest.mark.parametrize("name", ["", "math_verify", "Exact", "dapo "])
def test_an_unknown_verifier_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(UserError, match=f"--verifier {name}: choose one of math-verify, math-verify-plain, dapo, "):
        load_verifier(name)


@pytest.mark.parametrize("name", sorted(VERIFIERS))
def test_a_version_names_the_libraries_behind_a_verdict_and_our_rules(name: str) -> None:
    """Some verdicts differ between antlr4 4.9 and 4.13, which the version did not name: two equal runs differed."""
    library = ["math-verify", "latex2sympy2-extended", "antlr4-python3-runtime", "sympy"]
    behind = {
        "math-verify": [*library, "pint"],
        "math-verify-plain": library,
        "reasoning-gym": ["reasoning-gym", "sympy"],
    }
    named = [f"{package} {importlib.metadata.version(package)}" for package in behind.get(name, [])]
    rules = [] if name == "math-verify-plain" else [f"rules {RULES}"]  # no rule of ours decides there
    assert verifier_version(name) == " ".join([*named, *rules])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("42", True), ("-4.5", True), (" 7 ", True), ("1/2", False), ("x", False), ("", False), ("1,000", False)],
)
def test_plain_numbers_are_told_from_other_answers(text: str, expected: bool) -> None:
    assert is_number(text) is expected


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_a_parser_that_runs_out_is_no_wrong_answer(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """math-verify treats every exception of its parser as "no expression", which scored 0."""
    import math_verify.parser

    parser._load_math_verify.cache_clear()

    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(math_verify.parser, "latex2sympy", failing)
    monkeypatch.setattr(math_verify.parser, "parse_expr", math_verify.parser.parse_expr)
    with pytest.raises(MemoryError):
        load_verifier("math-verify").grade(r"\boxed{\sqrt{77}}", r"\sqrt{78}", None)
    parser._load_math_verify.cache_clear()
    math_verify.parser.parse_latex_cached.cache_clear()
