"""The verifier `exact`: equal text after white space is folded."""

from spo_data.grading.answers.extract import extract_answer
from spo_data.grading.verdict import NO_ANSWER, ExtraInfo, Graded
from spo_data.grading.verifiers.boxed_gold import BoxedGold


class ExactVerifier(BoxedGold):
    """`exact`."""

    reads_thinking = True

    def grade(
        self,
        response: str,
        ground_truth: str,
        extra_info: ExtraInfo = None,  # noqa: ARG002 # the protocol's
        data_source: str = "",  # noqa: ARG002 # the protocol's
    ) -> Graded:
        answer = extract_answer(response)
        if answer is None:
            return NO_ANSWER
        return Graded.scored(float(answer.split() == ground_truth.split()), answer)
