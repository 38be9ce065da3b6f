"""The loopback hub's file storage (serve.py): contents on disk, and the ids that git and the clients use for them."""

import hashlib
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

PIECE = 1 << 20
LARGEST_REGULAR = 1 << 20


@dataclass(eq=False)
class RefusedError(Exception):
    """An error response. Its `X-Error-Code` says whether a repository, a revision or a file is missing."""

    status: HTTPStatus
    code: str
    message: str
    details: Mapping[str, str] = field(default_factory=dict)
    """Further fields of the response's JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)


def no_entry(message: str, commit: str | None = None) -> RefusedError:
    """The error for a file or folder that the commit does not have."""
    headers = {} if commit is None else {"X-Repo-Commit": commit}
    return RefusedError(HTTPStatus.NOT_FOUND, "EntryNotFound", message, headers=headers)


def upload_mode(path: str, size: int) -> str:
    """Whether a file is uploaded as an LFS object or within the commit. An empty LFS object cannot be uploaded."""
    large = path.lower().endswith((".parquet", ".png")) or size > LARGEST_REGULAR
    return "lfs" if large and size else "regular"


@dataclass(frozen=True)
class File:
    """A file of a commit. Its content is stored under its sha256."""

    sha256: str
    size: int
    blob_id: str
    """Git's id of the blob in the tree. For an LFS object this is the pointer's id."""
    pointer_size: int | None
    """None if the file is not an LFS object."""

    @property
    def oid(self) -> str:
        """The id that the client compares with its own file's; also the ETag."""
        return self.blob_id if self.pointer_size is None else self.sha256


class Objects:
    """The contents of a repository's files. Each is stored in a file that is named by its sha256 and never changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[tuple[Path, int, int], str] = {}

    def path(self, sha256: str) -> Path:
        """The path of a content, whether or not it is stored."""
        return self.folder / sha256

    def add(self, pieces: Iterable[bytes], expected: str | None = None) -> str:
        """Store a content and return its sha256. A content that breaks off or has another sha256 is not stored."""
        digest = hashlib.sha256()
        self.folder.mkdir(parents=True, exist_ok=True)
        incoming = self.folder / f"incoming-{uuid.uuid4().hex}"
        try:
            with incoming.open("wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
            sha256 = digest.hexdigest()
            if expected not in (None, sha256):
                raise RefusedError(HTTPStatus.BAD_REQUEST, "", f"the content has sha256 {sha256}, not {expected}")
            incoming.replace(self.path(sha256))
        finally:
            incoming.unlink(missing_ok=True)
        return sha256

    def add_file(self, path: Path) -> str:
        """Store a file's content. A large file with unchanged size and time is not read again."""
        stat = path.stat()
        seen = (path, stat.st_size, stat.st_mtime_ns)
        if stat.st_size <= LARGEST_REGULAR:
            content = path.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            return sha256 if self.path(sha256).is_file() else self.add([content])
        if seen not in self._seen:
            with path.open("rb") as file:
                self._seen[seen] = self.add(iter(lambda: file.read(PIECE), b""))
        return self._seen[seen]

    def put(self, sha256: str, path: Path) -> None:
        """Write a stored content to a file."""
        copy = self.folder / f"outgoing-{sha256}"
        shutil.copyfile(self.path(sha256), copy)
        path.parent.mkdir(parents=True, exist_ok=True)
        copy.replace(path)
        stat = path.stat()
        self._seen[path, stat.st_size, stat.st_mtime_ns] = sha256

    def file(self, path: str, sha256: str) -> File:
        """The commit's entry for a content under this name."""
        content = self.path(sha256)
        size = content.stat().st_size
        if upload_mode(path, size) == "regular":
            return File(sha256, size, _blob_id(content.read_bytes()), None)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return File(sha256, size, _blob_id(pointer), len(pointer))


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
