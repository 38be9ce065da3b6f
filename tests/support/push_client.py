"""The calls that test_push.py makes with the real clients.

They run in a separate process, because the clients read their environment when imported.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import HfApi, hf_hub_download

import spo_data
from fake_hub import client as hub_client
from spo_data.errors import SpoError
from spo_pipelines.push import PushOptions
from spo_pipelines.push import push as run_push


@dataclass(frozen=True)
class Answer:
    """The outcome of a push or another call."""

    value: Any = None
    error: str | None = None
    status: int | None = None
    said: list[str] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    """What was at the target."""
    waited: list[float] = field(default_factory=list)


WAITED: list[float] = []


def prepare() -> None:
    """Record the pauses between attempts instead of waiting."""
    hub_client.prepare()
    time.sleep = WAITED.append


def push(repo_id: str, run: Path, environment: dict[str, str] | None = None, **options: Any) -> Answer:
    """Push a run."""
    said: list[str] = []
    WAITED.clear()
    os.environ.update(environment or {})
    try:
        pushed = run_push(PushOptions(repo_id, run, **{"token": "hf_writer", **options}), said.append)
        return Answer(pushed.committed, said=said, found=pushed.found.as_dict(), waited=list(WAITED))
    except SpoError as error:
        return Answer(error=str(error), status=error.exit_status, said=said, waited=list(WAITED))
    finally:
        for name in environment or {}:
            del os.environ[name]


def load(repo_id: str, revision: str | None = None) -> Answer:
    """`spo_data.load_values`, as rows."""
    os.environ["HF_TOKEN"] = "hf_writer"
    try:
        values = spo_data.load_values(repo_id, revision)
        return Answer((values.revision, values.provenance, list(values.rows()), values.completeness))
    except SpoError as error:
        return Answer(error=str(error), status=error.exit_status)


def load_fresh(repo_id: str, cache: Path) -> tuple[list[str], list[Any], list[Any]]:
    """The configs, the rows without a config, and those of the samples, as `datasets` loads them with this cache."""
    names = datasets.get_dataset_config_names(repo_id, token="hf_writer")
    loaded = [
        datasets.load_dataset(repo_id, *config, cache_dir=str(cache), token="hf_writer", split="train")
        for config in ((), ("samples",))
    ]
    return names, *map(list, loaded)


def names(repo_id: str, revision: str) -> list[str]:
    """The files at a revision."""
    return HfApi(token="hf_writer").list_repo_files(repo_id, repo_type="dataset", revision=revision)


def titles(repo_id: str, revision: str = "main") -> list[str]:
    """The titles of a dataset's commits, newest first."""
    return hub_client.titles(repo_id, revision)


def pull_requests(repo_id: str) -> list[str]:
    """The titles of a dataset's pull requests."""
    api = HfApi(token="hf_writer")
    found = api.get_repo_discussions(repo_id, repo_type="dataset", discussion_type="pull_request")
    return [request.title for request in found]


def readme(repo_id: str) -> str:
    """The README on the main branch."""
    return Path(hf_hub_download(repo_id, "README.md", repo_type="dataset", token="hf_writer")).read_text()


def is_private(repo_id: str) -> bool:
    """Whether a dataset is private."""
    return bool(HfApi(token="hf_writer").dataset_info(repo_id).private)
