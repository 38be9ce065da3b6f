"""A read-only Hugging Face hub on loopback, for the real `huggingface_hub` and `datasets` clients.

    python tests/hub.py ROOT        prints its address on one line, serves until it is killed

It serves ROOT/{datasets,models}/ORG/NAME/REVISION/…: each REVISION folder is a branch (`main` is the default), and its
commit is a hash of its files, so an edit of a file is a new commit. A repository whose name starts with `gated-` shows
its page and refuses its files, as the real hub does. Every request is appended to ROOT/requests.log as `METHOD PATH`.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class RefusedError(Exception):
    """An answer other than 200; the clients tell a repository, a revision and a file apart by its `X-Error-Code`."""

    status: HTTPStatus
    code: str


NO_REPOSITORY = RefusedError(HTTPStatus.UNAUTHORIZED, "RepoNotFound")
NO_REVISION = RefusedError(HTTPStatus.NOT_FOUND, "RevisionNotFound")
NO_ENTRY = RefusedError(HTTPStatus.NOT_FOUND, "EntryNotFound")
GATED = RefusedError(HTTPStatus.UNAUTHORIZED, "GatedRepo")


def commit_of(branch: Path) -> str:
    """The commit of a revision folder: 40 hex digits over its files' names and contents."""
    digest = hashlib.sha1(usedforsecurity=False)
    for path in _files(branch):
        digest.update(f"{path.relative_to(branch).as_posix()}\0{blob_of(path)}\n".encode())
    return digest.hexdigest()


def blob_of(path: Path) -> str:
    """The id of a file's content, its ETag."""
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


def _files(branch: Path) -> list[Path]:
    return sorted(path for path in branch.rglob("*") if path.is_file())


def _branch(repository: Path, revision: str) -> Path:
    if not repository.is_dir():
        raise NO_REPOSITORY
    branches = [path for path in sorted(repository.iterdir()) if path.is_dir()]
    for branch in branches:
        if revision in (branch.name, commit_of(branch)):
            return branch
    raise NO_REVISION


def _info(repository: Path, revision: str) -> dict[str, Any]:
    branch = _branch(repository, revision)
    name = f"{repository.parent.name}/{repository.name}"
    return {
        "_id": hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:24],
        "id": name,
        "author": repository.parent.name,
        "sha": commit_of(branch),
        "private": False,
        "gated": "manual" if repository.name.startswith("gated-") else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "lastModified": "2026-01-01T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "siblings": [{"rfilename": path.relative_to(branch).as_posix()} for path in _files(branch)],
    }


def _entry(branch: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(branch).as_posix()
    if path.is_dir():
        return {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
    return {"type": "file", "oid": blob_of(path), "size": path.stat().st_size, "path": name}


def _tree(branch: Path, folder: str, recursive: bool) -> list[dict[str, Any]]:
    top = branch / folder
    if not top.is_dir():
        raise NO_ENTRY
    return [_entry(branch, path) for path in sorted(top.rglob("*") if recursive else top.iterdir())]


class Handler(BaseHTTPRequestHandler):
    """The endpoints that loading a dataset or a model's file calls."""

    root: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer a HEAD: the headers that a GET would have."""
        self._answer()

    def do_POST(self) -> None:
        """Answer `paths-info`."""
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # the base class's name
        """Keep standard error clean; requests.log has every request."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with (self.root / "requests.log").open("a") as log:
            log.write(f"{self.command} {self.path}\n")
        try:
            self._route(body)
        except RefusedError as refusal:
            content = json.dumps({"error": refusal.code}).encode()
            headers = {
                "X-Error-Code": refusal.code,
                "X-Error-Message": refusal.code,
                "Content-Type": "application/json",
            }
            self._send(refusal.status, content, headers)

    def _route(self, body: bytes) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        match [unquote(part) for part in url.path.strip("/").split("/")]:
            case ["api", ("datasets" | "models") as kind, org, name]:
                self._json(_info(self.root / kind / org / name, "main"))
            case ["api", ("datasets" | "models") as kind, org, name, "revision", revision]:
                self._json(_info(self.root / kind / org / name, revision))
            case ["api", ("datasets" | "models") as kind, org, name, "tree", revision, *folder]:
                branch = _branch(self.root / kind / org / name, revision)
                self._json(_tree(branch, "/".join(folder), query.get("recursive", [""])[0].lower() == "true"))
            case ["api", ("datasets" | "models") as kind, org, name, "paths-info", revision]:
                branch = _branch(self.root / kind / org / name, revision)
                asked = _asked_paths(body)
                self._json([_entry(branch, branch / path) for path in asked if (branch / path).exists()])
            case ["api", "datasets" | "models", _]:
                raise NO_REPOSITORY
            case ["datasets", org, name, "resolve", revision, *path]:
                self._file(self.root / "datasets" / org / name, revision, "/".join(path))
            case [org, name, "resolve", revision, *path]:
                self._file(self.root / "models" / org / name, revision, "/".join(path))
            case _:
                raise NO_ENTRY

    def _file(self, repository: Path, revision: str, name: str) -> None:
        branch = _branch(repository, revision)
        if repository.name.startswith("gated-"):
            raise GATED
        path = branch / name
        if not path.is_file():
            raise NO_ENTRY
        headers = {"ETag": f'"{blob_of(path)}"', "X-Repo-Commit": commit_of(branch), "Accept-Ranges": "none"}
        self._send(HTTPStatus.OK, path.read_bytes(), headers)

    def _json(self, value: Any) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: HTTPStatus, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _asked_paths(body: bytes) -> list[str]:
    if body.startswith(b"{"):
        asked = json.loads(body)["paths"]
        return [asked] if isinstance(asked, str) else asked
    return parse_qs(body.decode()).get("paths", [])


def main() -> None:
    """Serve the folder named on the command line on a free port of 127.0.0.1."""
    Handler.root = Path(sys.argv[1])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
