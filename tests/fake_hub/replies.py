"""The JSON in which the loopback hub (serve.py) describes a repository."""

import hashlib
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

from fake_hub.objects import File, RefusedError, no_entry
from fake_hub.store import Commit, PullRequest, Repository


def hub_id(name: str) -> str:
    """The id of a user or a repository: 24 hex digits."""
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:24]


def info(repository: Repository, commit: Commit, with_blobs: bool) -> dict[str, Any]:
    """A repository at a commit."""
    return {
        "_id": hub_id(repository.name),
        "id": repository.name,
        "author": repository.namespace,
        "sha": commit.sha,
        "private": repository.private,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "lastModified": commit.date,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "siblings": [
            {"rfilename": path, **(_blob(file) if with_blobs else {})} for path, file in sorted(commit.files.items())
        ],
    }


def _blob(file: File) -> dict[str, Any]:
    blob = {"blobId": file.blob_id, "size": file.size}
    if file.pointer_size is None:
        return blob
    return {**blob, "lfs": {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}}


def _folders(commit: Commit) -> set[str]:
    return {str(folder) for path in commit.files for folder in list(PurePosixPath(path).parents)[:-1]}


def _entry(commit: Commit, path: str) -> dict[str, Any]:
    file = commit.files.get(path)
    if file is None:
        return {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
    entry = {"type": "file", "oid": file.blob_id, "size": file.size, "path": path}
    if file.pointer_size is None:
        return entry
    return {**entry, "lfs": {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}}


def paths_info(commit: Commit, paths: list[str]) -> list[dict[str, Any]]:
    """Information on the given files and folders, if they exist."""
    there = commit.files.keys() | _folders(commit)
    return [_entry(commit, path) for path in paths if path in there]


def tree(commit: Commit, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """The contents of a folder."""
    folders = _folders(commit)
    if folder and folder not in folders:
        raise no_entry(f"{folder} does not exist on this revision")
    prefix = f"{folder}/" if folder else ""
    inside = [path for path in sorted(folders | commit.files.keys()) if path.startswith(prefix)]
    return [_entry(commit, path) for path in inside if recursive or "/" not in path.removeprefix(prefix)]


def history(commit: Commit) -> list[dict[str, Any]]:
    """A commit and the ones before it, newest first."""
    return [
        {
            "id": past.sha,
            "title": past.title,
            "message": past.message,
            "date": past.date,
            "authors": [{"user": past.author}],
        }
        for past in commit.history()
    ]


def references(repository: Repository) -> dict[str, Any]:
    """The newest commits of branches and pull requests."""
    heads = {"branches": {}, "pullRequests": {}}
    for name, commit in repository.heads.items():
        heads["pullRequests" if name.startswith("refs/pr/") else "branches"][name] = commit.sha
    return {
        "branches": [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha} for name, sha in heads["branches"].items()
        ],
        "pullRequests": [
            {"name": name, "ref": name, "targetCommit": sha} for name, sha in heads["pullRequests"].items()
        ],
        "converts": [],
        "tags": [],
    }


def discussion(repository: Repository, kind: str, opened: PullRequest) -> dict[str, Any]:
    """A pull request in the list of discussions."""
    return {
        "num": opened.number,
        "title": opened.title,
        "author": {"name": opened.author},
        "status": "open",
        "isPullRequest": True,
        "createdAt": opened.date,
        "repo": {"name": repository.name, "type": kind.removesuffix("s")},
    }


def discussion_details(repository: Repository, kind: str, number: int) -> dict[str, Any]:
    """A pull request with its description and its commits."""
    if not 0 < number <= len(repository.pull_requests):
        raise RefusedError(HTTPStatus.NOT_FOUND, "", "Discussion not found")
    opened = repository.pull_requests[number - 1]
    said = {"raw": opened.message, "html": opened.message, "updatedAt": opened.date}
    comment = {"edited": False, "hidden": False, "latest": said, "history": []}
    events = [_event("comment", opened.author, opened.date, comment)]
    on_branch = {commit.sha for commit in repository.at(opened.branch).history()}
    for commit in reversed(list(repository.at(opened.reference).history())):
        if commit.sha not in on_branch:
            added = {"subject": commit.title, "oid": commit.sha}
            events.append(_event("commit", commit.author, commit.date, added))
    return {
        **discussion(repository, kind, opened),
        "changes": {"base": f"refs/heads/{opened.branch}"},
        "filesWithConflicts": [],
        "diff": "",
        "events": events,
    }


def _event(kind: str, author: str, date: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": hub_id(f"{kind}{date}"), "type": kind, "author": {"name": author}, "createdAt": date, "data": data}
