"""Settings with which no training run could continue, or with which it would end early."""

import copy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("omegaconf", reason="verl is not installed")
from omegaconf import OmegaConf

from spo_data.errors import UserError
from spo_train.config.checkpoint_settings import check_checkpoint_settings
from spo_train.config.train_choice import Choice
from spo_train.plan.assemble import compose_choice

CHOICE = Choice("spo", "paper", "none", Path("/runs/train"), 13_904, attention_heads=32)
SAVED = "actor_rollout_ref.actor.checkpoint.save_contents"
RESUMED_ONLY = {"trainer.resume_from_path": "/runs/a/checkpoints/global_step_20"}


@pytest.fixture(scope="module")
def composed() -> Any:
    return compose_choice(CHOICE, on_cpu=False)


def check(composed: Any, settings: dict[str, Any]) -> None:
    config = copy.deepcopy(composed)
    for key, value in settings.items():
        OmegaConf.update(config, key, value, force_add=True)
    check_checkpoint_settings(config, CHOICE.prompts)


def test_two_checkpoints_are_kept_and_no_process_is_forked_for_them(composed: Any) -> None:
    """All 25 of an 8B model were kept, of 98 GB each; verl's loader forked the trainer eight times at each."""
    assert composed.trainer.max_actor_ckpt_to_keep == 2
    assert composed.data.dataloader_num_workers == 0
    check(composed, {})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {SAVED: ["hf_model"]},
            f"{SAVED}=[hf_model]: no training run could continue from such a checkpoint, which lacks model, optimizer,"
            f" extra: {SAVED}=[model,optimizer,extra,hf_model]",
        ),
        ({SAVED: ["model", "extra"]}, f"which lacks optimizer: {SAVED}=[model,optimizer,extra]"),
        ({SAVED.replace("save", "load"): ["model"]}, "load_contents=[model]: no training run could continue"),
        ({SAVED.replace("save_contents", "async_save"): True}, "would not note which checkpoint is the last whole one"),
        ({"trainer.max_actor_ckpt_to_keep": 0}, "max_actor_ckpt_to_keep=0: wanted a whole number, at least 1, or null"),
        ({"trainer.max_actor_ckpt_to_keep": "all"}, "max_actor_ckpt_to_keep=all: wanted a whole number"),
        ({"trainer.remove_previous_ckpt_in_save": True}, "use trainer.max_actor_ckpt_to_keep=1"),
        ({"trainer.resume_mode": "never"}, "trainer.resume_mode=never: must be auto, disable or resume_path"),
        (RESUMED_ONLY, "global_step_20: verl reads it with trainer.resume_mode=resume_path only"),
        ({"trainer.total_epochs": 0}, "trainer.total_epochs=0: wanted a whole number, at least 1"),
        ({"trainer.total_epochs": 1, "data.train_batch_size": 13_000}, "ends training after 1 step, before the 500 of"),
        (
            {"trainer.total_epochs": 3},
            "trainer.total_epochs=3 ends training after 18 steps, before the 500 of trainer.total_training_steps:"
            " an epoch has 6 (13,904 prompts, data.train_batch_size 2,048); leave out trainer.total_epochs, or"
            " trainer.total_training_steps=18",
        ),
    ],
)
def test_settings_without_a_way_back_are_refused(composed: Any, settings: dict[str, Any], says: str) -> None:
    """Weights were not restored from a save of `hf_model` alone, and epochs ended training early with status 0."""
    with pytest.raises(UserError) as refused:
        check(composed, settings)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"trainer.max_actor_ckpt_to_keep": None},
        {SAVED: ["model", "optimizer", "extra", "hf_model"]},
        {SAVED: ["hf_model"], "trainer.save_freq": -1},
        {"trainer.resume_mode": "resume_path", **RESUMED_ONLY},
        {"trainer.total_epochs": 84},
        {"trainer.total_epochs": 1, "trainer.total_training_steps": None},
    ],
)
def test_what_can_be_resumed_is_accepted(composed: Any, settings: dict[str, Any]) -> None:
    check(composed, settings)
