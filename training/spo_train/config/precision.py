"""The number formats of a composed configuration: names that verl and vLLM know.

check_precision(config)       # raises UserError: both read them only when they load the model
"""

from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_train.config.keys import MODEL_DTYPE_KEY, PRECISION, ROLLOUT_DTYPE_KEY

if TYPE_CHECKING:
    from omegaconf import DictConfig

ENGINE_DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")
"""vLLM's names."""
OF_16_BITS = ("bf16", "bfloat16", "fp16", "float16", "16")
"""verl's names of formats with 16 bits; all others that it knows have 32."""
TRAINER_DTYPES = ("bf16", "fp16", "fp32")
"""verl's short names; it knows longer ones too."""


def width_of(dtype: Any) -> int:
    """Return the bytes of a number in one of verl's formats."""
    return 2 if str(dtype) in OF_16_BITS else 4


def check_precision(config: "DictConfig") -> None:
    """Raise UserError for a number format that verl or vLLM would not know."""
    from omegaconf import OmegaConf

    engine = OmegaConf.select(config, ROLLOUT_DTYPE_KEY)
    if engine not in ENGINE_DTYPES:
        raise UserError(f"{ROLLOUT_DTYPE_KEY}={engine}: vLLM knows {', '.join(ENGINE_DTYPES)}")
    parts: dict[str, Any] = dict(OmegaConf.select(config, PRECISION) or {})
    given = {MODEL_DTYPE_KEY: OmegaConf.select(config, MODEL_DTYPE_KEY)}
    given |= {f"+{PRECISION}.{name}": value for name, value in parts.items()}
    for key, value in given.items():
        if value is not None and not _is_known(value):
            raise UserError(f"{key}={value}: verl knows {', '.join(TRAINER_DTYPES)}")


def _is_known(name: Any) -> bool:
    from verl.utils.torch_dtypes import PrecisionType

    try:
        PrecisionType.to_dtype(name)  # type: ignore[no-untyped-call] # verl has no types
    except RuntimeError:
        return False
    return True
