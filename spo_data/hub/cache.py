"""What the Hub's cache on this machine holds of a repository: for machines without a network.

    if variable := find_offline_variable():                   # "HF_HUB_OFFLINE"
        cached = find_cached("org/name", "dataset", None, variable)
        cached.commit, cached.require(["values/train-00000-of-00001.parquet"])

The cache's `refs/` say which commit a branch or tag was when it was last downloaded, and its `trees/` which files a
commit has. `remember` writes both, as `hf download` does: without the list, a table could have fewer rows and nobody
would notice. Each use of a cached commit is logged, and the commands print it as a note.
"""

import logging
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spo_data.errors import UserError
from spo_data.files import write_whole

Kind = Literal["dataset", "model"]

logger = logging.getLogger(__name__)

_COMMIT = re.compile("[0-9a-f]{40}")
_SHORT_COMMIT = re.compile("[0-9a-f]{7,39}")


def find_offline_variable(kind: Kind = "dataset") -> str | None:
    """Return the name of the variable that forbids the network for datasets, or for models; None if none does."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
    name = "HF_DATASETS_OFFLINE"
    return name if kind == "dataset" and os.environ.get(name, "").upper() in constants.ENV_VARS_TRUE_VALUES else None


@dataclass(frozen=True)
class CachedRepository:
    """A repository at a commit, as far as the cache holds it."""

    repo_id: str
    kind: Kind
    commit: str
    subject: str
    """What messages call the repository."""
    variable: str
    """Why no network is asked."""

    @property
    def folder(self) -> Path:
        """The folder with the cached files of the commit."""
        return _find_storage(self.repo_id, self.kind) / "snapshots" / self.commit

    @property
    def names(self) -> tuple[str, ...] | None:
        """All files of the commit, whether they are cached or not; None if the cache has no list."""
        return read_list(self.repo_id, self.kind, self.commit)

    def find(self, name: str) -> Path | None:
        """Return where a file is; None if it is not cached."""
        path = self.folder / name
        return path if path.is_file() else None

    def is_absent(self, name: str) -> bool:
        """Whether the commit is known to have no such file."""
        from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

        if self.find(name) is not None:
            return False
        if (names := self.names) is not None:
            return name not in names
        found = try_to_load_from_cache(self.repo_id, name, revision=self.commit, repo_type=self.kind)
        return found is _CACHED_NO_EXIST

    def require(self, names: Iterable[str]) -> list[Path]:
        """Return where files are; raises UserError if one is not cached, with the command that fetches it."""
        wanted = list(names)
        missing = [name for name in wanted if self.find(name) is None]
        if missing:
            few = missing if len(missing) <= 3 else ()
            shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3:,} more" if len(missing) > 3 else "")
            raise UserError(f"{self.describe()} lacks {shown}: {self.advise(few)}")
        return [self.folder / name for name in wanted]

    def require_list(self) -> tuple[str, ...]:
        """Return all files of the commit; raises UserError if the cache has no list of them."""
        names = self.names
        if names is None:
            raise UserError(
                f"{self.describe()} has no list of its files, so a missing one would not be noticed: {self.advise()}"
            )
        return names

    def describe(self) -> str:
        """The start of a message about what the cache lacks."""
        return f"{self.subject}: {self.variable} is set, and commit {self.commit} in the Hub's cache at {_find_cache()}"

    def advise(self, names: Iterable[str] = ()) -> str:
        """What to do about it."""
        return _advise(self.repo_id, self.kind, self.commit, names)


def find_cached(
    repo_id: str, kind: Kind, revision: str | None, variable: str, subject: str | None = None, absent: str = ""
) -> CachedRepository:
    """Return the repository at the commit that a revision was when it was last downloaded, and log which that is.

    A commit that is asked for as such is not logged. Raises UserError if the cache does not know the revision.
    `subject` is what messages call the repository, and `absent` what else the name is not.
    """
    subject = subject or repo_id
    commit = find_commit(repo_id, kind, revision)
    if commit is None:
        also = f"{absent}, and " if absent else ""
        raise UserError(_explain_unknown(repo_id, kind, revision, f"{subject}: {also}", variable))
    if revision != commit:
        logger.warning(
            "%s is set: %s is read from the Hub's cache, at commit %s (%s when it was last downloaded)",
            variable,
            subject,
            commit,
            revision or "main",
        )
    return CachedRepository(repo_id, kind, commit, subject, variable)


def is_commit(text: str) -> bool:
    """Whether a text is a whole commit."""
    return _COMMIT.fullmatch(text) is not None


def find_commit(repo_id: str, kind: Kind, revision: str | None) -> str | None:
    """Return the commit of a branch, tag or (short) commit by what the cache holds; None if it does not know it."""
    commits = _list_commits(repo_id, kind)
    reference = _find_storage(repo_id, kind) / "refs" / (revision or "main")
    if revision is not None and is_commit(revision):
        return revision if revision in commits else None
    if reference.is_file() and is_commit(commit := reference.read_text().strip()):
        return commit
    if revision is not None and _SHORT_COMMIT.fullmatch(revision):
        matching = [commit for commit in commits if commit.startswith(revision)]
        return matching[0] if len(matching) == 1 else None
    return None


def suggest_offline(repo_id: str, kind: Kind, revision: str | None) -> str:
    """Return the end of a message about a Hub that does not answer: what the cache has; empty if nothing."""
    commit = find_commit(repo_id, kind, revision)
    return "" if commit is None else f"; the Hub's cache has commit {commit}: with HF_HUB_OFFLINE=1 it is used"


def remember(repo_id: str, kind: Kind, revision: str | None, commit: str) -> None:
    """Note in the cache which commit a revision is; a cache that cannot be written to stays as it is."""
    reference = _find_storage(repo_id, kind) / "refs" / (revision or "main")
    if revision == commit or (reference.is_file() and reference.read_text() == commit):
        return
    try:
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_whole(reference, commit)
    except OSError as error:
        logger.info("the Hub's cache cannot be written to: %s", error)


def remember_list(repo_id: str, kind: Kind, commit: str) -> None:
    """Note in the cache which files a commit has, unless it says so; asks the Hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

    if read_list(repo_id, kind, commit) is None:
        snapshot_download(repo_id, repo_type=kind, revision=commit, ignore_patterns="*", tqdm_class=Silent)


