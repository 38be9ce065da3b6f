"""One training run of benchmarks/learning.py: a variant, a seed, and a record of how it went.

    start = prepare(seed, folder)               # problems, taught model, offline estimate
    record = train("spo", start, learning_rate=1e-4, steps=150)

All of SPO is the project's own code: `spo_train`'s tracker, memory, divergence and advantage, in the order of the
paper's Algorithm 1. The rest is a plain loop: sample, reward, PPO-clip loss per token, AdamW. Every variant takes 256
samples per step. All seeds start from one model; each has its own estimate, draws and samples.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from learning_model import (
    Floats,
    Ints,
    Problems,
    Responses,
    make_problems,
    response_log_probs,
    rewards,
    sample,
    success,
    supervised,
)
from spo_train.spo.advantage import compute_advantages, share_below
from spo_train.spo.divergence import forgetting_rate, measure_divergence
from spo_train.spo.memory import ResponseMemory
from spo_train.spo.settings import SPOSettings
from spo_train.spo.tracker import ValueTracker

BATCH, GROUP, UPDATES = 256, 8, 4
PROBLEMS_SEED = 0
WARM_UP_STEPS = 20
CLIP_LOW, CLIP_HIGH = 0.2, 0.28
ESTIMATE_SAMPLES = 8
STEPS_BETWEEN_EVALUATIONS = 25

METHODS = {
    "spo": SPOSettings(),
    "grpo": SPOSettings(method="grpo"),
    "no-baseline": SPOSettings(method="no-baseline"),
}
ABLATIONS = {
    "spo, uniform draws": SPOSettings(prioritised=False),
    "spo, draws only": SPOSettings(),
    "spo, no offline values": SPOSettings(init="none", first_visit="none"),
    "spo, rho 0.96": SPOSettings(fixed_rho=0.96),
    "spo, rho 0.875": SPOSettings(fixed_rho=0.875),
    "spo, first visit D = 0": SPOSettings(first_visit="none"),
}
"""`draws only` draws by the tracker but subtracts no value: its rewards are normalised over the batch."""
VARIANTS = METHODS | ABLATIONS
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Start:
    """Where every variant of a seed begins."""

    seed: int
    problems: Problems
    model: Any
    scores: Floats
    """Right responses out of ESTIMATE_SAMPLES, for each training prompt."""
    responses: Responses
    """The estimate's first response to each training prompt."""


def prepare(seed: int, folder: Path, model_seed: int = 0) -> Start:
    """Return the start of a seed. The model, the same for all seeds, and the estimate are kept in `folder`."""
    problems = make_problems(PROBLEMS_SEED)
    model = _load_or_make(folder / "model.pt", lambda: supervised(problems, model_seed))

    def estimate() -> tuple[Floats, Responses]:
        generator = torch.Generator().manual_seed(seed)
        drawn = [sample(model, problems.train_prompts, generator) for _ in range(ESTIMATE_SAMPLES)]
        return np.sum([rewards(each.ids, problems.train_golds) for each in drawn], axis=0), drawn[0]

    return Start(seed, problems, model, *_load_or_make(folder / f"estimate-{seed}.pt", estimate))


def train(variant: str, start: Start, learning_rate: float, steps: int) -> dict[str, Any]:
    """Train a copy of the start's model, and return the record for the results."""
    began = time.monotonic()
    settings, run = VARIANTS[variant], Run(variant, start, learning_rate)
    take_step = run.spo_step if settings.method == "spo" else run.baseline_step
    evaluations = [run.evaluate()]
    for step in range(1, steps + 1):
        take_step()
        if step % STEPS_BETWEEN_EVALUATIONS == 0:
            evaluations.append(run.evaluate())
    return {
        "variant": variant,
        "seed": start.seed,
        "learning_rate": learning_rate,
        "steps": steps,
        "batch": BATCH,
        "estimate_samples": len(start.scores) * ESTIMATE_SAMPLES,
        "settings": asdict(settings),
        "evaluations": evaluations,
        "by_step": run.by_step,
        "seconds": round(time.monotonic() - began, 1),
    }


