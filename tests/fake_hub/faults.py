"""Faults that a test injects into the loopback hub (serve.py): the rules in ROOT/faults.json.

Every request walks the list of rules from the first on. A rule that matches it and still has `skip` left loses one of
them; the first that matches and has none fires and loses one of its `times`; a rule that has none left leaves the list.
So a test that finds `[]` in the file knows that all its faults happened.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass
class Rule:
    """What happens to the requests that match; see the fields' notes for what a rule may leave out."""

    method: str = ""
    """GET, HEAD, POST or PUT; empty: any."""
    path: str = ""
    """Part of the address's path, percent-escapes and all; the query is no part of it."""
    times: int = 1
    skip: int = 0
    """Let this many matching requests pass first."""
    status: int | None = None
    """The answer; 0: none, the connection is closed; None: the request is carried out and answered as ever."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """The answer's JSON; None: an `error` with the status's name."""
    when: Literal["before", "after"] = "before"
    """`after`: the request is carried out all the same, and its own answer is lost."""
    pause: float = 0
    """Seconds to wait first."""
    meanwhile: Mapping[str, str | None] = field(default_factory=dict)
    """Files that somebody else commits to the request's branch just before it; None deletes one."""


class Faults:
    """The rules in a file that a test may write at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, method: str, path: str) -> Rule | None:
        """The rule that fires for a request, consumed; whoever asks holds the hub's lock."""
        text = self._path.read_text() if self._path.is_file() else ""
        # A file that is being written is empty for a moment.
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
