"""Kill a run again and again at random moments, then compare what it ends as with a run that nothing disturbed.

    twin = make_twin(scenario, data, folder / "twin")
    tally = attack(twin, folder / "attacked", kills=5, chance=random.Random(0))

A scenario is a list of commands on one folder. Each is killed in some consecutive calls and then run to its end, unless
the next command may follow a killed one. `attack` fails at the first difference. The seed chooses kills from the places
that the twin passed: a module, then a place in it, so that what is passed once is as likely as what is passed often.
The note at an error lists the calls with their moments.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import psutil

from spo_data.errors import UserError
from spo_data.formats.load import load_values
from spo_data.run.existing import find_run
from spo_data.run.manifest import Manifest, read_manifest
from spo_data.run.summary import summarize
from support import moments, scripted
from support.journal_snapshots import Snapshot, read_snapshot
from support.orphans import session_pids, wait_for_end

COMMIT_SAMPLES = 5
KILLED = (-9, -25)
"""SIGKILL, and SIGXFSZ, which ends a process within a write."""
LOG = {"journal.sqlite-wal", "journal.sqlite-shm"}
"""They stay if SQLite could not write the log into the journal when it was closed; the next call reads them."""
KINDS = {"place": 12, "bytes": 5, "job": 2, "all": 2, "term": 2, "graders": 1, "engine": 1, "full": 2}
"""How a call is disturbed, each with its share. It is killed at a place, within a write, from outside alone or with its
grading processes, or by SIGKILL soon after SIGTERM. Or it goes on after its grading processes were killed, the engine
has died, or a write has failed for want of space."""
CORE = (
    *("spo_data/run/journal.py", "spo_data/run/parquet_tables.py", "spo_data/sqlite.py", "spo_data/files.py"),
    *("pipelines/spo_pipelines/estimate.py", "pipelines/spo_pipelines/results.py", "pathlib.py", "shutil.py"),
)
"""The modules that write: most of the places are theirs."""
PRINTED = 4096
"""More bytes than a call prints."""


@dataclass(frozen=True)
class Step:
    """A command, and what happens to the engine and the graders meanwhile. $RUN in its words is the run's folder, and
    $DATA a folder that the twin has too."""

    words: tuple[str, ...]
    job: Mapping[str, Any] = field(default_factory=dict)
    status: int = 0
    may_stay_killed: bool = False
    """Whether the next step may follow although no call of this one has ended."""


@dataclass(frozen=True)
class Scenario:
    """Commands on one folder, one after the other."""

    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class State:
    """What a step leaves if nothing disturbs it, and the moments that it passes."""

    tables: Mapping[str, bytes]
    manifest: Manifest
    command: str
    """The manifest's, with $RUN for the folder."""
    samples: Mapping[tuple[str, int], tuple[Any, ...]]
    names: frozenset[str]
    places: tuple[tuple[moments.Place, int], ...]
    seconds: float
    sizes: tuple[int, ...]
    """Of its files, in bytes."""


@dataclass
class Tally:
    """What an attack did."""

    kills: Counter[str] = field(default_factory=Counter)
    """By kind."""
    faults: Counter[str] = field(default_factory=Counter)
    """By kind, of calls that ended by themselves."""
    calls: int = 0
    rounds: int = 0
    samples: int = 0
    """Samples of the runs at their end."""
    story: list[Any] = field(default_factory=list)
    """The steps and moments of the current round, and each call's status."""


@dataclass(frozen=True)
class Twin:
    """A scenario that nothing disturbed, on the same data."""

    scenario: Scenario
    data: Path
    states: list[State] = field(repr=False)
    """After each step."""


def make_twin(scenario: Scenario, data: Path, folder: Path) -> Twin:
    """Run each step undisturbed."""
    run, states = folder / "run", []
    folder.mkdir(parents=True)
    for step in scenario.steps:
        places = folder / "places.json"
        ended = _call(step, data, run, folder, moment={"record": str(places)})
        assert ended["status"] == step.status, ended
        _check_said(ended)
        manifest = read_manifest(run)
        assert manifest is not None
        passed = tuple(moments.read_places(places))
        sizes = tuple(sorted({path.stat().st_size for path in run.rglob("*") if path.is_file()} - {0}))
        names = frozenset(path.name for path in run.iterdir())
        seconds, samples = ended["seconds"], read_snapshot(run)[0]
        command = manifest.command.replace(str(run), "$RUN")
        states.append(State(scripted.tables(run), manifest, command, samples, names, passed, seconds, sizes))
    return Twin(scenario, data, states)


