"""The settings that verl needs on a CPU, whatever is trained.

    cpu_overrides("models/smollm2-135m", context_length=288)      # {"trainer.device": "cpu", ...}

Keys are verl's. As in hydra, `+` marks one that verl reads without listing it in its configuration.
"""

import json
import math
from pathlib import Path
from typing import Any

from verl_cpu.verl_keys import ACTOR, DEVICE_KEY, MODEL, ROLLOUT

RAY = "ray_kwargs.ray_init"
BUCKET = f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes"
MICRO_BATCH_TOKENS = 2048
"""Tokens in one forward pass."""
SMALLEST_BUCKET_MIB = 64
LOGICAL_CPUS = 16
"""CPUs that Ray is told of for one worker: verl's actors ask for far more than they use; two real cores are enough."""
CPUS_OF_A_WORKER = 3
"""What verl's placement groups wait for, for ever if need be."""


def cpu_overrides(model_path: str, context_length: int, workers: int = 1, rollout_workers: int = 0) -> dict[str, Any]:
    """Return the settings to train a model with `workers` processes; prompt and response share the context.

    `rollout_workers` more processes only sample (`separate_async`). With none, the same processes train and sample.
    """
    settings = {
        DEVICE_KEY: "cpu",
        "data.dataloader_num_workers": 0,
        f"{MODEL}.use_remove_padding": False,
        f"{MODEL}.enable_gradient_checkpointing": False,
        f"+{MODEL}.override_config.attn_implementation": "sdpa",
        f"{ACTOR}.strategy": "fsdp2",
        f"{ACTOR}.fsdp_config.strategy": "fsdp2",
        f"{ACTOR}.fsdp_config.dtype": "float32",
        f"+{ACTOR}.fsdp_config.mixed_precision": dict.fromkeys(("param_dtype", "reduce_dtype", "buffer_dtype"), "fp32"),
        f"{ACTOR}.fsdp_config.param_offload": False,
        f"{ACTOR}.fsdp_config.optimizer_offload": False,
        f"{ACTOR}.use_torch_compile": False,
        f"{ACTOR}.fsdp_config.use_torch_compile": False,
        f"{ACTOR}.ulysses_sequence_parallel_size": 1,
        f"{ACTOR}.use_dynamic_bsz": True,
        f"{ACTOR}.ppo_max_token_len_per_gpu": max(MICRO_BATCH_TOKENS, context_length),
        f"{ROLLOUT}.dtype": "float32",
        f"{ROLLOUT}.tensor_model_parallel_size": 1,
        f"{ROLLOUT}.enforce_eager": True,
        # There is no device memory to give back between the phases.
        f"{ROLLOUT}.free_cache_engine": False,
        f"+{ROLLOUT}.enable_sleep_mode": False,
        # A request with its own seed crashes the CPU build of vLLM if its prefill is split.
        f"{ROLLOUT}.enable_chunked_prefill": False,
        f"{ROLLOUT}.max_model_len": context_length,
        f"{ROLLOUT}.max_num_batched_tokens": max(1024, context_length),
        f"{ROLLOUT}.max_num_seqs": 64,
        f"+{ROLLOUT}.engine_kwargs.vllm.worker_extension_cls": "verl_cpu.vllm_worker.CPUWorkerExtension",
        f"{ROLLOUT}.agent.num_workers": 1,
        "reward.num_workers": 1,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        f"{RAY}.num_cpus": LOGICAL_CPUS + CPUS_OF_A_WORKER * (workers + rollout_workers - 1),
        f"+{RAY}.num_gpus": workers + rollout_workers,
        f"+{RAY}.include_dashboard": False,
    }
    if rollout_workers:
        settings[f"{ROLLOUT}.checkpoint_engine.backend"] = "cpu_file"
        settings[f"{ROLLOUT}.checkpoint_engine.custom_backend_module"] = "verl_cpu.checkpoint_engine"
    if Path(model_path).is_dir():
        settings[BUCKET] = bucket_mib(Path(model_path))
    return settings


def bucket_mib(model: Path) -> int:
    """Return the MiB of one bucket for all weights in float32: a tied `lm_head` must share the embedding's bucket.

    verl sends the tied `lm_head`, which is not in the files, so the largest tensor is counted twice.
    """
    sizes: list[int] = [
        math.prod(tensor["shape"])
        for file in model.glob("*.safetensors")
        for name, tensor in _read_header(file).items()
        if name != "__metadata__"
    ]
    return max(SMALLEST_BUCKET_MIB, math.ceil(4 * (sum(sizes) + max(sizes, default=0)) / 2**20) + 1)


def _read_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return dict(json.loads(file.read(int.from_bytes(file.read(8), "little"))))
