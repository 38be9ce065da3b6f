"""Which of vLLM's two model runners draws the tokens.

    with faster_runner(arguments):
        client = AsyncLLM.from_engine_args(arguments, ...)
    runner_of(client.vllm_config)       # "V1" or "V2"

Every request has its own seed. The first runner (V1) fills the noise of each seeded request in a Python loop, at every
step; the second one (V2) does it in one kernel. vLLM 0.24 chooses V2 for six architectures only, later versions choose
it wherever they can. On CUDA this module chooses it for every other model that only generates text from text, if vLLM
supports all of the engine's settings there. A user's own VLLM_USE_V2_MODEL_RUNNER is never changed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

VARIABLE = "VLLM_USE_V2_MODEL_RUNNER"


@contextmanager
def faster_runner(arguments: Any) -> Iterator[None]:
    """Ask vLLM for its second runner while an engine starts, if it supports it; its processes inherit the choice."""
    if not _should_ask(arguments):
        yield
        return
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)


def runner_of(vllm_config: Any) -> str:
    """Return the name of the runner that a configuration leads to; call it before `faster_runner` ends."""
    return "V2" if vllm_config.use_v2_model_runner else "V1"


def _should_ask(arguments: Any) -> bool:
    if VARIABLE in os.environ:
        return False
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext

    if not current_platform.is_cuda():
        return False
    config = arguments.create_engine_config(UsageContext.LLM_CLASS)
    return not config.use_v2_model_runner and supports_second_runner(config)


def supports_second_runner(vllm_config: Any) -> bool:
    """Whether vLLM's second runner supports a configuration: the model is plain, and vLLM lists nothing against it."""
    model, parallel = vllm_config.model_config, vllm_config.parallel_config
    is_plain = model.runner_type == "generate" and not (
        model.is_multimodal_model or model.is_encoder_decoder or model.has_inner_state or model.is_hybrid
    )
    is_tried = vllm_config.lora_config is None and parallel.pipeline_parallel_size == 1
    return bool(is_plain and is_tried and not vllm_config._get_v2_model_runner_unsupported_features())
