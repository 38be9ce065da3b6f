"""vLLM's engine arguments: which ones change what is sampled, and which ones only how fast or where.

    arguments_of_policy({"quantization": "fp8", "watermark": 0.05})        # {"quantization": "fp8"}

Every name that vLLM 0.24 or 0.30 takes is in one of three groups; a test reads the installed vLLM's and fails if a name
is in none. An argument that is in none at run time, as in a newer vLLM, counts as part of the policy: an earlier run is
then refused rather than mixed. Kernels that compute the same in another order are in the group of speed; ones that may
compute in another precision are not.
"""

from collections.abc import Mapping
from typing import Any

_ONE_MACHINE = "spo-data starts all replicas itself, on this machine: use --data-parallel-size"

NOT_AN_ENGINE_ARG: Mapping[str, str] = {
    **dict.fromkeys(("model", "tokenizer"), "use --model"),
    **dict.fromkeys(("revision", "tokenizer_revision", "code_revision"), "use --model-revision"),
    **{
        name: f"use --{name.replace('_', '-')}"
        for name in (
            *("tensor_parallel_size", "data_parallel_size", "gpu_memory_utilization", "max_model_len"),
            *("max_num_seqs", "dtype", "enforce_eager", "seed"),
        )
    },
    **dict.fromkeys(
        (
            *("data_parallel_rank", "data_parallel_start_rank", "data_parallel_size_local", "data_parallel_hybrid_lb"),
            *("data_parallel_external_lb", "data_parallel_multi_port_external_lb"),
        ),
        _ONE_MACHINE,
    ),
    **dict.fromkeys(("_api_process_count", "_api_process_rank"), "vLLM's server sets it, not a user"),
    "hf_token": "it would be written into run.json; set HF_TOKEN in the environment",
    **dict.fromkeys(("skip_tokenizer_init", "tokens_only"), "responses could not be graded without their text"),
}
"""Arguments that `--engine-arg` refuses, with the reason or the option to use."""

SPEED_ENGINE_ARGS = frozenset(
    {
        # where the engine runs, and on what
        *("data_parallel_address", "data_parallel_backend", "data_parallel_rpc_port", "data_parallel_size"),
        *("decode_context_parallel_size", "device_ids", "distributed_executor_backend", "enable_expert_parallel"),
        *("master_addr", "master_port", "nnodes", "node_rank", "pipeline_parallel_size"),
        *("prefill_context_parallel_size", "numa_bind", "numa_bind_cpus", "numa_bind_nodes"),
        # how its processes and GPUs share the work
        *("all2all_backend", "cp_kv_cache_interleave_size", "cpu_distributed_timeout_seconds"),
        *("dbo_decode_token_threshold", "dbo_prefill_token_threshold", "dcp_comm_backend"),
        *("dcp_kv_cache_interleave_size", "dcp_q_replicate", "disable_custom_all_reduce"),
        *("disable_nccl_for_dp_synchronization", "distributed_timeout_seconds", "dp_sync_interval"),
        *("elastic_ep_max_dp_size", "enable_batch_sharded_sampling", "enable_dbo", "enable_elastic_ep"),
        *("enable_ep_weight_filter", "enable_eplb", "enable_fault_tolerance", "enable_nccl_comm_suspend"),
        *("eplb_config", "expert_placement_strategy", "fault_tolerance_config", "shutdown_timeout", "ubatch_size"),
        # how it schedules requests
        *("async_scheduling", "enable_chunked_prefill", "long_prefill_token_threshold", "max_long_partial_prefills"),
        *("max_num_batched_tokens", "max_num_partial_prefills", "max_num_queued_reqs", "max_num_queued_tokens"),
        *("max_num_scheduled_tokens", "performance_mode", "prefill_schedule_interval"),
        *("scheduler_reserve_full_isl", "scheduling_policy", "stream_interval", "watermark"),
        # its memory: the KV cache's size and places, and weights outside of the GPU
        *("block_size", "cpu_offload_gb", "cpu_offload_params", "disable_hybrid_kv_cache_manager"),
        *("enable_cumem_allocator", "enable_mamba_fine_grained_prefix_cache", "enable_prefix_caching"),
        *("enable_sleep_mode", "kv_cache_memory_bytes", "kv_events_config", "kv_offloading_backend"),
        *("kv_offloading_size", "kv_transfer_config", "mamba_block_size", "mamba_cache_mode"),
        *("num_gpu_blocks_override", "offload_backend", "offload_group_size", "offload_num_in_group"),
        *("offload_params", "offload_prefetch_step", "prefix_cache_retention_interval"),
        *("prefix_caching_hash_algo", "prefix_match_unit", "swap_space"),
        # kernels, graphs and compilation
        *("attention_backend", "compilation_config", "cudagraph_capture_sizes", "disable_cascade_attn"),
        *("enable_flashinfer_autotune", "gdn_prefill_backend", "ir_op_priority", "kda_decode_backend"),
        *("kda_prefill_backend", "mamba_backend", "mamba_ssu_algorithm", "max_cudagraph_capture_size"),
        *("optimization_level", "sparse_indexer_topk_backend"),
        # how weights are found and read; `load_format` has a rule of its own
        *("allow_deprecated_quantization", "download_dir", "max_parallel_loading_workers", "pt_load_map_location"),
        *("safetensors_load_strategy", "safetensors_prefetch_block_size", "safetensors_prefetch_num_threads"),
        *("served_model_name", "trust_remote_code", "use_tqdm_on_load"),
        # images, video and audio: prompts here are text
        *("allowed_local_media_path", "allowed_media_domains", "disable_chunked_mm_input", "ec_manager_config"),
        *("ec_transfer_config", "enable_mm_embeds", "enable_mm_processor_stats", "interleave_mm_strings"),
        *("language_model_only", "limit_mm_per_prompt", "media_io_kwargs", "mm_device_do_normalize"),
        *("mm_encoder_attn_backend", "mm_encoder_attn_dtype", "mm_encoder_fp8_scale_path"),
        *("mm_encoder_fp8_scale_save_margin", "mm_encoder_fp8_scale_save_path", "mm_encoder_only"),
        *("mm_encoder_tp_mode", "mm_hasher_algorithm", "mm_ipc_gpu_memory_gb", "mm_processor_cache_gb"),
        *("mm_processor_cache_type", "mm_processor_device", "mm_processor_kwargs"),
        *("mm_shm_cache_max_object_size_mb", "mm_tensor_ipc", "renderer_num_workers", "skip_mm_profiling"),
        *("video_pruning_method", "video_pruning_rate"),
        # what it logs, measures and returns besides
        *("aggregate_engine_logging", "collect_detailed_traces", "cudagraph_metrics", "disable_log_stats"),
        *("enable_layerwise_nvtx_tracing", "enable_log_requests", "enable_logging_iteration_details"),
        *("enable_mfu_metrics", "enable_return_routed_experts", "fail_on_environ_validation", "jit_monitor_mode"),
        *("jit_monitor_verbose", "kv_cache_metrics", "kv_cache_metrics_sample", "max_logprobs"),
        *("otlp_traces_endpoint", "per_request_spec_decode_metrics", "profiler_config"),
        *("ray_workers_use_nsight", "return_sampling_mask", "show_hidden_metrics_for_version"),
    }
)
"""Arguments that change how fast samples are drawn, but not which."""

