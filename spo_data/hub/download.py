"""A dataset on the Hub at one commit: its files, and their download.

    with reach_dataset("org/name", revision="main") as dataset:
        dataset.commit, dataset.names
        path = dataset.download("values/train-00000-of-00001.parquet")

A revision is resolved to a commit before anything is downloaded: `datasets.load_dataset(id)` serves a stale cache in
silence if the repository is gone or the Hub cannot be reached.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spo_data.hub.answers import UnreadableAnswerError, check_commit
from spo_data.hub.client_errors import clear_hub_errors


@dataclass(frozen=True)
class HubDataset:
    """A dataset repository at the commit that a revision means now."""

    repo_id: str
    commit: str
    names: tuple[str, ...]
    """Its files, as paths in the repository."""

    def download(self, name: str) -> Path:
        """Download one file into the Hub's cache; returns where it is.

        One by one: after an interruption, `snapshot_download` takes a part for the whole if the Hub drops the
        connection.
        """
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(self.repo_id, name, repo_type="dataset", revision=self.commit))


@contextmanager
def reach_dataset(repo_id: str, revision: str | None, subject: str | None = None) -> Iterator[HubDataset]:
    """Resolve a revision to a commit; raises UserError for what goes wrong on the Hub, also inside the block.

    `subject` is what messages call the dataset, if not by its id.
    """
    from huggingface_hub import HfApi

    with clear_hub_errors(subject or repo_id, absent="no such file or folder", revision=revision):
        info = HfApi().dataset_info(repo_id, revision=revision, timeout=30)
        if info.siblings is None:
            raise UnreadableAnswerError("a dataset without a list of files")
        yield HubDataset(repo_id, check_commit(info.sha), tuple(file.rfilename for file in info.siblings))
