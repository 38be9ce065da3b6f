"""The calls that test_fake_hub.py makes with the real clients.

They run in a separate process, because the clients read their environment when imported.
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import datasets
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile, hf_hub_download
from huggingface_hub.utils import httpx


@dataclass(frozen=True)
class Failure:
    """The exception that a client raised."""

    kind: str
    status: int | None
    text: str


def prepare() -> None:
    """Skip the client's pauses between retries."""
    time.sleep = lambda _seconds: None
    datasets.config.USE_PARQUET_EXPORT = False


def call(method: str, *arguments: Any, token: str | bool = "hf_writer", **options: Any) -> Any:
    """The return value of an HfApi method, or its failure."""
    try:
        found = getattr(HfApi(token=token), method)(*arguments, **options)
        return list(found) if isinstance(found, Iterator) else found
    except (httpx.HTTPError, ValueError) as error:
        response = getattr(error, "response", None)
        return Failure(type(error).__name__, response and response.status_code, str(error))


def create(repository: str, private: bool = False, exist_ok: bool = False, token: str = "hf_writer") -> str | Failure:
    """Create a dataset and return the URL of its page."""
    asked = {"repo_type": "dataset", "private": private, "exist_ok": exist_ok, "token": token}
    made = call("create_repo", repository, **asked)
    return made if isinstance(made, Failure) else str(made)


def commit(
    repository: str, files: Mapping[str, bytes | None], title: str = "Add", **options: Any
) -> CommitInfo | Failure:
    """Commit files to a dataset; None deletes one."""
    operations = [
        CommitOperationDelete(path) if content is None else CommitOperationAdd(path, content)
        for path, content in files.items()
    ]
    return call("create_commit", repository, operations, commit_message=title, repo_type="dataset", **options)


def commit_at_once(repository: str, parent: str, number: int) -> list[CommitInfo | Failure]:
    """Commit `number` different files to one parent at the same time. They are large enough to take a moment."""

    def add(name: int) -> CommitInfo | Failure:
        return commit(repository, {f"{name}.txt": b"%d" % name * 900_000}, parent_commit=parent)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(add, range(number)))


def titles(repository: str, revision: str = "main") -> list[str]:
    """The titles of a dataset's commits, newest first."""
    past = HfApi(token="hf_writer").list_repo_commits(repository, repo_type="dataset", revision=revision)
    return [commit.title for commit in past]


def tree(repository: str) -> dict[str, RepoFile]:
    """The files of a dataset."""
    api = HfApi(token="hf_writer")
    entries = api.list_repo_tree(repository, repo_type="dataset", recursive=True)
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def push_to_hub(repository: str, columns: Mapping[str, list[Any]], **options: Any) -> None:
    """Publish a table as `datasets` does."""
    datasets.Dataset.from_dict(columns).push_to_hub(repository, token="hf_writer", **options)


def rows(repository: str, revision: str) -> list[dict[str, Any]]:
    """The rows that `datasets` loads from a commit."""
    loaded = datasets.load_dataset(repository, revision=revision, split="train", token="hf_writer")
    return list(loaded)


def download(repository: str, path: str) -> str:
    """Download a file of a dataset and return its local path."""
    return hf_hub_download(repository, path, repo_type="dataset", token="hf_writer")
