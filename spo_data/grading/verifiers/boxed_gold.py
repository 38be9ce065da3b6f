"""The check of a ground truth that verifiers which read boxes share."""

from spo_data.grading.verdict import ExtraInfo, Graded


class BoxedGold:
    """A verifier that takes a ground truth for good where it grades its box correct."""

    def grade(self, response: str, ground_truth: str, extra_info: ExtraInfo = None, data_source: str = "") -> Graded:
        """The verifier's own."""
        raise NotImplementedError

    def check_gold(self, ground_truth: str, extra_info: ExtraInfo = None, data_source: str = "") -> Graded:
        """`correct` where the ground truth, boxed, verifies against itself, `gold_unparseable` where it does not."""
        boxed = self.grade(f"\\boxed{{{ground_truth}}}", ground_truth, extra_info, data_source)
        return boxed.as_gold_check(ground_truth)
