"""The verifier `exact`: the answer equals the ground truth as text, with runs of white space counted as one space."""

from spo_data.grading.finding.extract import extract_answer
from spo_data.grading.verdict import NO_ANSWER, Grade
from spo_data.grading.verifiers.base import TextVerifier


class ExactVerifier(TextVerifier):
    """`exact`."""

    reads_thinking = True

    def grade_text(self, response: str, ground_truth: str) -> Grade:
        answer = extract_answer(response)
        return NO_ANSWER if answer is None else Grade.scored(float(answer.split() == ground_truth.split()), answer)
