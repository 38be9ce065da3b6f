r"""The verifier `dapo`: verl's `math_dapo` with `strict_box_verify=True`, verdict for verdict.

The last `\boxed{` in the last 100 characters must close, and its content must equal the ground truth exactly. Thinking
is not stripped and nothing is normalised, so that values are estimated with the reward that training uses. If verl
gives -1, the score is 0. A response without such a box is `no_answer` rather than `wrong`.
"""

from spo_data.grading.verdict import NO_ANSWER, Grade
from spo_data.grading.verifiers.base import TextVerifier

TAIL = 100
"""Characters at the end of a response that verl looks at."""
_BOX = "\\boxed{"


class DapoVerifier(TextVerifier):
    """`dapo`."""

    reads_thinking = False

    def grade_text(self, response: str, ground_truth: str) -> Grade:
        answer = strict_box(response[-TAIL:])
        return NO_ANSWER if answer is None else Grade.scored(float(answer == ground_truth), answer)


def strict_box(tail: str) -> str | None:
    """The content of the last box; None if there is no box or it does not close."""
    start = tail.rfind(_BOX)
    if start < 0:
        return None
    depth = 0
    for position in range(start, len(tail)):
        depth += {"{": 1, "}": -1}.get(tail[position], 0)
        if depth == 0 and tail[position] == "}":
            return tail[start + len(_BOX) : position]
    return None
