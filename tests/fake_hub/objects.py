"""What the loopback hub (serve.py) keeps of files: their contents on disk, and what git and the clients call them."""

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
    """An answer that is an error; the clients tell a repository, a revision and a file apart by its `X-Error-Code`."""

    status: HTTPStatus
    code: str
    message: str
    details: Mapping[str, str] = field(default_factory=dict)
    """More of the answer's JSON."""


def no_entry(message: str) -> RefusedError:
    """There is no such file or folder in the commit."""
    return RefusedError(HTTPStatus.NOT_FOUND, "EntryNotFound", message)


def upload_mode(path: str, size: int) -> str:
    """How a file travels: as an LFS object or within the commit. An empty object cannot be uploaded."""
    large = path.lower().endswith((".parquet", ".png")) or size > LARGEST_REGULAR
    return "lfs" if large and size else "regular"


@dataclass(frozen=True)
class File:
    """A file of a commit; its content is the object of its sha256."""

    sha256: str
    size: int
    blob_id: str
    """Git's id of what is in the tree: of the pointer, where the file is an LFS object."""
    pointer_size: int | None
    """None where the file is not an LFS object."""

    @property
    def oid(self) -> str:
        """What the client compares with the id of its own file; also the ETag."""
        return self.blob_id if self.pointer_size is None else self.sha256


class Objects:
    """The contents of a repository's files, each a file that is named by its sha256 and never changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[tuple[Path, int, int], str] = {}

    def path(self, sha256: str) -> Path:
        """Where a content is, if it is there."""
        return self.folder / sha256

    def add(self, pieces: Iterable[bytes], expected: str | None = None) -> str:
        """Keep a content and return its sha256; nothing is kept of one that breaks off or is not the expected one."""
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
        """Keep the content of a file; a large one that looks as it did is not read again."""
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
        """Make a file have a content."""
        copy = self.folder / f"outgoing-{sha256}"
        shutil.copyfile(self.path(sha256), copy)
        path.parent.mkdir(parents=True, exist_ok=True)
        copy.replace(path)
        stat = path.stat()
        self._seen[path, stat.st_size, stat.st_mtime_ns] = sha256

    def file(self, path: str, sha256: str) -> File:
        """What a content is in a commit, under this name."""
        content = self.path(sha256)
        size = content.stat().st_size
        if upload_mode(path, size) == "regular":
            return File(sha256, size, _blob_id(content.read_bytes()), None)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return File(sha256, size, _blob_id(pointer), len(pointer))


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
