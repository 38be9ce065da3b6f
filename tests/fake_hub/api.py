"""The endpoints of the loopback hub (serve.py) that clients call to load and to push."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import yaml

from fake_hub import replies as hub_json
from fake_hub.objects import RefusedError, no_entry, upload_mode
from fake_hub.store import Proposal, Repository, Store


@dataclass(frozen=True)
class User:
    """A user with a token."""

    name: str
    namespaces: tuple[str, ...]
    """The namespaces that the user may write to."""


USERS = {"hf_writer": User("me", ("me", "org")), "hf_reader": User("reader", ())}


@dataclass(frozen=True)
class Request:
    """A client's request."""

    method: str
    parts: list[str]
    """The segments of the URL's path."""
    query: Mapping[str, str]
    headers: Message
    pieces: Iterator[bytes]
    """The body, in pieces."""

    def target(self) -> tuple[str, str, list[str]]:
        """The repository's kind, its ORG/NAME, and the rest of the path."""
        match self.parts:
            case ["api", ("datasets" | "models") as kind, organisation, name, *about]:
                return kind, f"{organisation}/{name}", ["api", *about]
            case ["datasets", organisation, name, *about]:
                return "datasets", f"{organisation}/{name.removesuffix('.git')}", about
            case [organisation, name, *about] if organisation != "api":
                return "models", f"{organisation}/{name.removesuffix('.git')}", about
        raise RefusedError(HTTPStatus.UNAUTHORIZED, "RepoNotFound", "Repository not found")

    def user(self) -> User | None:
        """The user who sent the request, or None without a token."""
        authorization = self.headers.get("Authorization")
        if authorization is None:
            return None
        user = USERS.get(authorization.removeprefix("Bearer "))
        if user is None:
            raise self._refused_login()
        return user

    def known_user(self) -> User:
        """The user who sent the request. Refuse a request without a token."""
        user = self.user()
        if user is None:
            raise self._refused_login()
        return user

    def writer(self, repository: Repository, revision: str | None) -> User:
        """The user who sent the request. Refuse users who may not write to the branch or pull request.

        If `revision` is None, the request opens a pull request, which every known user may do.
        """
        user = self.known_user()
        own = [opened.reference for opened in repository.pull_requests if opened.author == user.name]
        if revision is None or revision in own or repository.namespace in user.namespaces:
            return user
        message = "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request"
        raise RefusedError(HTTPStatus.FORBIDDEN, "", message)

    def page(self, kind: str, name: str) -> str:
        """The URL of a repository's page."""
        return f"http://{self.headers['Host']}/{'datasets/' if kind == 'datasets' else ''}{name}"

    def _refused_login(self) -> RefusedError:
        # Over https, which this server does not use, the client treats any 401 on such a URL as a missing repository.
        about_a_repository = (self.parts[0] == "api" and len(self.parts) > 3) or "resolve" in self.parts
        code = "RepoNotFound" if about_a_repository else ""
        return RefusedError(HTTPStatus.UNAUTHORIZED, code, "Invalid username or password.")


@dataclass(frozen=True)
class Answer:
    """The response: bytes, or a part of a file."""

    content: bytes | Path
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    part: range = range(0)

    @classmethod
    def of(cls, value: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> "Answer":
        """A value as JSON."""
        return cls(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})


