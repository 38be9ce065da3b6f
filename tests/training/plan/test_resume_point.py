"""Where a training run continues, and what is refused before anything starts, over made-up checkpoints."""

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("omegaconf", reason="verl is not installed")
from omegaconf import OmegaConf

from spo_data.errors import UserError
from spo_train.checkpoints import find_newest_whole
from spo_train.plan import checkpoint_size as size_module
from spo_train.plan.next_command import suggest_resuming
from spo_train.plan.resume_point import Continuation, checkpoint_facts, describe_deletions, find_resume_point, last_step
from support.made_checkpoints import make_checkpoint, mark_latest, write_state

PROMPTS = ("a", "b", "c")
COMMAND = "spo-train --out runs/train --resume"


def make_plan(out: Path, *, resume: bool = True, command: str = COMMAND, steps: int = 100, **changed: Any) -> Any:
    """As much of a plan as is looked at; `changed` are settings of verl's trainer."""
    trainer = {
        "default_local_dir": str(out / "checkpoints"),
        "resume_mode": "auto" if resume else "disable",
        "resume_from_path": None,
        "nnodes": 1,
        "n_gpus_per_node": 2,
        "save_freq": 20,
        "max_actor_ckpt_to_keep": 2,
        "val_only": False,
        "val_before_train": False,
        **changed,
    }
    fsdp = {"model_dtype": "fp32"}
    actor = {"strategy": "fsdp2", "fsdp_config": fsdp, "checkpoint": {"save_contents": ["model", "optimizer", "extra"]}}
    model = {"lora_rank": 0, "lora_adapter_path": None}
    return SimpleNamespace(
        config=OmegaConf.create({"trainer": trainer, "actor_rollout_ref": {"actor": actor, "model": model}}),
        out=out,
        checkpoints=Path(trainer["default_local_dir"]),
        options=SimpleNamespace(resume=resume, command=command),
        data=SimpleNamespace(prompt_ids=PROMPTS),
        model=SimpleNamespace(path="none", hub_revision=None),
        steps=steps,
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The checkpoints of steps 20 and 40, of two workers, with the later one marked as the last whole one."""
    for step in (20, 40):
        make_checkpoint(tmp_path / "checkpoints", step, PROMPTS, workers=2)
    mark_latest(tmp_path / "checkpoints", 40)
    return tmp_path / "checkpoints"


def refusal(plan: Any) -> str:
    with pytest.raises(UserError) as refused:
        find_resume_point(plan)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_training_run_continues_from_the_checkpoint_that_is_marked(saved: Path) -> None:
    plan = make_plan(saved.parent)
    point = find_resume_point(plan)
    assert point == Continuation(40, saved / "global_step_40")
    assert point.describe(100) == f"continues from step 40 of 100 ({saved / 'global_step_40'})"
    chosen = saved / "global_step_20"
    elsewhere = {"resume_mode": "resume_path", "resume_from_path": str(chosen)}
    assert find_resume_point(make_plan(saved.parent, **elsewhere)) == Continuation(20, chosen)
    assert find_resume_point(make_plan(saved.parent / "new", resume=False)) is None


def test_checkpoints_that_an_earlier_version_kept_are_not_deleted_without_a_word(saved: Path) -> None:
    for step in (10, 30, 50):
        make_checkpoint(saved, step, PROMPTS, workers=2)
    plan = make_plan(saved.parent)
    said = describe_deletions(plan, find_resume_point(plan))
    assert said == (
        "2 more in the folder: the oldest are deleted when the next is saved (trainer.max_actor_ckpt_to_keep=null keeps"
        " all)"
    )
    for keep in (4, None):
        plan = make_plan(saved.parent, max_actor_ckpt_to_keep=keep)
        assert describe_deletions(plan, find_resume_point(plan)) is None


def delete(name: str) -> Callable[[Path], None]:
    def change(saved: Path) -> None:
        path = saved / "global_step_40" / name
        path.rename(path.with_name("gone"))

    return change


def cut(saved: Path) -> None:
    shard = saved / "global_step_40" / "actor" / "model_world_size_2_rank_1.pt"
    shard.write_bytes(shard.read_bytes()[:-30])


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing folder": (lambda saved: mark_latest(saved, 60), "names 60, but {saved}/global_step_60 is missing"),
    "empty note": (lambda saved: mark_latest(saved, ""), "{saved}/latest_checkpointed_iteration.txt is empty"),
    "no number": (lambda saved: mark_latest(saved, "last"), "says 'last', which is no step"),
    "no note": (lambda saved: (saved / "latest_checkpointed_iteration.txt").unlink(), "iteration.txt is missing"),
    "no shard": (delete("actor/optim_world_size_2_rank_1.pt"), "no actor/optim_world_size_2_rank_1.pt"),
    "no extra state": (delete("actor/extra_state_world_size_2_rank_0.pt"), "no actor/extra_state_world_size_2_rank_0"),
    "cut shard": (cut, "actor/model_world_size_2_rank_1.pt was cut short"),
    "no weights": (delete("actor"), "names 40, but global_step_40 has no weights in actor/"),
    "no state of SPO": (delete("spo/state.npz"), "global_step_40 has no spo/state.npz, so it was made without SPO"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_checkpoint_is_refused_with_the_command_that_continues(saved: Path, how: str) -> None:
    """verl took a missing folder for none and began at step 1, with exit status 0; the rest failed after minutes."""
    change, fault = BROKEN[how]
    change(saved)
    said = refusal(make_plan(saved.parent))
    assert fault.format(saved=saved) in said
    newest = find_newest_whole(saved, 2)
    assert newest is not None
    assert f"the newest whole checkpoint is at step {newest.step}; to continue from it: " in said
    note, _, again = said.rpartition("to continue from it: ")[2].partition(" && ")
    assert again == COMMAND
    subprocess.run(note, shell=True, check=True)
    assert find_resume_point(make_plan(saved.parent)) == Continuation(newest.step, newest.path)


def test_without_a_whole_checkpoint_a_new_training_run_is_advised(saved: Path) -> None:
    for step in (20, 40):
        (saved / f"global_step_{step}" / "spo" / "state.npz").unlink()
    assert refusal(make_plan(saved.parent)).endswith(
        f"no checkpoint in {saved} is whole, so start a new training run with another --out"
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"resume_mode": "disable"}, "trainer.resume_mode=disable: --resume continues from the last checkpoint"),
        ({"n_gpus_per_node": 8}, "saved by 2 workers, and this call has 8 (trainer.n_gpus_per_node x 1 nodes)"),
        ({"n_gpus_per_node": 8}, ": a training run continues on as many: --gpus-per-node 2"),
        ({"nnodes": 2}, "saved by 2 workers, and this call has 4"),
        ({"nnodes": 4}, "--nodes times --gpus-per-node must be 2"),
        (
            {"resume_mode": "resume_path", "resume_from_path": "runs/global_step_20"},
            "trainer.resume_from_path=runs/global_step_20: wanted the absolute path of a folder global_step_N",
        ),
        (
            {"resume_mode": "resume_path", "resume_from_path": "/absent/global_step_7"},
            "trainer.resume_from_path=/absent/global_step_7, but /absent/global_step_7 is missing",
        ),
    ],
)
def test_settings_with_which_verl_would_not_continue_are_refused(
    saved: Path, changed: dict[str, Any], says: str
) -> None:
    assert says in refusal(make_plan(saved.parent, **changed))


def test_a_checkpoint_of_another_strategy_is_refused(saved: Path) -> None:
    plan = make_plan(saved.parent)
    plan.config.actor_rollout_ref.actor.strategy = "fsdp"
    said = "saved with fsdp2, and actor_rollout_ref.actor.strategy is fsdp: actor_rollout_ref.actor.strategy=fsdp2"
    assert said in refusal(plan)


@pytest.mark.parametrize(
    ("others", "says"),
    [
        (("a", "b"), "has values of 2 prompts, and this"),
        (("a", "c", "b"), "has values of other prompts, or in another"),
    ],
)
def test_a_checkpoint_of_other_prompts_is_refused(saved: Path, others: tuple[str, ...], says: str) -> None:
    write_state(saved / "global_step_40", others)
    said = refusal(make_plan(saved.parent))
    assert says in said
    assert said.endswith("this training run has 3 prompts: start a new one with another --out")


def test_a_finished_training_run_says_how_to_train_longer(saved: Path) -> None:
    """It ended at once, with exit status 0."""
    command = f"{COMMAND} trainer.total_epochs=4 trainer.total_training_steps=40"
    plan = make_plan(saved.parent, steps=40, command=command)
    said = refusal(plan)
    assert said.startswith("the training run has finished: its checkpoint is at step 40 of 40; to train longer: ")
    assert said.endswith(f": {COMMAND} trainer.total_training_steps=80")
    validating = make_plan(saved.parent, steps=40, val_only=True, val_before_train=True)
    assert find_resume_point(validating) is not None
    assert (last_step(plan), last_step(validating)) == (40, None)


def test_before_the_first_checkpoint_a_training_run_starts_again(tmp_path: Path) -> None:
    point = find_resume_point(make_plan(tmp_path))
    assert point == Continuation(0)
    assert point.describe(100) == "starts from step 1: there is no checkpoint yet"


def write_metrics(path: Path, *steps: int) -> None:
    path.write_text("".join(json.dumps({"step": step, "data": {}}) + "\n" for step in steps))


def test_checkpoints_that_are_gone_are_missed(tmp_path: Path) -> None:
    """Training began again at step 1 if a disk was not mounted, or if the folder was given another time."""
    before = {"resume_mode": "disable", "save_freq": 20, "default_local_dir": "/mnt/disk"}
    OmegaConf.save(OmegaConf.create({"trainer": before}), tmp_path / "config.yaml")
    write_metrics(tmp_path / "metrics.1.jsonl", 1, 19)
    assert find_resume_point(make_plan(tmp_path)) == Continuation(0)
    write_metrics(tmp_path / "metrics.2.jsonl", 20, 45)
    (tmp_path / "metrics.jsonl").touch()
    said = refusal(make_plan(tmp_path))
    assert said.startswith(f"the training run saved a checkpoint at step 40, and {tmp_path}/checkpoints has none")
    assert "(trainer.default_local_dir=/mnt/disk was its folder)" in said
    assert said.endswith("or start again from step 1 with the command without --resume")
    write_metrics(tmp_path / "metrics.jsonl", 1, 2)
    assert find_resume_point(make_plan(tmp_path)) == Continuation(0)


def test_a_training_run_that_began_from_another_ones_checkpoint_does_so_again(tmp_path: Path, saved: Path) -> None:
    branch, chosen = tmp_path / "branch", str(saved / "global_step_20")
    branch.mkdir()
    before = {"resume_mode": "resume_path", "resume_from_path": chosen, "save_freq": 20}
    OmegaConf.save(OmegaConf.create({"trainer": before}), branch / "config.yaml")
    said = refusal(make_plan(branch))
    assert said.endswith(f": add trainer.resume_mode=resume_path trainer.resume_from_path={chosen}")
    command = f"spo-train trainer.resume_mode=resume_path trainer.resume_from_path={chosen}"
    assert suggest_resuming(command, branch / "checkpoints") == f"{command} --resume"
    assert suggest_resuming(command, saved) == "spo-train --resume"


@pytest.mark.parametrize(
    ("changed", "most", "says"),
    [
        ({}, 2, "every 20 steps, the newest 2 kept: at most 197 GB (2 x 98.3 GB)"),
        ({"max_actor_ckpt_to_keep": 1}, 2, "every 20 steps, the newest kept: at most 197 GB (2 x 98.3 GB)"),
        ({"max_actor_ckpt_to_keep": None}, 25, "every 20 steps, all kept: at most 2,457 GB (25 x 98.3 GB)"),
        ({"save_freq": 499}, 2, "every 499 steps, the newest 2 kept: at most 197 GB (2 x 98.3 GB)"),
        ({"save_freq": -1}, 0, "none: trainer.save_freq is not positive, so an ended training run cannot be continued"),
    ],
)
def test_the_disk_that_checkpoints_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], most: int, says: str
) -> None:
    """An 8B model's 25 checkpoints filled 2.5 TB, and nothing said so before."""
    monkeypatch.setattr(size_module, "count_parameters", lambda _: 8_190_735_360)
    plan = make_plan(tmp_path, resume=False, steps=500, **changed)
    size = size_module.find_checkpoint_size(plan.config, plan.model, plan.steps)
    assert (size.most, size.describe()) == (most, says)
    facts = checkpoint_facts(plan)
    assert facts["checkpoint_disk_bytes"] == (12 * 8_190_735_360 * most if most else None)
    assert facts["continues_from"] is None
    plan.config.trainer.max_actor_ckpt_to_keep = "two"
    assert set(checkpoint_facts(plan).values()) == {None}


def test_a_command_is_shown_as_a_shell_reads_it(saved: Path) -> None:
    command = shlex.join(["spo-train", "--out", "my run", "--resume", "+trainer.total_training_steps=40"])
    said = refusal(make_plan(saved.parent, steps=40, command=command))
    assert said.endswith("spo-train --out 'my run' --resume trainer.total_training_steps=80")
