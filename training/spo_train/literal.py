r"""Our own texts in verl's configuration, which OmegaConf would otherwise interpret.

    to_literal(["${oc.env:HOME}"])        # ['json:"\\u0024{oc.env:HOME}"']: what is written
    from_literal(config.reward.reward_kwargs.stop)        # ["${oc.env:HOME}"], wherever it is read

OmegaConf reads `${…}` as a reference and `???` as a missing value. Its own escape does not last: verl resolves the
configuration in place, and then reads the result again. So a text that OmegaConf would interpret, or YAML might change,
is written as JSON without a dollar sign, and every reader of ours restores it. Other texts stay as they are, for people
who read the file.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spo_data.errors import UserError

_MARK = "json:"
_MISSING = "???"


def to_literal(value: Any) -> Any:
    """Return the value with every text in it, in lists and mappings too, written so that OmegaConf keeps it."""
    if isinstance(value, str):
        return _write(value)
    if isinstance(value, Mapping):
        # hydra would instantiate a mapping with the key _target_.
        return {_write(key, also=key.startswith("_")): to_literal(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [to_literal(each) for each in value]
    return value


def from_literal(value: Any) -> Any:
    """Return what `to_literal` was given; lists and mappings of OmegaConf become plain ones."""
    if isinstance(value, str):
        return json.loads(value.removeprefix(_MARK)) if value.startswith(_MARK) else value
    if isinstance(value, Mapping):
        return {from_literal(key): from_literal(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [from_literal(each) for each in value]
    return value


def check_path(option: str, path: str | Path) -> None:
    """Raise UserError for a path that verl itself reads and OmegaConf would interpret."""
    if "${" in str(path) or Path(path).name == _MISSING:
        raise UserError(f"{option} {path}: verl's configuration cannot hold ${{ or ??? in a path; choose another one")


def check_template(template: str) -> None:
    """Raise UserError for a chat template that OmegaConf would interpret: verl itself reads it."""
    if "${" in template:
        raise UserError("--chat-template: verl's configuration cannot hold ${ in a template; write {{ '$' }} for $")


def _write(text: str, *, also: bool = False) -> str:
    if text.isprintable() and not (also or "${" in text or text == _MISSING or text.startswith(_MARK)):
        return text
    return _MARK + json.dumps(text).replace("$", "\\u0024")