class Api:
    """The endpoints."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def answer(self, request: Request) -> Answer:
        """Carry out a request."""
        try:
            if request.method == "PUT":
                return self._receive(request)
            body = b"".join(request.pieces)
            with self.store.lock:
                return self._route(request, body)
        except RefusedError as refusal:
            headers = {"X-Error-Message": refusal.message, **refusal.headers} | (
                {"X-Error-Code": refusal.code} if refusal.code else {}
            )
            return Answer.of({"error": refusal.message, **refusal.details}, refusal.status, headers)

    def commit_meanwhile(self, request: Request, texts: Mapping[str, str | None]) -> None:
        """Commit as another user to the branch that a request is about."""
        kind, name, about = request.target()
        with self.store.lock:
            repository = self.store.find(kind, name)
            if repository is None:
                raise LookupError(f"faults.json: no repository {name} to commit to")
            branch = about[2] if len(about) > 2 and about[2] in repository.heads else "main"
            repository.commit(branch, Proposal.of_texts(texts, "somebody"))

    def _route(self, request: Request, body: bytes) -> Answer:
        user = request.user()
        match request.method, request.parts:
            case "GET", ["api", "whoami-v2"]:
                return _whoami(request.known_user())
            case "POST", ["api", "repos", "create"]:
                return self._create(request, json.loads(body))
            case "POST", ["api", "validate-yaml"]:
                return _checked_card(json.loads(body)["content"])
        kind, name, about = request.target()
        repository = self.store.find(kind, name)
        if repository is None or (repository.private and user is None):
            status = HTTPStatus.UNAUTHORIZED if user is None else HTTPStatus.NOT_FOUND
            raise RefusedError(status, "RepoNotFound", "Repository not found")
        match request.method, about:
            case "GET", ["api"]:
                return Answer.of(hub_json.info(repository, repository.at("main"), "blobs" in request.query))
            case "GET", ["api", "revision", revision]:
                return Answer.of(hub_json.info(repository, repository.at(revision), "blobs" in request.query))
            case "GET", ["api", "tree", revision, *folder]:
                recursive = request.query.get("recursive", "").lower() == "true"
                return Answer.of(hub_json.tree(repository.at(revision), "/".join(folder), recursive))
            case "POST", ["api", "paths-info", revision]:
                return Answer.of(hub_json.paths_info(repository.at(revision), _asked_paths(body)))
            case "GET", ["api", "commits", revision]:
                return Answer.of(hub_json.history(repository.at(revision)))
            case "GET", ["api", "refs"]:
                return Answer.of(hub_json.references(repository))
            case "GET", ["api", "discussions"]:
                return _discussions(kind, repository, request.query)
            case "GET", ["api", "discussions", number]:
                return Answer.of(hub_json.discussion_details(repository, kind, int(number)))
            case "POST", ["api", "branch", branch]:
                request.writer(repository, branch)
                repository.create_branch(branch, json.loads(body).get("startingPoint", "main"))
                return Answer.of({})
            case "POST", ["api", "preupload", revision]:
                request.writer(repository, None if "create_pr" in request.query else revision)
                return _preupload(repository, revision, json.loads(body))
            case "POST", ["info", "lfs", "objects", "batch"]:
                return _batch(request, kind, repository, json.loads(body))
            case "POST", ["info", "lfs", "objects", "verify"]:
                request.writer(repository, None)
                return _verify(repository, json.loads(body))
            case "POST", ["api", "commit", branch]:
                return _commit(request, kind, repository, branch, body)
            case (("GET" | "HEAD"), ["resolve", revision, *path]):
                return _file(request, repository, revision, "/".join(path))
        raise no_entry(f"tests/fake_hub/serve.py has no {request.method} {'/'.join(request.parts)}")

    def _create(self, request: Request, asked: Mapping[str, Any]) -> Answer:
        user = request.known_user()
        kind = f"{asked.get('type') or 'model'}s"
        organisation = asked.get("organization") or user.name
        name = f"{organisation}/{asked['name']}"
        if organisation not in user.namespaces:
            message = f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{organisation}"'
            raise RefusedError(HTTPStatus.FORBIDDEN, "", message)
        url = request.page(kind, name)
        if self.store.find(kind, name) is not None:
            message = f"You already created this {kind[:-1]} repo: {name}"
            raise RefusedError(HTTPStatus.CONFLICT, "", message, {"url": url})
        self.store.create(kind, name, asked.get("visibility") == "private")
        return Answer.of({"url": url, "name": name})

    def _receive(self, request: Request) -> Answer:
        """Receive an LFS object. It needs no token, as with a signed URL."""
        kind, name, about = request.target()
        with self.store.lock:
            repository = self.store.find(kind, name)
        match about:
            case ["info", "lfs", "objects", sha256] if repository is not None:
                repository.objects.add(request.pieces, expected=sha256)
                return Answer(b"")
        raise no_entry(f"tests/fake_hub/serve.py has no PUT {'/'.join(request.parts)}")


def _whoami(user: User) -> Answer:
    role = "write" if user.namespaces else "read"
    return Answer.of(
        {
            "type": "user",
            "id": hub_json.hub_id(user.name),
            "name": user.name,
            "fullname": user.name,
            "orgs": [{"type": "org", "name": name, "roleInOrg": "write"} for name in user.namespaces[1:]],
            "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": role}},
        }
    )


def _checked_card(card: str) -> Answer:
    metadata = re.match(r"---\n(.*?)^---$", card, re.DOTALL | re.MULTILINE)
    if metadata is None:
        return Answer.of({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    try:
        wrong = "" if isinstance(yaml.safe_load(metadata[1]), dict) else "the metadata is not a mapping"
    except yaml.YAMLError as error:
        wrong = str(error)
    if wrong:
        return Answer.of({"errors": [{"message": wrong}], "warnings": []}, HTTPStatus.BAD_REQUEST)
    return Answer.of({"errors": [], "warnings": []})


def _asked_paths(body: bytes) -> list[str]:
    if body.startswith(b"{"):
        asked = json.loads(body)["paths"]
        return [asked] if isinstance(asked, str) else asked
    return parse_qs(body.decode()).get("paths", [])


def _discussions(kind: str, repository: Repository, asked: Mapping[str, str]) -> Answer:
    found = [
        hub_json.discussion(repository, kind, opened)
        for opened in reversed(repository.pull_requests)
        if asked.get("author", opened.author) == opened.author
        and asked.get("type", "all") in ("all", "pull_request")
        and asked.get("status", "all") in ("all", "open")
    ]
    return Answer.of({"discussions": found, "count": len(found), "start": 0})


def _preupload(repository: Repository, revision: str, asked: Mapping[str, Any]) -> Answer:
    there = repository.at(revision).files
    files = []
    for file in asked["files"]:
        path = file["path"]
        oid = {"oid": there[path].oid} if path in there else {}
        mode = upload_mode(path, file["size"])
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **oid})
    return Answer.of({"files": files})


def _batch(request: Request, kind: str, repository: Repository, asked: Mapping[str, Any]) -> Answer:
    request.writer(repository, asked.get("ref", {}).get("name"))
    here = f"{request.page(kind, repository.name)}.git/info/lfs/objects"
    objects = []
    for wanted in asked["objects"]:
        oid = wanted["oid"]
        actions = {"upload": {"href": f"{here}/{oid}"}, "verify": {"href": f"{here}/verify"}}
        missing = {} if repository.objects.path(oid).is_file() else {"actions": actions}
        objects.append({"oid": oid, "size": wanted["size"], **missing})
    return Answer.of({"transfer": "basic", "objects": objects})


def _verify(repository: Repository, asked: Mapping[str, Any]) -> Answer:
    content = repository.objects.path(asked["oid"])
    if not content.is_file() or content.stat().st_size != asked["size"]:
        raise no_entry(f"no object {asked['oid']} of {asked['size']} bytes")
    return Answer.of({})


def _commit(request: Request, kind: str, repository: Repository, branch: str, body: bytes) -> Answer:
    opening = "create_pr" in request.query
    user = request.writer(repository, None if opening else branch)
    proposal = Proposal.read(body, user.name)
    page = request.page(kind, repository.name)
    pull_request = {}
    if opening:
        opened, made = repository.open_pull_request(branch, proposal)
        pull_request["pullRequestUrl"] = f"{page}/discussions/{opened.number}"
    else:
        made = repository.commit(branch, proposal)
    told = {"success": True, "commitOid": made.sha, "commitUrl": f"{page}/commit/{made.sha}", "hookOutput": ""}
    return Answer.of({**told, **pull_request})


def _file(request: Request, repository: Repository, revision: str, path: str) -> Answer:
    commit = repository.at(revision)
    if repository.gated:
        raise RefusedError(HTTPStatus.UNAUTHORIZED, "GatedRepo", "Access to this repository is restricted.")
    file = commit.files.get(path)
    if file is None:
        raise no_entry(f"{path} does not exist on this revision", commit.sha)
    content = repository.objects.path(file.sha256)
    headers = {"ETag": f'"{file.oid}"', "X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
    whole = range(file.size)
    match re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", "")):
        case None:
            return Answer(content, HTTPStatus.OK, headers, whole)
        case asked if asked[1]:
            part = whole[int(asked[1]) : int(asked[2]) + 1 if asked[2] else None]
        case asked:
            part = whole[max(file.size - int(asked[2] or 0), 0) :]
    if not part:
        headers["Content-Range"] = f"bytes */{file.size}"
        return Answer(b"", HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
    return Answer(content, HTTPStatus.PARTIAL_CONTENT, headers, part)
