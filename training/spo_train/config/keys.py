"""verl's settings that SPO names, each in one place."""

ACTOR = "actor_rollout_ref.actor"

MODEL = "actor_rollout_ref.model"

ROLLOUT = "actor_rollout_ref.rollout"

BATCH_KEY = "data.train_batch_size"

STEPS_KEY = "trainer.total_training_steps"

EPOCHS_KEY = "trainer.total_epochs"

PROMPT_TOKENS_KEY = "data.max_prompt_length"

RESPONSE_TOKENS_KEY = "data.max_response_length"

MODE_KEY = "trainer.v1.trainer_mode"

SYNC = "spo_sync"

MODES = (SYNC, "spo_colocate_async", "spo_separate_async")
"""verl's trainer modes with SPO in them; every method runs in these."""

CHECKPOINTS_KEY = "trainer.default_local_dir"
