"""A dataset repository at one commit: its files, its README, and reading single files of it.

    there = take_snapshot(HfApi(token=...), "org/name", commit)
    there.files, there.readme
    with there.open("values/train-00000-of-00001.parquet") as file:     # reads only the parts that are asked for
        ...

Everything is read at the commit, so what is found cannot change while it is looked at.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from spo_data.errors import SpoError, first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

README = "README.md"


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit."""

    api: "HfApi"
    repo_id: str
    commit: str
    files: Mapping[str, Any]
    """What the Hub says about each file (`RepoFile`), by path in the repository."""
    readme: str | None
    """None if there is none."""
    is_new: bool = False
    """Whether this push created the repository."""

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file; only the parts that are read are downloaded."""
        from huggingface_hub import HfFileSystem

        files = HfFileSystem(endpoint=self.api.endpoint, token=self.api.token)
        try:
            file = files.open(f"datasets/{self.repo_id}@{self.commit}/{name}", "rb")
        except FileNotFoundError as error:  # a commit does not change, so the repository is gone
            raise SpoError(f"{name} of {self.repo_id} cannot be read any more ({first_line(error)})") from error
        with file:
            yield file


def take_snapshot(api: "HfApi", repo_id: str, commit: str, *, is_new: bool = False) -> Snapshot:
    """Read a commit's list of files and its README; raises SpoError if the README is not UTF-8."""
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo_id, recursive=True, revision=commit, repo_type="dataset")
    files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    readme = None
    if README in files:
        try:
            path = api.hf_hub_download(repo_id, README, repo_type="dataset", revision=commit)
            readme = Path(path).read_bytes().decode()
        except LocalEntryNotFoundError as error:  # the client raises it for any failed download
            raise error.__cause__ or error from error
        except UnicodeDecodeError as error:
            raise SpoError(f"{README} of {repo_id} is not UTF-8 ({error}): fix it on the Hub") from error
    return Snapshot(api, repo_id, commit, files, readme, is_new)
