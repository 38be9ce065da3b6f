"""Faults that a test injects into the loopback hub (serve.py): the rules in ROOT/faults.json.

Every request is checked against the rules in order. If a matching rule has `skip` left, `skip` drops by one, and the
search continues. The first matching rule without `skip` fires, and its `times` drops by one. A rule whose `times`
reaches 0 is removed. So if a test finds `[]` in the file, all its faults have happened.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass
class Rule:
    """What happens to matching requests. The notes below the fields explain their defaults."""

    method: str = ""
    """GET, HEAD, POST or PUT. Empty: any method."""
    path: str = ""
    """A part of the URL's path, with its percent-escapes and without the query."""
    times: int = 1
    skip: int = 0
    """The number of matching requests to let pass first."""
    status: int | None = None
    """The response's status. 0: close the connection without a response. None: respond as usual."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """The response's JSON, or its XML if it is a text. None: an `error` with the status's name."""
    when: Literal["before", "after"] = "before"
    """`after`: the request is carried out, but its own response is lost."""
    pause: float = 0
    """Seconds to wait first."""
    meanwhile: Mapping[str, str | None] = field(default_factory=dict)
    """Files that another user commits to the request's branch just before it. None deletes a file."""


class Faults:
    """The rules in a file that a test may write at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, method: str, path: str) -> Rule | None:
        """Take the rule that fires for a request. The caller holds the hub's lock."""
        text = self._path.read_text() if self._path.is_file() else ""
        # While a test writes the file, it may be empty for a moment.
        rules = [Rule(**rule) for rule in json.loads(text or "[]")]
        matching = [rule for rule in rules if rule.method in ("", method) and rule.path in path]
        fired = next((rule for rule in matching if rule.skip == 0), None)
        for rule in matching[: matching.index(fired)] if fired else matching:
            rule.skip -= 1
        if fired:
            fired.times -= 1
        if matching:
            left = self._path.with_suffix(".left")
            left.write_text(json.dumps([vars(rule) for rule in rules if rule.times > 0]))
            left.replace(self._path)
        return fired