# Read by a test only, which finds arguments of a new vLLM that are in no group.
POLICY_ENGINE_ARGS = frozenset(
    {
        # weights, and the configuration that they are read with
        *("config_format", "hf_config_path", "hf_overrides", "ignore_patterns", "load_format", "model_class_overrides"),
        *("model_impl", "model_loader_extra_config", "model_weights", "weight_transfer_config"),
        # precision
        *("attention_config", "calculate_kv_scales", "enable_mamba_cache_stochastic_rounding", "kernel_config"),
        *("kv_cache_dtype", "kv_cache_dtype_skip_layers", "kv_sharing_fast_prefill", "linear_backend"),
        *("mamba_cache_dtype", "mamba_cache_philox_rounds", "mamba_config", "mamba_ssm_cache_dtype"),
        *("moe_backend", "override_attention_dtype", "quantization", "quantization_config"),
        *("replayssm_buffer_len", "use_fp64_gumbel", "use_replayssm"),
        # what is attended to, sampled and returned
        *("disable_sliding_window", "diffusion_config", "enable_trace_replay", "engram_config", "generation_config"),
        *("logits_processors", "logprobs_mode", "override_generation_config", "reasoning_config"),
        *("reasoning_parser", "reasoning_parser_plugin", "spec_method", "spec_model", "spec_tokens"),
        *("speculative_config", "structured_outputs_config", "tokenizer_mode", "watermark_config"),
        # adapters
        *("default_mm_loras", "enable_lora", "enable_mixed_moe_lora_format", "enable_moe_shared_loras"),
        *("enable_tower_connector_lora", "fully_sharded_loras", "lora_dtype", "lora_target_modules"),
        *("max_cpu_loras", "max_lora_rank", "max_loras", "specialize_active_lora"),
        # code of the user's, and what may be anything
        *("additional_config", "convert", "enable_prompt_embeds", "io_processor_plugin", "pooler_config", "runner"),
        *("scheduler_cls", "worker_cls", "worker_extension_cls"),
    }
)
"""Arguments that change what is sampled, or may."""

_SAME_WEIGHTS = ("auto", "hf", "pt", "safetensors", "npcache", "fastsafetensors", "instanttensor", "runai_streamer")
"""Values of `load_format` that read a model's own weights; `dummy` does not, and `bitsandbytes` quantizes them."""


def arguments_of_policy(engine_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that are part of the policy."""
    return {name: value for name, value in engine_args.items() if not _changes_only_speed(name, value)}


def _changes_only_speed(name: str, value: Any) -> bool:
    return name in SPEED_ENGINE_ARGS or (name == "load_format" and value in _SAME_WEIGHTS)
