"""The repositories of the loopback hub (serve.py): a branch is a folder on disk, its history is in memory.

If a test has edited a folder, the next request for the repository makes it the next commit of its branch.
ROOT/.objects/ keeps the contents of every commit, so every past commit stays readable. If a repository's folder is
deleted, its history is deleted too.
"""

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fake_hub.objects import File, Objects, RefusedError, no_entry

GIT_ATTRIBUTES = "".join(f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in ("parquet", "png"))


@dataclass(frozen=True)
class Commit:
    """A commit. Its id is unique, even if another commit has the same files."""

    sha: str
    parent: "Commit | None"
    author: str
    title: str
    message: str
    date: str
    files: Mapping[str, File]

    def history(self) -> Iterator["Commit"]:
        """This commit and the ones before it, newest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent


@dataclass(frozen=True)
class Proposal:
    """A proposed commit: the lines of the client's ndjson."""

    author: str
    title: str
    message: str
    parent: str | None
    operations: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, body: bytes, author: str) -> "Proposal":
        """The proposal in the body of a request."""
        header, *operations = [json.loads(line) for line in body.splitlines()]
        said = header["value"]
        return cls(author, said["summary"], said["description"], said.get("parentCommit"), operations)

    @classmethod
    def of_texts(cls, texts: Mapping[str, str | None], author: str) -> "Proposal":
        """A proposal that writes files; None deletes a file."""
        operations = [
            {"key": "deletedFile", "value": {"path": path}}
            if text is None
            else {"key": "file", "value": {"path": path, "content": base64.b64encode(text.encode()).decode()}}
            for path, text in texts.items()
        ]
        return cls(author, "Meanwhile", "", None, operations)


@dataclass(frozen=True)
class PullRequest:
    """A pull request. Its commits are the history of its reference."""

    number: int
    author: str
    title: str
    message: str
    branch: str
    date: str

    @property
    def reference(self) -> str:
        """The revision that holds its commits."""
        return f"refs/pr/{self.number}"


