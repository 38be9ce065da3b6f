"""Exports, imports and pushes that are killed at random moments are whole or absent; the same call then succeeds."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_hub import client as hub_client
from fake_hub.running import Hub, hub_with_clients
from spo_data.formats.export import export_values
from spo_data.formats.import_values import import_values
from support import push_client, scripted
from support.moments import call_in_fork, choose_place, passed_places

pytestmark = pytest.mark.slow
KILLS = 5


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the scripted engine."""
    folder = tmp_path_factory.mktemp("finished")
    scripted.estimate(scripted.options(scripted.write_rows(folder / "sums.jsonl"), folder / "run"))
    return folder / "run"


def export(run: Path, out: Path) -> object:
    return export_values(str(run), {".json": "spo-json", ".parquet": "verl", "": "spo-hf"}[out.suffix], out)


def import_own(run: Path, out: Path) -> object:
    return import_values(str(run), out)


def import_scores(run: Path, out: Path) -> object:
    scores = run.parent / "scores.json"
    if not scores.exists():
        export(run, scores)
    return import_values(str(scores), out)


def contents(out: Path) -> dict[str, bytes] | None:
    if not out.exists():
        return None
    files = [out] if out.is_file() else [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("write", "name"),
    [(export, "out.json"), (export, "out.parquet"), (export, "out"), (import_own, "out"), (import_scores, "out")],
    ids=["json", "verl", "spo-hf", "own", "scores"],
)
def test_a_killed_copy_is_whole_or_absent_and_the_next_call_writes_it(
    write: Callable[[Path, Path], object], name: str, run: Path, tmp_path: Path
) -> None:
    chance = random.Random(name + write.__name__)
    twin = tmp_path / "twin" / name
    write(run, twin)
    places = passed_places(write, run, tmp_path / "recorded" / name)
    assert contents(tmp_path / "recorded" / name) == contents(twin)
    kills = 0
    for number in range(KILLS):
        out = tmp_path / str(number) / name
        for _ in range(chance.randint(1, 3)):
            if not out.exists():
                kills += call_in_fork(choose_place(places, chance), write, run, out) == -9
            assert contents(out) in (None, contents(twin))
        if not out.exists():
            write(run, out)
        assert contents(out) == contents(twin)
        assert {path.name for path in out.parent.iterdir()} == {name}
    assert kills >= KILLS


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root, home = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("home")
    with hub_with_clients(root, home, push_client.prepare) as hub:
        yield hub


def test_a_killed_push_leaves_all_or_nothing_on_the_hub_and_the_next_makes_one_commit(hub: Hub, run: Path) -> None:
    chance = random.Random(0)
    whole = hub.ask(push_client.push, "me/whole", run)
    assert whole.error is None, whole.error
    places = hub.ask(passed_places, push_client.push, "me/recorded", run)
    kills = 0
    for number in range(KILLS):
        repo_id = f"me/killed-{number}"
        for _ in range(2):
            kills += hub.ask(call_in_fork, choose_place(places, chance), push_client.push, repo_id, run) == -9
        assert hub.ask(push_client.push, repo_id, run).error is None
        assert hub.ask(push_client.titles, repo_id) == hub.ask(push_client.titles, "me/whole")
        assert on_hub(hub, repo_id) == on_hub(hub, "me/whole")
        assert not [path.name for path in run.iterdir() if path.name.endswith((".new", ".old"))]
    assert kills >= KILLS


def on_hub(hub: Hub, repo_id: str) -> tuple[dict[str, str], str]:
    """The blobs of a dataset by file, and its README without its name."""
    blobs = {name: file.blob_id for name, file in hub.ask(hub_client.tree, repo_id).items() if name != "README.md"}
    return blobs, hub.ask(push_client.readme, repo_id).replace(repo_id, "")
