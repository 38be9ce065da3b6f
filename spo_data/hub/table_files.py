"""Which files of a dataset repository hold its tables, as far as `datasets` reads them.

    tables = find_tables(["data/train-00000-of-00001.parquet", "LICENSE"], configs=[], repo_name="name")
    tables.files            # ("data/train-00000-of-00001.parquet",)

`datasets` itself says so: it is shown a folder of empty files with the same names, once for each config. It would also
look for files that a card names outside the repository, on this machine or anywhere else: `find_outside` finds those.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from spo_data.errors import first_line

WORDS_AND_PICTURES = frozenset(
    {".bmp", ".gif", ".htm", ".html", ".jpeg", ".jpg", ".md", ".pdf", ".png", ".rst", ".svg", ".txt", ".webp"}
)
"""No tables, although a pattern such as `**` matches them."""
_WORDS = ("text", "harbor")
_MEDIA = "folder"
"""`datasets` reads any .txt and .md, and any picture. They are tables only if a config says so: a repository's notes
and illustrations are no dataset. The names of its readers of media end so."""
_DESCRIPTIONS = ("dataset_infos.json", ".huggingface.yaml")
"""Files beside the README from which `datasets` reads configs, features and splits."""


@dataclass(frozen=True)
class Tables:
    """The tables of a repository."""

    files: tuple[str, ...]
    """The files that hold or describe them, sorted."""
    media: tuple[str, ...] = ()
    """Pictures, sounds and the like that `load_dataset` reads although no config names them; they hold no tables."""
    unclear: Mapping[str, str] = field(default_factory=dict)
    """The configs whose files cannot be told, with the reason."""


def find_tables(names: Collection[str], configs: Sequence[Mapping[str, Any]], repo_name: str) -> Tables:
    """Find the files of these configs (as in a card's header); without configs, those that are loaded by default."""
    files = {name for name in (*_DESCRIPTIONS, f"{repo_name}.py") if name in names}
    media: set[str] = set()
    unclear = {}
    for config in configs or [{}]:
        if (outside := find_outside(config)) is not None:
            unclear[str(config.get("config_name", "default"))] = f"it names {outside}, outside the repository"
            continue
        try:
            reader, found = _load(names, config)
        except FileNotFoundError:
            continue  # it has no files
        except Exception as error:  # `datasets` raises whatever its readers raise
            unclear[str(config.get("config_name", "default"))] = first_line(error)
            continue
        if config and (reader in _WORDS or reader.endswith(_MEDIA)):
            files |= found
        elif reader.endswith(_MEDIA):
            media |= found
        elif reader not in _WORDS:
            files |= {name for name in found if PurePosixPath(name).suffix.lower() not in WORDS_AND_PICTURES}
    return Tables(tuple(sorted(files)), tuple(sorted(media)), unclear)


def find_outside(config: Mapping[str, Any]) -> str | None:
    """Return the first path of a card's config that leads out of the card's folder; None if all stay inside."""
    return next(
        (path for path in _list_paths([config.get("data_dir"), config.get("data_files")]) if _leads_out(path)), None
    )


def _list_paths(value: Any) -> Iterator[str]:
    """Yield the texts in what a card says of its files: a path, a list, or a mapping with a split and a path."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _list_paths(inner)


def _leads_out(path: str) -> bool:
    return path.startswith(("/", "~")) or ".." in path.split("/") or bool(urlsplit(path).scheme)


def _load(names: Collection[str], config: Mapping[str, Any]) -> tuple[str, set[str]]:
    """What `datasets` takes the files for, and the files that it would read."""
    import datasets

    with tempfile.TemporaryDirectory() as place, _quiet():
        folder = Path(place).resolve() / "dataset"  # a plain name: it must not read like a split's
        folder.mkdir()
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        for description in (*_DESCRIPTIONS, "README.md"):
            (folder / description).unlink(missing_ok=True)
        if config:
            known = {key: config[key] for key in ("config_name", "data_files", "data_dir") if key in config}
            (folder / "README.md").write_text(f"---\n{json.dumps({'configs': [known]})}\n---\n", encoding="utf-8")
        builder = datasets.load_dataset_builder(str(folder), cache_dir=f"{place}/cache")
        found = [Path(path) for paths in (builder.config.data_files or {}).values() for path in paths]
        return type(builder).__module__.rpartition(".")[2], {path.relative_to(folder).as_posix() for path in found}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the Hub client's remark that a folder has no card."""
    logger = logging.getLogger("huggingface_hub.repocard")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
