"""Validation with failed samples: it reports how many failed, and no accuracy that counts them as wrong.

    class SPOMixin(ValidationMixin): ...

verl leaves failed samples out of its accuracies. If a whole batch failed, verl would stop at an empty read; here the
validation reports only its count of failed samples, and training continues.
"""

from typing import Any

from spo_train.hooks.draw_order import NothingGradedError

FAILED = "val-aux/failed_samples"


class ValidationMixin:
    """See the hooks' own docstrings in verl's `PPOTrainer`."""

    config: Any
    val_dataset: Any

    def _validate(self) -> dict[str, float]:
        try:
            metrics: dict[str, float] = super()._validate()  # type: ignore[misc] # the trainer that is mixed in
        except NothingGradedError as error:
            print(f"validation without an accuracy: {error}", flush=True)
            return {FAILED: len(self.val_dataset) * int(self.config.actor_rollout_ref.rollout.val_kwargs.n)}
        return metrics

    def _val_metrics_update(
        self, data_sources: Any, sample_uids: Any, *arguments: Any, expected_acc_counts: Any = None
    ) -> dict[str, Any]:
        """Return verl's metrics of the graded samples, and how many samples failed."""
        metrics: dict[str, Any] = super()._val_metrics_update(data_sources, sample_uids, *arguments)  # type: ignore[misc]
        failed = sum((expected_acc_counts or {}).values()) - len(sample_uids)
        return metrics | {FAILED: max(failed, 0)}
