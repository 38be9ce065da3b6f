"""Where a training run continues, looked at before anything is started.

    point = find_resume_point(plan)
    point.step, point.folder          # 40, …/checkpoints/global_step_40
    checkpoint_facts(plan)            # for JSON, with the disk that checkpoints take
    describe_checkpoints(folder)      # "at step 40": what a new training run would overwrite

verl takes a checkpoint that is not there for none and starts at step 1, and finds a broken one after minutes. Here each
is refused, with the newest whole checkpoint and the command that continues from it.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from spo_data.errors import UserError
from spo_train.checkpoints import Checkpoint, find_checkpoints, find_newest_whole, read_latest
from spo_train.config.checkpoint_settings import count_kept, only_validates
from spo_train.config.keys import (
    ACTOR,
    CHECKPOINTS_KEY,
    EPOCHS_KEY,
    GPUS_KEY,
    KEEP_KEY,
    RESUME_KEY,
    RESUME_PATH_KEY,
    STEPS_KEY,
)
from spo_train.filenames import CONFIG, LATEST
from spo_train.plan.checkpoint_size import find_checkpoint_size
from spo_train.plan.next_command import set_in_command
from spo_train.plan.written_config import last_written_step, read_written_config
from spo_train.spo.single_stream import prompts_mark

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from spo_data.models.names import Model
    from spo_train.data.training_rows import TrainingData
    from spo_train.plan.train_options import TrainOptions

_PATH = re.compile(r"/(?:.*/)?global_step_(\d+)")
_STRATEGIES = {1: "fsdp", 2: "fsdp2"}


class SavingPlan(Protocol):
    """What decides about checkpoints in a `TrainPlan`."""

    @property
    def config(self) -> "DictConfig":
        """The composed configuration."""

    @property
    def options(self) -> "TrainOptions":
        """The user's options."""

    @property
    def data(self) -> "TrainingData":
        """The training prompts."""

    @property
    def model(self) -> "Model":
        """The model to train."""

    @property
    def out(self) -> Path:
        """The folder of the training run."""

    @property
    def checkpoints(self) -> Path:
        """The folder of verl's checkpoints."""

    @property
    def steps(self) -> int:
        """The number of training steps."""


@dataclass(frozen=True)
class Continuation:
    """The step after which training continues."""

    step: int
    """0 if there is no checkpoint yet."""
    folder: Path | None = None

    def describe(self, steps: int) -> str:
        """Return it as a sentence's end: where a training run of so many steps continues."""
        if self.folder is None:
            return "starts from step 1: there is no checkpoint yet"
        return f"continues from step {self.step:,} of {steps:,} ({self.folder})"


def find_resume_point(plan: SavingPlan) -> Continuation | None:
    """Return where training continues, or None for a new training run; raises UserError if it cannot continue."""
    config, trainer, checkpoints = plan.config, plan.config.trainer, plan.checkpoints
    resume, command, steps = plan.options.resume, plan.options.command, plan.steps
    if trainer.resume_mode == "disable":
        if resume:
            raise UserError(f"{RESUME_KEY}=disable: --resume continues from the last checkpoint; leave out one of them")
        return None
    if trainer.resume_mode == "resume_path":
        checkpoint = _read_path(trainer.resume_from_path)
    else:
        if not (checkpoints / LATEST).exists() and find_newest_whole(checkpoints) is None:
            if not resume:
                return None
            _refuse_lost(plan.out, checkpoints)
            return Continuation(0)
        checkpoint = _read_latest(config, checkpoints, command)
    _check(checkpoint, config, plan.data.prompt_ids, command)
    if checkpoint.step >= steps and not only_validates(config):
        longer = set_in_command(command, {STEPS_KEY: checkpoint.step + steps}, without=(EPOCHS_KEY,))
        raise UserError(
            f"the training run has finished: its checkpoint is at step {checkpoint.step:,} of {steps:,}; to train"
            f" longer: {longer}"
        )
    return Continuation(checkpoint.step, checkpoint.path)


def checkpoint_facts(plan: SavingPlan) -> dict[str, int | None]:
    """Return the plan's facts about checkpoints for JSON; null if settings that are refused do not say."""
    try:
        size, point = find_checkpoint_size(plan.config, plan.model, plan.steps), find_resume_point(plan)
    except (UserError, TypeError, ValueError, ArithmeticError):
        return dict.fromkeys(("continues_from", "checkpoints_kept", "checkpoint_bytes", "checkpoint_disk_bytes"))
    return {
        "continues_from": None if point is None else point.step,
        "checkpoints_kept": size.kept,
        "checkpoint_bytes": size.each,
        "checkpoint_disk_bytes": size.disk,
    }


def describe_deletions(plan: SavingPlan, point: Continuation | None) -> str | None:
    """Return how many checkpoints more than are kept lie in the folder to continue in, or None if there are not."""
    kept = count_kept(plan.config)
    if point is None or kept is None:
        return None
    more = sum(each.step <= point.step for each in find_checkpoints(plan.checkpoints)) - kept
    if more < 1 or not int(plan.config.trainer.save_freq) > 0:
        return None
    return f"{more:,} more in the folder: the oldest are deleted when the next is saved ({KEEP_KEY}=null keeps all)"


