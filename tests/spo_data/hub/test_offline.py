"""Values and prompts of the Hub on a machine without a network: from the cache that a machine with one has filled."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fake_hub.running import hub_with_clients
from spo_data import UserError, load_values
from spo_data.prompts.rows import load_rows
from support import warm_cache


@dataclass(frozen=True)
class Warm:
    """A filled cache, and what was read when it was filled."""

    home: Path
    read: dict[str, Any]

    def commit(self, revision: str | None = None) -> str:
        return str(self.read[f"values {revision}"][1])


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Warm:
    root, home = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("home")
    warm_cache.write_repositories(root)
    with hub_with_clients(root, home, int) as hub:
        read = hub.ask(warm_cache.fill)
    return Warm(home, read)


Use = Callable[[Path], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Takes a folder as HF_HOME, without a network."""
    import datasets
    from huggingface_hub import constants

    def use(home: Path) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(home / "datasets"))

    return use


@pytest.fixture
def copy(warm: Warm, tmp_path: Path, use: Use) -> Path:
    """A copy of the filled cache, in use, that a test may break."""
    shutil.copytree(warm.home, tmp_path / "home", symlinks=True)
    use(tmp_path / "home")
    return tmp_path / "home"


def snapshot(home: Path, name: str, commit: str) -> Path:
    return home / "hub" / f"datasets--acme--{name}" / "snapshots" / commit