def attack(twin: Twin, folder: Path, kills: int, chance: random.Random) -> Tally:
    """Kill `kills` calls, in as many rounds of the twin's scenario as that takes."""
    tally = Tally()
    while tally.kills.total() < kills:
        assert tally.rounds < 3 * kills, "kills are never reached"
        tally.rounds += 1
        place = folder / str(tally.rounds)
        place.mkdir(parents=True)
        try:
            _Round(twin, place, tally, chance).play(kills - tally.kills.total())
        except BaseException as error:
            error.add_note(f"{twin.scenario.name}, in {place}: {json.dumps(tally.story)}")
            raise
        shutil.rmtree(place)
    return tally


class _Round:
    """One folder, from its first call to its last."""

    def __init__(self, twin: Twin, place: Path, tally: Tally, chance: random.Random) -> None:
        self.twin, self.place, self.tally, self.chance = twin, place, tally, chance
        self.run = place / "run"
        self.kept: Snapshot = ({}, {})
        self.started: dict[int, psutil.Process] = {}
        self.failed = False
        """Whether a call has ended early, and may have written tables of what it had."""

    def play(self, kills: int) -> None:
        """Make at most `kills` kills, about two a step."""
        self.tally.story.clear()
        steps = self.twin.scenario.steps
        planned = Counter(self.chance.randrange(len(steps)) for _ in range(min(kills, 2 * len(steps))))
        for number, step in enumerate(steps):
            has_ended = False
            for _ in range(planned[number]):
                has_ended = has_ended or self._disturb(number)
            if planned[number] and step.may_stay_killed and number + 1 < len(steps) and self.chance.random() < 0.5:
                continue
            if not has_ended:
                self._check_end(number, self._call(number, {}))
        self.tally.samples += len(self.kept[0])
        wait_for_end(self.started)

    def _disturb(self, number: int) -> bool:
        """Make a call that is to be killed, or to fail; returns whether it ended as if undisturbed."""
        (kind,) = self.chance.choices([*KINDS], [*KINDS.values()])
        ended = self._call(number, self._choose(kind, number))
        _check_said(ended)
        if ended["status"] in KILLED:
            self.tally.kills[kind] += 1
            self.failed |= kind == "term"  # SIGTERM lets the call write tables of what it has
        elif kind in ("graders", "engine", "full", "term") and ended["status"] != 0:
            assert ended["status"] in (1, 143, -15), ended  # -15: before the command has a handler for SIGTERM
            self.tally.faults[kind] += 1
            self.failed = True
        else:
            self._check_end(number, ended)
            return True
        if not self.failed:
            self._check_tables_are_whole()
        if self.chance.random() < 0.3:  # not always: whoever opens a journal recovers it
            self._read_what_is_left(may_differ=self.failed)
        return False

    def _choose(self, kind: str, number: int) -> dict[str, Any]:
        """What disturbs a call, at a moment that the twin's has."""
        state, chance = self.twin.states[number], self.chance
        if kind == "place":
            anywhere = chance.random() < 0.3
            places = [each for each in state.places if anywhere or each[0][0] in CORE]
            return {"moment": moments.choose_place(places, chance)}
        if kind == "bytes":
            return {"moment": {"bytes": chance.randint(1, chance.choice(state.sizes))}}
        if kind == "full":  # what it prints shall still find room
            return {"moment": {"bytes": chance.randint(PRINTED, max(state.sizes)), "as_error": True}}
        if kind == "engine":
            engine = self.twin.scenario.steps[number].job.get("engine", {})
            return {"engine": {**engine, "die_after": chance.randint(1, len(state.samples))}}
        outside = {"seconds": state.seconds * chance.uniform(0.1, 0.9), "marks": str(self.place / "temporary")}
        if kind == "term":
            return {"outside": {**outside, "whom": "job", "term": chance.choice([0.002, 0.02, 0.1])}}
        return {"outside": {**outside, "whom": kind}}

    def _call(self, number: int, disturbance: Mapping[str, Any]) -> dict[str, Any]:
        self.tally.calls += 1
        self.tally.story.append([number, disturbance])
        commits = self.place / "commits"
        commits.unlink(missing_ok=True)
        ended = _call(
            self.twin.scenario.steps[number], self.twin.data, self.run, self.place, commits=str(commits), **disturbance
        )
        self.tally.story[-1].append(ended["status"])
        self._note_processes(ended["pid"])
        self._check_kept(ended, commits.read_text().splitlines() if commits.exists() else [])
        return ended

    def _check_kept(self, ended: Mapping[str, Any], commits: list[str]) -> None:
        """Nothing that was in the journal is gone or changed, nor what this call has committed; nothing came twice."""
        samples, verdicts = read_snapshot(self.run)
        drawn = {(prompt_id, index) for prompt_id, index, _ in ended["submitted"]}
        assert not drawn & self.kept[0].keys(), "a sample that the journal holds was drawn again"
        for before, now in zip(self.kept, (samples, verdicts), strict=True):
            lost = [key for key in before if key not in now]
            assert not lost, f"lost: {lost}"
            changed = [key for key, row in before.items() if now[key] != row]
            assert not changed, f"changed: {[(key, before[key], now[key]) for key in changed]}"
        for line in commits:
            key = tuple(json.loads(line))
            assert key in samples, f"lost, although its commit had returned: {key}"
        whole = {key: row for key, row in samples.items() if "tool_error" not in row}
        final = {key: row for key, row in verdicts.items() if not {*row} & {"tool_error", *_OURS}}
        self.kept = whole, final

    def _check_end(self, number: int, ended: Mapping[str, Any]) -> None:
        step, state = self.twin.scenario.steps[number], self.twin.states[number]
        assert ended["status"] == step.status, ended
        _check_said(ended)
        assert read_snapshot(self.run)[0] == state.samples
        assert scripted.tables(self.run) == state.tables
        assert {path.name for path in self.run.iterdir()} - LOG == state.names
        manifest = read_manifest(self.run)
        assert manifest is not None
        changing = {"timings", "command", "run_id"}
        assert manifest.model_dump(exclude=changing) == state.manifest.model_dump(exclude=changing)
        assert manifest.command.replace(str(self.run), "$RUN") == state.command
        assert 0 <= manifest.timings.sampled <= len(state.samples) or "interpreter" in step.job

    def _check_tables_are_whole(self) -> None:
        """Each table is absent or one that a step ends with: never half a table, nor files of two."""
        for folder in ("values/", "samples/"):
            found = {folder + path.name: path.read_bytes() for path in self.run.glob(f"{folder}*")}
            whole = [
                {n: data for n, data in state.tables.items() if n.startswith(folder)} for state in self.twin.states
            ]
            assert found in ({}, *whole), f"half of {folder}"

    def _read_what_is_left(self, *, may_differ: bool) -> None:
        """A killed run can be read, and its values are those that a step with its grader and n ends with, or said to be
        something else."""
        found = find_run(self.run)
        if found is None:
            return
        if found.has_journal:
            with found.open_journal() as journal:
                summarize(journal, found.manifest)
        try:
            is_outdated = load_values(self.run).is_outdated
        except UserError:
            return
        if not is_outdated and not may_differ:
            values = {f"values/{path.name}": path.read_bytes() for path in (self.run / "values").iterdir()}
            now = found.manifest.grader, found.manifest.n
            states = [state for state in self.twin.states if (state.manifest.grader, state.manifest.n) == now]
            assert any(values.items() <= state.tables.items() for state in states)

    def _note_processes(self, session: int) -> None:
        marks = (int(mark.name) for mark in (self.place / "temporary").glob("spo-data-graders-*/[0-9]*"))
        for pid in {*marks, *session_pids(session)}:
            try:
                self.started[pid] = psutil.Process(pid)
            except psutil.NoSuchProcess:
                continue
        for folder in (self.place / "temporary").glob("spo-data-graders-*"):
            shutil.rmtree(folder)


_OURS = ("grader_timeout", "grader_error", "gold_unparseable")


def _call(step: Step, data: Path, run: Path, place: Path, **job: Any) -> dict[str, Any]:
    temporary = place / "temporary"
    temporary.mkdir(exist_ok=True)
    argv = [Template(word).substitute(RUN=run, DATA=data) for word in step.words]
    job = {**step.job, **job, "argv": argv, "commit_samples": COMMIT_SAMPLES, "temporary": str(temporary)}
    return scripted.server().run(job)


def _check_said(ended: Mapping[str, Any]) -> None:
    for name in ("stdout", "stderr"):
        assert "Traceback" not in ended[name], ended[name]
