"""The settings of SPO, under `trainer.spo` in verl's configuration.

    spo-train --offline-values runs/demo trainer.spo.half_divergence=0.03

Each field's `help` describes it. The defaults are the paper's (arXiv 2509.13232), in its notation: rho_min = 0.875,
rho_max = 0.96, N_0 = 1 / (1 - rho_min) = 8, epsilon = 0.05. D_half = 0.06 is only in the reference code.

`compat: reference` replaces these defaults by the reference code's choices (REFERENCE). A field that is set to another
value keeps it (`init: none` is the reference's `offline_N: 0`). It also moves the measurement of D, and what is learned
from the batch, behind the actor's update. Nothing else of the reference code is reproduced: docs/training.md lists what
is not.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin

Method = Literal["spo", "grpo", "no-baseline"]
Init = Literal["mean", "jeffreys", "empirical_bayes", "none"]
Divergence = Literal["abs", "k1", "k3"]
FirstVisit = Literal["samples", "none"]
BatchOrder = Literal["finished", "drawn"]
Compat = Literal["paper", "reference"]

REFERENCE = {"init": "jeffreys", "divergence": "abs", "first_visit": "none"}
"""What the reference code does without a setting for it."""


@dataclass(frozen=True, slots=True)
class SPOSettings:
    """SPO's settings, beside verl's own; raises ValueError for a wrong one."""

    method: Method = field(
        default="spo",
        metadata={"help": "spo, grpo (the paper's baseline), or no-baseline (rewards normalised over the batch)."},
    )
    values: str | None = field(default=None, metadata={"help": "Parquet file with one row per training prompt."})
    init: Init = field(
        default="mean",
        metadata={"help": "First value: mean of the scores, jeffreys, empirical_bayes, or none (0.5, one sample)."},
    )
    rho_min: float = field(default=0.875, metadata={"help": "Lower clip of the forgetting factor rho."})
    rho_max: float = field(default=0.96, metadata={"help": "Upper clip of the forgetting factor rho."})
    half_divergence: float = field(
        default=0.06, metadata={"help": "D at which rho is one half, before the clips (D_half)."}
    )
    fixed_rho: float | None = field(default=None, metadata={"help": "One forgetting factor instead of rho(D)."})
    divergence: Divergence = field(default="abs", metadata={"help": "Estimator of D: abs, k1 or k3."})
    first_visit: FirstVisit = field(
        default="samples",
        metadata={"help": "D of a first visit: from the estimate's samples, or none (D = 0)."},
    )
    exploration: float = field(default=0.05, metadata={"help": "Added to every prompt's weight (epsilon)."})
    prioritised: bool = field(default=True, metadata={"help": "Draw by weight; false draws uniformly."})
    batch_order: BatchOrder = field(
        default="finished",
        metadata={"help": "Asynchronous batches: the first samples finished, or the first drawn (no length bias)."},
    )
    memory_gib: float = field(default=16.0, metadata={"help": "Most memory for previous responses, in GiB."})
    seed: int = field(default=0, metadata={"help": "Seed of the prompt draws and, in sync mode, of the responses."})
    compat: Compat = field(
        default="paper",
        metadata={"help": "paper, or reference: the reference code's first value and D, measured after the update."},
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            _check_choice(setting.name, getattr(self, setting.name), setting.type)
        if not 0 <= self.rho_min <= self.rho_max < 1:
            raise ValueError(f"rho_min {self.rho_min} and rho_max {self.rho_max}: wanted 0 <= rho_min <= rho_max < 1")
        if self.fixed_rho is not None and not 0 <= self.fixed_rho < 1:
            raise ValueError(f"fixed_rho {self.fixed_rho}: wanted 0 <= fixed_rho < 1")
        if self.half_divergence <= 0:
            raise ValueError(f"half_divergence {self.half_divergence}: wanted more than 0")
        if self.exploration < 0:
            raise ValueError(f"exploration {self.exploration}: wanted 0 or more")
        if self.compat == "reference":
            self._become_reference()

    @property
    def initial_count(self) -> float:
        """N_0 = 1 / (1 - rho_min): the effective count under constant forgetting at rho_min (section 4.1)."""
        return 1.0 / (1.0 - self.rho_min)

    def _become_reference(self) -> None:
        for setting in fields(self):
            if setting.name in REFERENCE and getattr(self, setting.name) == setting.default:
                object.__setattr__(self, setting.name, REFERENCE[setting.name])


def settings_from(config: dict[str, Any]) -> SPOSettings:
    """Make settings from `trainer.spo`; raises ValueError for an unknown name or a wrong value."""
    names = [setting.name for setting in fields(SPOSettings)]
    if unknown := sorted(set(config) - set(names)):
        raise ValueError(f"trainer.spo.{unknown[0]} is not a setting; the settings are {', '.join(names)}")
    return SPOSettings(**config)


def _check_choice(name: str, value: object, kind: object) -> None:
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ValueError(f"{name} {value!r}: wanted one of {', '.join(map(str, get_args(kind)))}")