def last_step(plan: SavingPlan) -> int | None:
    """Return the step that a training run reaches if nothing fails; None if verl only validates."""
    return None if only_validates(plan.config) else plan.steps


def describe_checkpoints(checkpoints: Path) -> str | None:
    """Return which checkpoints a new training run would overwrite, or None if there are none."""
    latest, newest = read_latest(checkpoints), find_newest_whole(checkpoints)
    if latest is not None:
        return f"at step {latest}"
    if newest is not None:
        return f"with a checkpoint at step {newest.step}"
    return "with checkpoints" if (checkpoints / LATEST).exists() else None


def _read_path(given: object) -> Checkpoint:
    found = _PATH.fullmatch(str(given))
    if found is None:
        raise UserError(f"{RESUME_PATH_KEY}={given}: wanted the absolute path of a folder global_step_N")
    return Checkpoint(int(found[1]), Path(str(given)))


def _read_latest(config: "DictConfig", checkpoints: Path, command: str) -> Checkpoint:
    step = read_latest(checkpoints)
    if step is not None:
        return Checkpoint(step, checkpoints / f"global_step_{step}")
    marker = checkpoints / LATEST
    fault = "is missing"
    if marker.exists():
        said = marker.read_text(errors="replace").strip()
        fault = f"says {said[:40]!r}, which is no step" if said else "is empty"
    raise UserError(f"{marker} {fault}; {_suggest(config, checkpoints, command)}")


def _check(checkpoint: Checkpoint, config: "DictConfig", prompt_ids: Sequence[str], command: str) -> None:
    """Raise UserError if verl or SPO cannot load the checkpoint."""
    checkpoints = Path(str(config.trainer.default_local_dir))
    workers = int(config.trainer.nnodes * config.trainer.n_gpus_per_node)
    saved = checkpoint.count_workers()
    if saved and workers not in saved:
        nodes = int(config.trainer.nnodes)
        count, rest = divmod(max(saved), nodes)
        right = f"--gpus-per-node {count}" if not rest else f"--nodes times --gpus-per-node must be {max(saved)}"
        raise UserError(
            f"{checkpoint.path} was saved by {max(saved)} workers, and this call has {workers}"
            f" ({GPUS_KEY} x {nodes} nodes): a training run continues on as many: {right}"
        )
    if fault := checkpoint.find_fault(workers):
        chosen = config.trainer.resume_mode == "resume_path"
        named = f"{RESUME_PATH_KEY}={checkpoint.path}" if chosen else f"{checkpoints / LATEST} names {checkpoint.step}"
        raise UserError(f"{named}, but {fault}; {_suggest(config, checkpoints, command)}")
    strategy, version = config.actor_rollout_ref.actor.strategy, checkpoint.read_fsdp_version()
    if version in _STRATEGIES and strategy in _STRATEGIES.values() and _STRATEGIES[version] != strategy:
        before = _STRATEGIES[version]
        raise UserError(
            f"{checkpoint.path} was saved with {before}, and {ACTOR}.strategy is {strategy}:"
            f" {ACTOR}.strategy={before} {ACTOR}.fsdp_config.strategy={before}"
        )
    prompts, mark = checkpoint.read_state_summary() or (0, "")
    if mark != prompts_mark(prompt_ids):
        there = f"{prompts:,} prompts" if prompts != len(prompt_ids) else "other prompts, or in another order"
        raise UserError(
            f"{checkpoint.path} has values of {there}, and this training run has {len(prompt_ids):,} prompts: start a"
            " new one with another --out"
        )


def _suggest(config: "DictConfig", checkpoints: Path, command: str) -> str:
    """Return how to continue from the newest whole checkpoint, or that there is none."""
    newest = find_newest_whole(checkpoints, int(config.trainer.nnodes * config.trainer.n_gpus_per_node))
    if newest is None:
        return f"no checkpoint in {checkpoints} is whole, so start a new training run with another --out"
    again = set_in_command(command, {}, without=(RESUME_KEY, RESUME_PATH_KEY))
    return (
        f"the newest whole checkpoint is at step {newest.step}; to continue from it: echo {newest.step} >"
        f" {shlex.quote(str(checkpoints / LATEST))} && {again}"
    )


def _refuse_lost(out: Path, checkpoints: Path) -> None:
    """Raise UserError if the training run in `out` has saved or continued from a checkpoint, and it is not there."""
    if not (out / CONFIG).is_file():
        return
    before = read_written_config(out).trainer
    reached = last_written_step(out)
    if before.resume_mode == "resume_path":
        raise UserError(
            f"the training run began from {before.resume_from_path} and has saved no checkpoint in {checkpoints}: add"
            f" {RESUME_KEY}=resume_path {RESUME_PATH_KEY}={before.resume_from_path}"
        )
    saved = 0 if before.save_freq <= 0 else reached // before.save_freq * before.save_freq
    if saved:
        place = str(before.default_local_dir)
        where = f" ({CHECKPOINTS_KEY}={place} was its folder)" if place != str(checkpoints) else ""
        raise UserError(
            f"the training run saved a checkpoint at step {saved}, and {checkpoints} has none{where}: put it back, or"
            " start again from step 1 with the command without --resume"
        )
