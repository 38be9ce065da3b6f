"""A Hub cache that is written by hand, on a machine without a network.

use_offline(monkeypatch, tmp_path)
write_cached(tmp_path / "models--acme--tiny", {"config.json": b"{}"}, names=["config.json", "model.safetensors"])
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def use_offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Take a folder as the Hub's cache, and no network."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def write_cached(
    repository: Path, files: Mapping[str, bytes], names: Collection[str] = (), absent: Collection[str] = ()
) -> Path:
    """Put files of the commit that is `main` into a repository's cache; returns their folder.

    `names` become the list of the commit's files, as `hf download` leaves it; `absent` are known not to exist.
    """
    snapshot = repository / "snapshots" / COMMIT
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    unknown = repository / ".no_exist" / COMMIT
    for folder, contents in ((snapshot, files), (unknown, dict.fromkeys(absent, b""))):
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    if names:
        (repository / "trees").mkdir()
        entries = {name: {"size": 2, "blob_id": "0" * 40} for name in names}
        (repository / "trees" / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": entries}))
    return snapshot
