r"""The verifier `dapo`: verl's `math_dapo` with `strict_box_verify=True`, verdict for verdict.

The last `\boxed{` in the last 100 characters must close, and hold the ground truth to the letter. Thinking is not
stripped and nothing is normalised: what is trained with that reward is estimated with that reward. Where verl gives -1
the score is 0, and a response without such a box is `no_answer` rather than `wrong`.
"""

from spo_data.grading.verdict import NO_ANSWER, ExtraInfo, Graded
from spo_data.grading.verifiers.boxed_gold import BoxedGold

TAIL = 100
"""Characters at the end of a response that verl looks at."""
_BOX = "\\boxed{"


class DapoVerifier(BoxedGold):
    """`dapo`."""

    reads_thinking = False

    def grade(
        self,
        response: str,
        ground_truth: str,
        extra_info: ExtraInfo = None,  # noqa: ARG002 # the protocol's
        data_source: str = "",  # noqa: ARG002 # the protocol's
    ) -> Graded:
        answer = strict_box(response[-TAIL:])
        return NO_ANSWER if answer is None else Graded.scored(float(answer == ground_truth), answer)


def strict_box(tail: str) -> str | None:
    """What the last box holds; None where there is none or it does not close."""
    start = tail.rfind(_BOX)
    if start < 0:
        return None
    depth = 0
    for position in range(start, len(tail)):
        depth += {"{": 1, "}": -1}.get(tail[position], 0)
        if depth == 0 and tail[position] == "}":
            return tail[start + len(_BOX) : position]
    return None
