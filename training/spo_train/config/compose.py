"""verl's own configuration, with what `spo-train` and the user set in it.

    asked = parse_overrides(["trainer.spo.half_divergence=0.03", "data.train_batch_size=512"])
    config = compose_config({"data.train_batch_size": 2048}, asked)       # the user's settings win

The defaults are read from the installed verl package, which is not imported. A setting that verl does not list raises
UserError with the nearest ones. As in hydra, `+key=value` adds a setting that verl reads without listing it, and `++`
adds it even if it looks misspelt. A value of another kind than the default's (`trainer.nnodes=two`) is refused too.
"""

import copy
import difflib
import functools
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spo_data.errors import SpoError, UserError, first_line
from spo_train.config.keys import BATCH_KEY, LOGGER_KEY

if TYPE_CHECKING:
    from omegaconf import DictConfig

FILE_LOGGER = "file"
"""verl's logger whose file the progress is read from."""


@dataclass(frozen=True)
class Override:
    """One `key=value` from the user."""

    text: str
    key: str
    value: Any
    add: bool = False
    """Whether verl need not list the key."""
    force: bool = False
    """Whether the key may look misspelt."""


def parse_overrides(texts: Sequence[str]) -> tuple[Override, ...]:
    """Parse the user's overrides; raises UserError if one is not in hydra's syntax or does not set one value."""
    for text in texts:
        if "=" not in text:
            raise UserError(f"{text}: not a setting; write key=value ({BATCH_KEY}=512)")

    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    overrides = []
    for text in texts:
        try:
            (parsed,) = OverridesParser.create().parse_overrides([text])
            value = parsed.value()
        except HydraException as error:
            reason = next((line for line in str(error).splitlines()[1:] if line), first_line(error))
            raise UserError(f"{text}: not in hydra's syntax: {reason} (quote it: key='\"…\"')") from error
        if parsed.is_sweep_override():
            raise UserError(f"{text}: a training run takes one value, not a sweep; a list is key=[a,b]")
        if parsed.is_delete() or parsed.package is not None:
            raise UserError(f"{text}: a setting cannot be removed or moved; key=null unsets it")
        force = parsed.is_force_add()
        overrides.append(Override(text, parsed.key_or_group, value, force or parsed.is_add(), force))
    return tuple(overrides)


def compose_config(preset: Mapping[str, Any], overrides: Sequence[Override] = ()) -> "DictConfig":
    """Apply the preset's settings, then the user's, to verl's defaults.

    Raises UserError if verl does not list a setting, if a value is of another kind, or if one cannot be resolved.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    config = verl_defaults()
    for key, value in preset.items():
        is_open = key.startswith("+") or isinstance(value, Mapping)  # verl does not list the keys in a mapping
        OmegaConf.update(config, key.removeprefix("+"), value, force_add=is_open)
    for override in overrides:
        _apply(config, override)
    loggers = OmegaConf.select(config, LOGGER_KEY)
    listed = [loggers] if isinstance(loggers, str) else list(loggers or ())
    if FILE_LOGGER not in listed:
        OmegaConf.update(config, LOGGER_KEY, [*listed, FILE_LOGGER])
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"the settings cannot be resolved: {first_line(error)}") from error
    return config


def verl_defaults() -> "DictConfig":
    """Return a fresh copy of verl's `ppo_trainer` configuration; raises SpoError if verl is not installed."""
    return copy.deepcopy(_read_defaults())


@functools.cache
def _read_defaults() -> "DictConfig":
    spec = importlib.util.find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        raise SpoError(
            "spo-train needs verl, which is not installed: pip install --no-deps -r requirements/cpu.txt,"
            " or, for GPUs, with Python 3.12, pip install --no-deps -r requirements/gpu.txt"
        )
    from hydra import compose, initialize_config_dir

    folder = Path(spec.submodule_search_locations[0]).resolve() / "trainer" / "config"
    with initialize_config_dir(str(folder), version_base=None):
        return compose("ppo_trainer")


def list_keys(config: "DictConfig") -> list[str]:
    """Return every setting of a configuration as a dotted key."""
    from omegaconf import OmegaConf

    return list(_walk_keys(OmegaConf.to_container(config, resolve=False)))


def _walk_keys(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _walk_keys(value, f"{prefix}{name}.")


def _apply(config: "DictConfig", override: Override) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if override.key == "model_engine":
        raise UserError(f"{override.text}: spo-train trains with verl's FSDP engine, model_engine=dp")
    known = list_keys(config)
    if override.key not in known and not override.add:
        raise UserError(f"{override.text}: verl has no setting {override.key}{_suggest(override.key, known, config)}")
    if override.key not in known and not override.force and (near := _find_siblings(override.key, known, cutoff=0.85)):
        raise UserError(f"{override.text}: did you mean {near[0]}? ++{override.key}=… adds it anyway")
    if override.key in known:
        _refuse_another_kind(override, OmegaConf.select(config, override.key, throw_on_missing=False))
    try:
        OmegaConf.update(config, override.key, override.value, force_add=override.add)
    except OmegaConfBaseException as error:
        raise UserError(f"{override.text}: {first_line(error)}") from error


def _refuse_another_kind(override: Override, default: Any) -> None:
    """Raise UserError if a value is of another kind than the default, the only type that verl's configuration gives.

    Null and interpolations fit everywhere.
    """
    value = override.value
    if value is None or default is None or (isinstance(value, str) and "${" in value):
        return
    wanted = _kind(default)
    if wanted in ("true or false", "a number", "key: value pairs") and _kind(value) != wanted:
        shown = default if wanted != "key: value pairs" else "{…}"
        raise UserError(f"{override.text}: wanted {wanted}, as the default {shown} is")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "key: value pairs" if isinstance(value, Mapping) or hasattr(value, "items") else "text or a list"


def _suggest(key: str, known: Sequence[str], config: "DictConfig") -> str:
    """Name the settings that were probably meant: with the same ending, a similar spelling, or the same last part."""
    from omegaconf import DictConfig, OmegaConf

    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent in known else None
    adding = f"; +{key}=… adds one that verl reads without listing it" if isinstance(node, DictConfig) else ""
    if isinstance(node, DictConfig) and not node:
        return adding  # verl lists no setting there that the user could have misspelt
    found = [
        *sorted(name for name in known if name.endswith(f".{key}")),
        *_find_siblings(key, known, cutoff=0.6),
        *difflib.get_close_matches(key, known, n=3, cutoff=0.8),
        *sorted(name for name in known if name.endswith(f".{last}")),
    ]
    if found:
        return f"; did you mean {', '.join(list(dict.fromkeys(found))[:3])}?"
    return adding


def _find_siblings(key: str, known: Sequence[str], *, cutoff: float) -> list[str]:
    """Return the settings in the same place with a similar spelling."""
    place, _, last = key.rpartition(".")
    names = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == place}
    return [names[near] for near in difflib.get_close_matches(last, names, n=3, cutoff=cutoff)]
