"""The vLLM worker's side of verl's weight updates, on a CPU.

It is chosen by `actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls`.
"""

from typing import Any

from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from vllm.model_executor.layers.linear import LinearBase


class CPUWorkerExtension(vLLMColocateWorkerExtension):
    """verl's extension, in a worker that does not repack its linear weights."""

    def __new__(cls, **kwargs: Any) -> "CPUWorkerExtension":
        # The CPU build repacks linear weights after loading; a weight update then finds no `weight_loader`.
        LinearBase.skip_weight_relayout = True  # in vLLM 0.30
        LinearBase._cpu_skip_gemm_dispatch = True  # since 0.31
        return super().__new__(cls, **kwargs)  # type: ignore[no-untyped-call,no-any-return] # verl's is not typed
