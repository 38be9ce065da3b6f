"""A dataset on the Hub at one commit: its files, and their download.

    with reach_dataset("org/name", revision="main") as dataset:
        dataset.commit, dataset.names
        path, = dataset.download(["values/train-00000-of-00001.parquet"])

A revision is resolved to a commit before anything is downloaded: `datasets.load_dataset(id)` serves a stale cache in
silence if the repository is gone or the Hub cannot be reached. Without a network (HF_HUB_OFFLINE), the Hub's cache says
which commit it was, and that commit is named.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spo_data.hub.answers import UnreadableAnswerError, check_commit
from spo_data.hub.cache import (
    CachedRepository,
    find_cached,
    find_offline_variable,
    remember,
    remember_list,
    suggest_offline,
)
from spo_data.hub.client_errors import clear_hub_errors


@dataclass(frozen=True)
class HubDataset:
    """A dataset repository at the commit that a revision means now, or meant when it was cached."""

    repo_id: str
    commit: str
    known_names: tuple[str, ...] | None
    """Its files, as paths in the repository; None if only the cache is there, and has no list of them."""
    cached: CachedRepository | None = None
    """The cache, if no network may be used."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its files; raises UserError if the cache has no list of them."""
        if self.known_names is None and self.cached is not None:
            return self.cached.require_list()
        return self.known_names or ()

    def download(self, names: Iterable[str]) -> list[Path]:
        """Download files into the Hub's cache; returns where they are. Raises UserError if only the cache may be used.

        One by one: after an interruption, `snapshot_download` takes a part for the whole if the Hub drops the
        connection.
        """
        from huggingface_hub import hf_hub_download

        if self.cached is not None:
            return self.cached.require(names)
        fetch = partial(hf_hub_download, self.repo_id, repo_type="dataset", revision=self.commit)
        return [Path(fetch(filename=name)) for name in names]


@contextmanager
def reach_dataset(repo_id: str, revision: str | None, subject: str | None = None) -> Iterator[HubDataset]:
    """Resolve a revision to a commit; raises UserError for what goes wrong on the Hub, also inside the block.

    `subject` is what messages call the dataset, if not by its id. If the block ends well, the Hub's cache knows the
    commit's files and its revision, so that the same call works without a network.
    """
    from huggingface_hub import HfApi

    absent = "no such file or folder"
    variable = find_offline_variable()
    if variable is not None:
        cached = find_cached(repo_id, "dataset", revision, variable, subject, absent)
        yield HubDataset(repo_id, cached.commit, cached.names, cached)
        return
    otherwise = partial(suggest_offline, repo_id, "dataset", revision)
    with clear_hub_errors(subject or repo_id, absent=absent, revision=revision, otherwise=otherwise):
        info = HfApi().dataset_info(repo_id, revision=revision, timeout=30)
        if info.siblings is None:
            raise UnreadableAnswerError("a dataset without a list of files")
        commit = check_commit(info.sha)
        remember_list(repo_id, "dataset", commit)
        yield HubDataset(repo_id, commit, tuple(file.rfilename for file in info.siblings))
        remember(repo_id, "dataset", revision, commit)