class Repository:
    """A repository: its branches, pull requests and commits."""

    def __init__(self, folder: Path, objects: Objects, private: bool = False) -> None:
        self.folder = folder
        self.objects = objects
        self.private = private
        self.heads: dict[str, Commit] = {}
        """The newest commit of every branch and of every pull request's reference."""
        self.pull_requests: list[PullRequest] = []
        self._commits: dict[str, Commit] = {}

    @property
    def name(self) -> str:
        """ORG/NAME."""
        return f"{self.namespace}/{self.folder.name}"

    @property
    def namespace(self) -> str:
        """The user or organisation that owns it."""
        return self.folder.parent.name

    @property
    def gated(self) -> bool:
        """Whether requests for its files are refused."""
        return self.folder.name.startswith("gated-")

    def read_folders(self) -> None:
        """Commit folders that were edited on disk since the last call."""
        folders = {unquote(path.name): path for path in sorted(self.folder.iterdir()) if path.is_dir()}
        for branch, folder in folders.items():
            files = {
                name: self.objects.file(name, self.objects.add_file(path)) for name, path in _files(folder).items()
            }
            head = self.heads.get(branch)
            if head is None or head.files != files:
                self._record(branch, files, head, Proposal("somebody", "Edited on disk", "", None, []))
        for branch in [name for name in self.heads if name not in folders and not name.startswith("refs/pr/")]:
            del self.heads[branch]

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a pull request's reference or a full commit id."""
        found = self.heads.get(revision) or self._commits.get(revision)
        if found is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def commit(self, branch: str, proposal: Proposal) -> Commit:
        """Commit to a branch or a pull request. Refuse if it has moved past the proposal's parent."""
        if branch not in self.heads:
            raise RefusedError(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {branch}")
        head = self.heads[branch]
        if proposal.parent is not None and not head.sha.startswith(proposal.parent):
            message = "A commit has happened since. Please refresh and try again."
            raise RefusedError(HTTPStatus.PRECONDITION_FAILED, "", message)
        made = self._record(branch, self._changed(head.files, proposal.operations), head, proposal)
        self._write_folder(branch)
        return made

    def open_pull_request(self, branch: str, proposal: Proposal) -> tuple[PullRequest, Commit]:
        """Open a pull request: commit on the proposal's parent, or on the branch's newest commit if there is none."""
        base = self.at(proposal.parent or branch)
        files = self._changed(base.files, proposal.operations)
        number = len(self.pull_requests) + 1
        made = self._record(f"refs/pr/{number}", files, base, proposal)
        opened = PullRequest(number, proposal.author, proposal.title, proposal.message, branch, made.date)
        self.pull_requests.append(opened)
        return opened, made

    def create_branch(self, branch: str, start: str) -> None:
        """Create a branch at a revision."""
        if branch in self.heads:
            raise RefusedError(HTTPStatus.CONFLICT, "", f"Reference already exists: refs/heads/{branch}")
        self.heads[branch] = self.at(start)
        self._write_folder(branch)

    def begin(self) -> None:
        """Give a new repository the same first commit as the real hub does."""
        files = {".gitattributes": self.objects.file(".gitattributes", self.objects.add([GIT_ATTRIBUTES.encode()]))}
        self._record("main", files, None, Proposal("system", "initial commit", "", None, []))
        self._write_folder("main")

    def _changed(self, before: Mapping[str, File], operations: Sequence[Mapping[str, Any]]) -> dict[str, File]:
        files = dict(before)
        for operation in operations:
            value = operation["value"]
            path = value["path"]
            match operation["key"]:
                case "file":
                    files[path] = self.objects.file(path, self.objects.add([base64.b64decode(value["content"])]))
                case "lfsFile":
                    if not self.objects.path(value["oid"]).is_file():
                        message = f"LFS pointer pointed to a file that does not exist: {path}"
                        raise RefusedError(HTTPStatus.BAD_REQUEST, "", message)
                    files[path] = self.objects.file(path, value["oid"])
                case "deletedFile":
                    if path not in files:
                        raise no_entry(f"A file with this name doesn't exist: {path}")
                    del files[path]
                case "deletedFolder":
                    inside = [name for name in files if name.startswith(f"{path.rstrip('/')}/")]
                    if not inside:
                        raise no_entry(f"A folder with this name doesn't exist: {path}")
                    for name in inside:
                        del files[name]
                case unknown:
                    raise RefusedError(HTTPStatus.BAD_REQUEST, "", f"no such operation: {unknown}")
        return files

    def _record(self, reference: str, files: Mapping[str, File], parent: Commit | None, proposal: Proposal) -> Commit:
        number = len(self._commits)
        listing = sorted((name, file.blob_id) for name, file in files.items())
        identity = [number, parent and parent.sha, proposal.author, proposal.title, proposal.message, listing]
        sha = hashlib.sha1(json.dumps(identity).encode(), usedforsecurity=False).hexdigest()
        date = f"{(datetime(2026, 1, 1) + timedelta(seconds=number)).isoformat()}.000Z"
        made = Commit(sha, parent, proposal.author, proposal.title, proposal.message, date, files)
        self.heads[reference] = self._commits[sha] = made
        return made

    def _write_folder(self, branch: str) -> None:
        if branch.startswith("refs/pr/"):
            return
        folder = self.folder / quote(branch, safe="")
        folder.mkdir(parents=True, exist_ok=True)
        present = _files(folder)
        files = self.heads[branch].files
        for name in present.keys() - files.keys():
            present[name].unlink()
            for parent in present[name].relative_to(folder).parents[:-1]:
                if not any((folder / parent).iterdir()):
                    (folder / parent).rmdir()
        for name, file in files.items():
            if name not in present or self.objects.add_file(present[name]) != file.sha256:
                self.objects.put(file.sha256, folder / name)


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


class Store:
    """Every repository under ROOT. The caller of any method holds its lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        self._repositories: dict[Path, Repository] = {}

    def find(self, kind: str, name: str) -> Repository | None:
        """The repository ORG/NAME of `datasets` or `models`, as it is on disk now."""
        folder = self.root / kind / name
        objects = self.root / ".objects" / kind / name
        if not folder.is_dir():
            if self._repositories.pop(folder, None):
                shutil.rmtree(objects, ignore_errors=True)
            return None
        repository = self._repositories.setdefault(folder, Repository(folder, Objects(objects)))
        repository.read_folders()
        return repository

    def create(self, kind: str, name: str, private: bool) -> Repository:
        """Create a repository that does not exist yet."""
        folder = self.root / kind / name
        repository = Repository(folder, Objects(self.root / ".objects" / kind / name), private)
        repository.begin()
        self._repositories[folder] = repository
        return repository
