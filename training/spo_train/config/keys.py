"""verl's settings that SPO names, each named once; ACTOR, MODEL, ROLLOUT and DEVICE_KEY are shared with `verl_cpu`."""

from verl_cpu.verl_keys import ACTOR as ACTOR
from verl_cpu.verl_keys import DEVICE_KEY as DEVICE_KEY
from verl_cpu.verl_keys import MODEL as MODEL
from verl_cpu.verl_keys import ROLLOUT as ROLLOUT

BATCH_KEY = "data.train_batch_size"
TRAIN_FILES_KEY = "data.train_files"
VAL_FILES_KEY = "data.val_files"
PROMPT_TOKENS_KEY = "data.max_prompt_length"
RESPONSE_TOKENS_KEY = "data.max_response_length"
FILTER_OVERLONG_KEY = "data.filter_overlong_prompts"
TEMPLATE_KWARGS_KEY = "data.apply_chat_template_kwargs"

MODEL_PATH_KEY = f"{MODEL}.path"
CHAT_TEMPLATE_KEY = f"{MODEL}.custom_chat_template"
MINI_BATCH_KEY = f"{ACTOR}.ppo_mini_batch_size"
SEQUENCE_PARALLEL_KEY = f"{ACTOR}.ulysses_sequence_parallel_size"
PARAM_OFFLOAD_KEY = f"{ACTOR}.fsdp_config.param_offload"
TENSOR_PARALLEL_KEY = f"{ROLLOUT}.tensor_model_parallel_size"
RESPONSES_KEY = f"{ROLLOUT}.n"
"""Responses to one prompt."""
VAL_RESPONSES_KEY = f"{ROLLOUT}.val_kwargs.n"
ROLLOUT_NODES_KEY = f"{ROLLOUT}.nnodes"
"""Nodes that only sample, in `spo_separate_async`."""
DEFAULT_LOOP_KEY = f"{ROLLOUT}.agent.default_agent_loop"
LOOP_FILE_KEY = f"{ROLLOUT}.agent.agent_loop_config_path"

ADVANTAGE_KEY = "algorithm.adv_estimator"
KL_IN_REWARD_KEY = "algorithm.use_kl_in_reward"
REWARD_KWARGS = "reward.reward_kwargs"
"""Arguments of `spo_train.hooks.reward`; verl does not list them."""

SPO = "trainer.spo"
"""The settings of `spo_train.spo.settings`; verl does not list them."""
STEPS_KEY = "trainer.total_training_steps"
EPOCHS_KEY = "trainer.total_epochs"
CHECKPOINTS_KEY = "trainer.default_local_dir"
LOGGER_KEY = "trainer.logger"
NODES_KEY = "trainer.nnodes"
GPUS_KEY = "trainer.n_gpus_per_node"
"""GPUs of each node."""
SAMPLER = "trainer.v1.sampler"
REFILL_KEY = f"{SAMPLER}.sync_refill_failed_groups"
SYNC_STEPS_KEY = "trainer.v1.separate_async.parameter_sync_step"
"""Updates between two weight syncs, in `spo_separate_async`."""
MODE_KEY = "trainer.v1.trainer_mode"
SYNC = "spo_sync"
MODES = (SYNC, "spo_colocate_async", "spo_separate_async")
"""verl's trainer modes with SPO in them; each of them can run every method."""
