r"""The verifier `choice`: one letter from A to J.

ChoiceVerifier().grade(r"\boxed{(B) 12 cm}", "B")       # correct
ChoiceVerifier().grade("The answer is B.", "B")          # correct
ChoiceVerifier().grade(r"\boxed{A or B}", "B")          # wrong
"""

from spo_data.grading.finding.letters import find_letter, read_choice
from spo_data.grading.finding.thinking import strip_thinking
from spo_data.grading.verdict import NO_ANSWER, Grade, Verdict
from spo_data.grading.verifiers.base import TextVerifier


class ChoiceVerifier(TextVerifier):
    """`choice`."""

    reads_thinking = True

    def grade_text(self, response: str, ground_truth: str) -> Grade:
        gold = find_letter(ground_truth)
        if gold is None:
            return Grade.failed(Verdict.GOLD_UNPARSEABLE, f"choice wants a letter A to J, not {ground_truth[:200]!r}")
        visible = strip_thinking(response)
        answer = None if visible is None else read_choice(visible)
        return NO_ANSWER if answer is None else Grade.scored(float(find_letter(answer) == gold), answer)
