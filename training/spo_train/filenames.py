"""The files of a training run's folder."""

METRICS = "metrics.jsonl"

CHECKPOINTS = "checkpoints"


CONFIG = "config.yaml"

LOG = "verl.log"


RECORD = "run_train.json"

LATEST = "latest_checkpointed_iteration.txt"
"""verl writes it into the folder of checkpoints when the first one is whole."""
