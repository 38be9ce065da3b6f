"""The parts of verl's configuration that hold most settings, as dotted prefixes."""

ACTOR = "actor_rollout_ref.actor"
MODEL = "actor_rollout_ref.model"
ROLLOUT = "actor_rollout_ref.rollout"
DEVICE_KEY = "trainer.device"
