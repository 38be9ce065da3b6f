"""How weights reach GPUs that only sample: verl's `nccl` needs cupy, which verl does not bring.

check_transfer(config)        # raises SpoError: verl names the missing package only after it has loaded the model
"""

from typing import TYPE_CHECKING

from spo_data.errors import SpoError
from spo_train.config.keys import MODE_KEY
from spo_train.plan import packages

if TYPE_CHECKING:
    from omegaconf import DictConfig

CUPY = "cupy-cuda13x"


def check_transfer(config: "DictConfig") -> None:
    """Raise SpoError if the training run sends weights by NCCL and cupy is not there."""
    mode = config.trainer.v1.trainer_mode
    if mode != "spo_separate_async" or config.actor_rollout_ref.rollout.checkpoint_engine.backend != "nccl":
        return
    fault = packages.find_fault("cupy")
    if fault is not None:
        raise SpoError(f"{MODE_KEY}={mode} sends weights by NCCL through cupy, which {fault}: pip install {CUPY}")