def refusal(read: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        read()
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("revision", [None, "main", "dev", "commit", "short commit"])
def test_values_are_those_of_the_same_commit(
    warm: Warm, use: Use, caplog: pytest.LogCaptureFixture, revision: str | None
) -> None:
    """Values said that they were not in the cache, and a branch was never noted there."""
    use(warm.home)
    asked = {"commit": warm.commit(), "short commit": warm.commit()[:10]}.get(revision or "", revision)
    with caplog.at_level(logging.WARNING, "spo_data"):
        values = load_values("acme/values", asked)
    read = warm.read["values dev" if revision == "dev" else "values None"]
    assert (values.table.to_pylist(), values.revision) == read
    named = [] if revision == "commit" else [f"at commit {read[1]} ({asked or 'main'} when it was last downloaded)"]
    assert [said.partition("cache, ")[2] for said in caplog.messages] == named


def test_a_revision_that_is_not_cached_is_one_line_with_those_that_are(warm: Warm, use: Use) -> None:
    use(warm.home)
    said = refusal(lambda: load_values("acme/values", "v2"))
    cache = f"acme/values: no such file or folder, and the Hub's cache at {warm.home / 'hub'}"
    known = sorted([f"{warm.commit()} (main)", f"{warm.commit('dev')} (dev)"])
    assert said.startswith(f"{cache} has no revision 'v2' of it, only {', '.join(known)} (HF_HUB_OFFLINE is set): ")
    assert said.endswith("run `hf download acme/values --repo-type dataset --revision v2` with this cache")


def test_a_cache_that_does_not_name_main_says_so(copy: Path, warm: Warm) -> None:
    """Earlier versions left such caches: they downloaded a commit without a note of the branch."""
    (copy / "hub" / "datasets--acme--values" / "refs" / "main").unlink()
    said = refusal(lambda: load_values("acme/values"))
    assert "does not say which commit main is of it, only " in said
    assert load_values("acme/values", warm.commit()).revision == warm.commit()


def test_another_cache_is_named(use: Use, tmp_path: Path) -> None:
    use(tmp_path)
    said = refusal(lambda: load_values("acme/values"))
    assert f"and the Hub's cache at {tmp_path / 'hub'} does not have it (HF_HUB_OFFLINE is set): " in said


@pytest.mark.parametrize("has_list", [True, False], ids=["list", "no list"])
def test_a_part_of_the_table_that_is_missing_is_noticed(copy: Path, warm: Warm, has_list: bool) -> None:
    """A table of two files would have had the rows of one."""
    commit, part = warm.commit(), "values/train-00001-of-00002.parquet"
    (snapshot(copy, "values", commit) / part).unlink()
    if not has_list:
        (copy / "hub" / "datasets--acme--values" / "trees" / f"{commit}.json").unlink()
    said = refusal(lambda: load_values("acme/values"))
    assert f"acme/values: HF_HUB_OFFLINE is set, and commit {commit} in the Hub's cache at {copy / 'hub'} " in said
    asked = f"{part} --repo-type dataset" if has_list else "--repo-type dataset"
    assert (f"lacks {part}: " if has_list else "has no list of its files, so a missing one would not be ") in said
    assert f"run `hf download acme/values {asked} --revision {commit}`" in said


def test_a_table_that_only_datasets_has_downloaded_is_read_if_it_is_whole(copy: Path, warm: Warm) -> None:
    shutil.rmtree(copy / "hub" / "datasets--acme--values" / "trees")
    values = load_values("acme/values")
    assert (values.table.to_pylist(), values.revision) == warm.read["values None"]


@pytest.mark.parametrize("without", ["", "prepared", "files", "list"])
@pytest.mark.parametrize("revision", [None, "dev"])
def test_rows_are_those_of_the_same_commit(copy: Path, warm: Warm, without: str, revision: str | None) -> None:
    """`datasets` takes the rows that it prepared last, of whatever commit: those of the branch dev for main."""
    commit = warm.read[f"rows {revision}"][1]
    if without == "prepared":  # of this commit; the other's stay
        shutil.rmtree(next((copy / "datasets").glob(f"acme___math/en/*/{commit}")))
    elif without == "files":
        shutil.rmtree(snapshot(copy, "math", commit) / "en")
    elif without == "list":
        shutil.rmtree(copy / "hub" / "datasets--acme--math" / "trees")
    rows = load_rows("acme/math", config="en", revision=revision)
    assert (list(map(dict, rows.rows)), rows.revision) == warm.read[f"rows {revision}"]


@pytest.mark.parametrize(
    ("config", "missing", "lacks"),
    [
        ("de", "", "lacks de/train-0.jsonl, de/train-1.jsonl: "),
        (None, "", "lacks de/train-0.jsonl, de/train-1.jsonl: "),
        ("en", "en/train-1.jsonl", "lacks en/train-1.jsonl: "),
        ("en", "README.md", "lacks README.md: "),
    ],
)
def test_files_of_a_configuration_that_are_not_cached_are_named(
    copy: Path, warm: Warm, config: str | None, missing: str, lacks: str
) -> None:
    shutil.rmtree(copy / "datasets")
    commit = warm.read["rows None"][1]
    if missing:
        (snapshot(copy, "math", commit) / missing).unlink()
    said = refusal(lambda: load_rows("acme/math", config=config))
    assert said.startswith(f"--dataset acme/math: HF_HUB_OFFLINE is set, and commit {commit} in the Hub's cache at ")
    assert lacks in said


def test_a_configuration_that_does_not_exist_is_refused_as_online(warm: Warm, use: Use) -> None:
    use(warm.home)
    said = refusal(lambda: load_rows("acme/math", config="fr"))
    assert "--dataset acme/math needs another --dataset-config: BuilderConfig 'fr' not found. Available: [" in said


def test_datasets_offline_alone_is_offline(
    warm: Warm, use: Use, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With HF_DATASETS_OFFLINE the Hub named a commit, and `datasets` gave the rows that it had prepared last."""
    from huggingface_hub import constants

    use(warm.home)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    rows = load_rows("acme/math", config="en")
    assert list(map(dict, rows.rows)) == warm.read["rows None"][0]
    assert caplog.messages[0].startswith("HF_DATASETS_OFFLINE is set: --dataset acme/math is read from the Hub's cache")


def test_load_dataset_needs_the_configuration_once_both_are_cached(warm: Warm, use: Use) -> None:
    """README, docs and card said `load_dataset("org/name")`, which fails on a machine without a network."""
    import datasets

    use(warm.home)
    with pytest.raises(ValueError, match="There are multiple 'acme/values' configurations in the cache"):
        datasets.load_dataset("acme/values")
    assert len(datasets.load_dataset("acme/values", "values")["train"]) == 6
