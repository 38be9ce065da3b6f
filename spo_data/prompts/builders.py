"""Open a dataset with `datasets`: a folder or Hub dataset with a card, parquet files, or a dataset in the caches.

    builder = open_cached(dataset.cached, "en")       # a commit that is in the Hub's cache, without a network
    builder.download_and_prepare(), builder.as_dataset()

`datasets` keeps the rows that it prepares and takes them again too easily. Offline it takes the last ones of a Hub
dataset, of whatever commit. Of a folder with a card it takes those of any folder with this name and card, whatever the
files hold now. Each function here returns a builder of exactly the rows that are asked for.
"""

import glob
import hashlib
import tempfile
from pathlib import Path
from typing import Any

from spo_data.hub.cache import CachedRepository
from spo_data.hub.snapshot import README
from spo_data.prompts.card_files import ForeignFileError, find_foreign

_DESCRIPTIONS = (README, ".huggingface.yaml", "dataset_infos.json")
"""What `datasets` reads to learn which files a configuration has, and of which types."""


def open_own(dataset: str, config: str | None, revision: str | None = None) -> Any:
    """Return a builder of a folder or Hub dataset with a card; raises ForeignFileError for a file that is not its own.

    The rows of a folder are kept by the names, sizes and times of its files.
    """
    import datasets

    builder = datasets.load_dataset_builder(dataset, name=config, revision=revision)
    files = builder.config.data_files
    if (foreign := find_foreign(files, dataset)) is not None:
        raise ForeignFileError(foreign)
    if revision is not None:
        return builder
    seen = hashlib.sha256()
    for path in sorted({Path(name).resolve() for split in (files or {}).values() for name in split}):
        seen.update(f"{path}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\0".encode(errors="surrogateescape"))
    place = Path(datasets.config.HF_DATASETS_CACHE, "spo-data", "folders", seen.hexdigest()[:32])
    return datasets.load_dataset_builder(dataset, name=config, cache_dir=str(place))


def open_parquet(names: list[str]) -> Any:
    """Return a builder of parquet files."""
    import datasets

    return datasets.load_dataset_builder("parquet", data_files=[glob.escape(name) for name in names])


def open_cached(cached: CachedRepository, config: str | None) -> Any:
    """Return a builder of the rows; raises UserError for files that are not cached, and what `datasets` raises."""
    prepared = _find_prepared(cached, config)
    return _open_files(cached, config) if prepared is None else prepared


def _find_prepared(cached: CachedRepository, config: str | None) -> Any:
    """Return a builder of what `datasets` prepared of this commit; None if there is nothing."""
    import datasets
    from datasets.packaged_modules.cache.cache import Cache

    name = config or _find_default_config(cached)
    versions = Path(datasets.config.HF_DATASETS_CACHE, _to_file_name(cached.repo_id), name or "")
    folder = next((path.parent for path in versions.glob(f"*/{cached.commit}/dataset_info.json")), None)
    if name is None or folder is None:
        return None
    return Cache(
        repo_id=cached.repo_id,
        dataset_name=cached.repo_id.rpartition("/")[2],
        config_name=name,
        version=folder.parent.name,
        hash=cached.commit,
    )


def _to_file_name(repo_id: str) -> str:
    from datasets.naming import camelcase_to_snakecase

    owner, _, name = repo_id.rpartition("/")
    return f"{owner}___{camelcase_to_snakecase(name)}" if owner else str(camelcase_to_snakecase(name))


def _find_default_config(cached: CachedRepository) -> str | None:
    """Return the configuration that `datasets` takes if none is named; None if that cannot be told from the cache."""
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    card = cached.find(README)
    if card is None:
        return "default" if cached.is_absent(README) else None
    configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(card).data)
    default = configs.get_default_config_name() if configs else "default"
    return None if default is None else str(default)


def _open_files(cached: CachedRepository, config: str | None) -> Any:
    """Return a builder of the files in the Hub's cache; raises UserError if one is missing.

    `datasets` says which files a configuration has: it is shown a folder of empty files with the names of all.
    """
    import datasets
    from datasets.data_files import DataFilesDict, DataFilesList

    names = [name for name in cached.require_list() if not name.startswith("/") and ".." not in name.split("/")]
    described = [name for name in _DESCRIPTIONS if name in names]
    texts = {name: path.read_bytes() for name, path in zip(described, cached.require(described), strict=True)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "dataset"  # a plain name: it must not read like a split's
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(texts.get(name, b""))
        # Prepared rows are kept by commit: `datasets` does not look at the files of a folder that it has prepared.
        cache = Path(datasets.config.HF_DATASETS_CACHE, "spo-data", _to_file_name(cached.repo_id), cached.commit)
        builder = datasets.load_dataset_builder(str(folder), name=config, cache_dir=str(cache))
        if (foreign := find_foreign(builder.config.data_files, str(folder))) is not None:
            raise ForeignFileError(foreign)
        found = {
            split: [Path(path).relative_to(folder).as_posix() for path in paths]
            for split, paths in (builder.config.data_files or {}).items()
        }
        cached.require(name for names in found.values() for name in names)
    builder.config.data_files = DataFilesDict(
        {
            split: DataFilesList(
                [str(cached.folder / name) for name in names], [(cached.commit, name) for name in names]
            )
            for split, names in found.items()
        }
    )
    return builder
