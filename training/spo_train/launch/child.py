"""The process that trains: verl's own entry, with the configuration that `spo-train` composed.

    python -m spo_train.launch.child runs/train/config.yaml

verl's `TaskRunnerV1` runs in a Ray actor. The subclass imports the SPO trainers there, so that verl finds them by name.
"""

import sys
from typing import Any

from spo_train.launch.process_tree import end_with_launcher


def main(path: str) -> None:
    """Run verl's trainer to its end; raises what it raises."""
    end_with_launcher()

    import ray
    from omegaconf import OmegaConf
    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
    from verl.utils.device import auto_set_device

    class TaskRunner(TaskRunnerV1.__ray_metadata__.modified_class):  # type: ignore[misc,name-defined]
        """verl's task runner, in whose process the SPO trainers are registered."""

        def run(self, config: Any) -> None:
            import spo_train.hooks.trainer  # noqa: F401 - registers them

            super().run(config)

    config = OmegaConf.load(path)
    auto_set_device(config)
    run_ppo(config, task_runner_class=ray.remote(TaskRunner))


if __name__ == "__main__":
    main(sys.argv[1])
