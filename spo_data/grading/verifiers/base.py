"""The base class of verifiers that need only two texts: the response and the ground truth."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from spo_data.grading.verdict import ExtraInfo, Grade


class TextVerifier(ABC):
    """A `Verifier` that ignores `extra_info` and `data_source`."""

    reads_thinking: bool

    @staticmethod
    def select_read(extra_info: ExtraInfo, data_source: str) -> Mapping[str, Any]:  # noqa: ARG004 # the protocol's
        """Return nothing: only the ground truth is read."""
        return {}

    def grade(
        self,
        response: str,
        ground_truth: str,
        extra_info: ExtraInfo = None,  # noqa: ARG002 # the protocol's
        data_source: str = "",  # noqa: ARG002 # the protocol's
    ) -> Grade:
        return self.grade_text(response, ground_truth)

    def check_gold(
        self,
        ground_truth: str,
        extra_info: ExtraInfo = None,  # noqa: ARG002 # the protocol's
        data_source: str = "",  # noqa: ARG002 # the protocol's
    ) -> Grade:
        """`correct` if the ground truth verifies against itself, else `gold_unparseable`."""
        return self.grade_gold(ground_truth).as_gold_check(ground_truth)

    @abstractmethod
    def grade_text(self, response: str, ground_truth: str) -> Grade:
        """Grade a response by its text alone."""

    def grade_gold(self, ground_truth: str) -> Grade:
        """Grade the ground truth, in a box, as a response."""
        return self.grade_text(f"\\boxed{{{ground_truth}}}", ground_truth)