def read_list(repo_id: str, kind: Kind, commit: str) -> tuple[str, ...] | None:
    """Return all files of a commit by the cache's list; None if it has none."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return tuple(file.path for file in get_cached_repo_tree(repo_id, repo_type=kind, revision=commit))
    except CachedRepoTreeNotFoundError:
        return None


def _find_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def _find_storage(repo_id: str, kind: Kind) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return _find_cache() / repo_folder_name(repo_id=repo_id, repo_type=kind)


def _list_commits(repo_id: str, kind: Kind) -> list[str]:
    folder = _find_storage(repo_id, kind) / "snapshots"
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _explain_unknown(repo_id: str, kind: Kind, revision: str | None, start: str, variable: str) -> str:
    """Say what the cache has instead of a revision."""
    start, commits = f"{start}the Hub's cache at {_find_cache()}", _list_commits(repo_id, kind)
    end = f"({variable} is set): {_advise(repo_id, kind, revision)}"
    if not commits:
        return f"{start} does not have it {end}"
    named = _name_commits(repo_id, kind)
    shown = ", ".join(f"{commit} ({', '.join(named[commit])})" if commit in named else commit for commit in commits)
    what = f"does not say which commit {revision or 'main'} is" if revision is None else f"has no revision {revision!r}"
    return f"{start} {what} of it, only {shown} {end}"


def _name_commits(repo_id: str, kind: Kind) -> dict[str, list[str]]:
    """Return the branches and tags of each commit."""
    folder = _find_storage(repo_id, kind) / "refs"
    named: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            named.setdefault(path.read_text().strip(), []).append(path.relative_to(folder).as_posix())
    return named


def _advise(repo_id: str, kind: Kind, revision: str | None, names: Iterable[str] = ()) -> str:
    words = ["hf", "download", repo_id, *names]
    words += ["--repo-type", kind] * (kind != "model") + (["--revision", revision] if revision else [])
    return f"where there is a network, run `{shlex.join(words)}` with this cache"