class Run:
    """A model in training, with the state of its method."""

    def __init__(self, variant: str, start: Start, learning_rate: float) -> None:
        self.settings, self.problems, self.model = VARIANTS[variant], start.problems, deepcopy(start.model)
        self.subtracts_value = variant != "spo, draws only"
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=learning_rate, weight_decay=0.01)
        self.schedule = torch.optim.lr_scheduler.LinearLR(
            self.optimizer, 1 / WARM_UP_STEPS, total_iters=WARM_UP_STEPS * UPDATES
        )
        self.sampler = torch.Generator().manual_seed(1_000 + start.seed)
        self.draws = np.random.default_rng([start.seed, 2])
        self.by_step: dict[str, list[float]] = defaultdict(list)
        self.step = 0
        n_prompts = len(self.problems.train_prompts)
        self.tracker = ValueTracker.from_scores(start.scores, np.full(n_prompts, ESTIMATE_SAMPLES), self.settings)
        self.memory = ResponseMemory(n_prompts, int(self.settings.memory_gib * 2**30))
        if self.settings.first_visit == "samples":
            self._remember(np.arange(n_prompts), start.responses)

    def spo_step(self) -> None:
        """Take a step of Algorithm 1: draw, sample, subtract the value from before, forget by D, learn, then update."""
        rows = self.tracker.draw(BATCH, self.draws)
        baselines = self.tracker.values[rows] if self.subtracts_value else np.zeros(BATCH)
        responses, scores = self._act(rows)
        distances = self._measure_divergences(rows)
        forget = forgetting_rate(distances, self.settings)
        self.tracker.update(rows, scores, forget.rho)
        self._remember(rows, responses)
        self._note("divergence", float(distances.mean()))
        self._note("rho", float(forget.rho.mean()))
        self._note("rho_clipped_low", forget.clipped_low)
        self._note("rho_clipped_high", forget.clipped_high)
        self._learn(rows, responses, scores, baselines, compute_advantages(scores, baselines))

    def baseline_step(self) -> None:
        """Take a step of GRPO, normalised within groups of GROUP, or without a baseline, normalised over the batch."""
        size = GROUP if self.settings.method == "grpo" else 1
        rows = self.draws.choice(len(self.problems.train_prompts), BATCH // size, replace=False).repeat(size)
        responses, scores = self._act(rows)
        if size > 1:
            baselines = scores.reshape(-1, size).mean(1).repeat(size)
            self._learn(rows, responses, scores, baselines, group_advantages(scores, size))
        else:
            self._learn(rows, responses, scores, np.zeros(BATCH), compute_advantages(scores, np.zeros(BATCH)))

    def evaluate(self) -> dict[str, float]:
        """Return exact accuracy at temperature 1 and greedy accuracy on both sets, and the tracker's error."""
        problems = self.problems
        chances, greedy = success(self.model, problems.train_prompts, problems.train_golds)
        held_out, held_out_greedy = success(self.model, problems.held_out_prompts, problems.held_out_golds)
        return {
            "samples": self.step * BATCH,
            "train": float(chances.mean()),
            "train_greedy": float(greedy.mean()),
            "held_out": float(held_out.mean()),
            "held_out_greedy": float(held_out_greedy.mean()),
            "value_rmse": float(np.sqrt(np.mean((self.tracker.values - chances) ** 2))),
            "within_0.1_of_0_or_1": float(np.mean((chances <= 0.1) | (chances >= 0.9))),
        }

    def _act(self, rows: Ints) -> tuple[Responses, Floats]:
        index = torch.from_numpy(rows)
        responses = sample(self.model, self.problems.train_prompts[index], self.sampler)
        return responses, rewards(responses.ids, self.problems.train_golds[index])

    def _remember(self, rows: Ints, responses: Responses) -> None:
        prompts = self.problems.train_prompts
        ids, log_probs = responses.ids.numpy(), responses.log_probs.numpy()
        for k, (row, n) in enumerate(zip(rows.tolist(), responses.mask.sum(1).tolist(), strict=True)):
            self.memory.store(row, prompts[row].numpy(), ids[k, :n], log_probs[k, :n], np.ones(n, np.bool_), self.step)

    def _measure_divergences(self, rows: Ints) -> Floats:
        """Return D of each row from its previous response; 0 if it has none (this memory never drops a response)."""
        previous = [self.memory.get(row) for row in rows.tolist()]
        responses = torch.zeros(len(rows), self.problems.train_golds.shape[1], dtype=torch.int64)
        for k, old in enumerate(previous):
            if old is not None:
                responses[k, : len(old.response_ids)] = torch.from_numpy(old.response_ids.astype(np.int64))
        with torch.no_grad():
            prompts = self.problems.train_prompts[torch.from_numpy(rows)]
            now = response_log_probs(self.model, prompts, responses).numpy()
        return np.array(
            [
                0.0
                if old is None
                else measure_divergence(old.log_probs, new[: len(old.log_probs)], self.settings.divergence)
                for old, new in zip(previous, now, strict=True)
            ]
        )

    def _learn(self, rows: Ints, responses: Responses, scores: Floats, baselines: Floats, advantage: Floats) -> None:
        self._note("reward", float(scores.mean()))
        self._note("reward_variance", float(scores.var()))
        raw = scores - baselines
        self._note("advantage_variance", float(raw.var()))
        self._note("within_0.02", share_below(raw, 0.02))
        self._note("within_1e-4", share_below(raw, 1e-4))
        prompts, each = self.problems.train_prompts[torch.from_numpy(rows)], torch.from_numpy(advantage).float()
        for part in torch.randperm(BATCH, generator=self.sampler).chunk(UPDATES):
            new = response_log_probs(self.model, prompts[part], responses.ids[part])
            loss = clipped_loss(new, responses.log_probs[part], each[part], responses.mask[part])
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
        self.step += 1

    def _note(self, name: str, value: float) -> None:
        self.by_step[name].append(round(value, 6))


def group_advantages(scores: Floats, size: int) -> Floats:
    """Return GRPO's: reward minus the group's mean, divided by its standard deviation; 0 if all rewards are equal."""
    groups = scores.reshape(-1, size)
    centred = groups - groups.mean(1, keepdims=True)
    return np.asarray(centred / (groups.std(1, ddof=1, keepdims=True) + 1e-6)).reshape(-1)


def clipped_loss(new: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return PPO's clipped loss, averaged over the tokens of the mini-batch."""
    ratio = torch.exp((new - old).masked_fill(~mask, 0.0))
    clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
    gain = torch.minimum(ratio * advantage[:, None], clipped * advantage[:, None])
    return -gain[mask].mean()


def _load_or_make(path: Path, make: Callable[[], Made]) -> Made:
    if not path.exists():
        torch.save(make(), path)
    return torch.load(path, weights_only=False)  # type: ignore[no-any-return]
