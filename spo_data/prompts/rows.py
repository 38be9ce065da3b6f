"""Rows of a prompt dataset: from the Hub, from local files, or generated.

    load_rows("open-r1/DAPO-Math-17k-Processed", config="en")        Hub id, resolved to a commit first
    load_rows("data/*.parquet")                                      parquet, jsonl, json or csv: a file, glob or folder
    load_rows("reasoning-gym:chain_sum?max_terms=2&seed=7")          a generator with its parameters, size and seed

A Hub id is resolved to a commit before anything is downloaded: `datasets.load_dataset(id)` silently serves a stale
cache if the repository is gone or the Hub cannot be reached. Without a network (HF_HUB_OFFLINE) it is the commit that
the Hub's cache names. A generator's seed is 0 unless given: by default it would draw a random one, and a run could not
be resumed.
"""

import contextlib
import csv
import glob
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qsl

from spo_data.errors import UserError, first_line
from spo_data.hub.download import reach_dataset
from spo_data.hub.ids import may_be_id
from spo_data.hub.snapshot import README
from spo_data.json_text import read_json
from spo_data.prompts.builders import open_cached, open_own, open_parquet
from spo_data.prompts.card_files import ForeignFileError

GENERATOR_PREFIX = "reasoning-gym:"
FILE_FORMATS = {".parquet": "parquet", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv"}

Row = Mapping[str, Any]


class BadRowError(ValueError):
    """One row cannot become a prompt; `reason` says why. The row is counted and dropped, the others are used."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Rows:
    """The rows in order, the columns they share, and where they came from."""

    rows: Iterable[Row | BadRowError]
    columns: tuple[str, ...]
    source: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    """The commit on the Hub; None for local files and generators."""


def load_rows(
    dataset: str, *, config: str | None = None, split: str | None = None, revision: str | None = None
) -> Rows:
    """Load `dataset`; raises UserError, naming the choices, if it cannot be found or read."""
    if dataset.startswith(GENERATOR_PREFIX):
        _refuse(dataset, "a generator", config=config, split=split, revision=revision)
        return _generate(dataset)
    path = Path(dataset).expanduser()
    if os.path.isdir(path):
        _refuse(dataset, "a local folder", revision=revision)
        return _folder(path, config=config, split=split, source=dataset)
    if os.path.isfile(path) or any(character in dataset for character in "*?["):
        _refuse(dataset, "local files", config=config, revision=revision)
        _choose_split(split, ["train"], dataset)
        return _files([str(path)] if os.path.isfile(path) else sorted(glob.glob(str(path), recursive=True)), dataset)
    if not may_be_id(dataset, FILE_FORMATS, needs_owner=False):
        raise UserError(f"--dataset {dataset}: no such file or folder")
    return _hub(dataset, config=config, split=split, revision=revision)


def _refuse(dataset: str, kind: str, **options: str | None) -> None:
    for name, value in options.items():
        if value is not None:
            option = "--dataset-config" if name == "config" else f"--{name}"
            raise UserError(f"--dataset {dataset} is {kind}: {option} {value} does not apply to it")


def _generate(dataset: str) -> Rows:
    name, _, query = dataset.removeprefix(GENERATOR_PREFIX).partition("?")
    parameters = {"seed": 0, **{key: _literal(value) for key, value in parse_qsl(query, keep_blank_values=True)}}
    generator = reasoning_gym_dataset(name, parameters)

    def rows() -> Iterator[Row]:
        for index in range(len(generator)):
            try:
                entry = generator[index]
            except Exception as error:  # a generator raises any type for parameters that its own check accepted
                raise UserError(f"{dataset} cannot make problem {index}: {first_line(error)}") from error
            if entry["answer"] is None:
                raise UserError(f"{dataset} has no ground truths, only its own scorer, which is not supported")
            yield {
                "question": entry["question"],
                "answer": entry["answer"],
                "data_source": f"{GENERATOR_PREFIX}{name}",
                "task": {"generator": name, "parameters": parameters, "index": index},
            }

    return Rows(rows(), columns=("question", "answer", "data_source", "task"), source=dataset)


def reasoning_gym_dataset(name: str, parameters: Mapping[str, Any]) -> Any:
    """Return the generator `name` of reasoning-gym with its parameters; raises UserError if it refuses them."""
    import dataclasses
    import difflib
    import warnings

    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # cellpylib's, when Python compiles it
        from reasoning_gym.factory import DATASETS, create_dataset

    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=3) or sorted(DATASETS)[:5]
        raise UserError(f"reasoning-gym has no generator {name!r}; did you mean {', '.join(near)}?")
    known = [field.name for field in dataclasses.fields(DATASETS[name][1])]
    unknown = [key for key in parameters if key not in known]
    if unknown:
        raise UserError(f"{GENERATOR_PREFIX}{name} has no parameter {unknown[0]!r}; it has {', '.join(known)}")
    for key in ("seed", "size"):
        if key in parameters and type(parameters[key]) is not int:
            raise UserError(f"{GENERATOR_PREFIX}{name} refuses {key}={parameters[key]!r}: it must be an integer")
    try:
        return create_dataset(name, **parameters)
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f"{GENERATOR_PREFIX}{name} refuses {dict(parameters)}: {first_line(error)}") from error


def _literal(value: str) -> Any:
    try:
        return read_json(value)
    except ValueError:
        return value


def _folder(folder: Path, *, config: str | None, split: str | None, source: str) -> Rows:
    """Read a folder as its dataset card says; without a card, file names tell the splits, as on the Hub."""
    from datasets.data_files import EmptyDatasetError, get_data_patterns, resolve_pattern

    if (folder / README).is_file():
        _check_card(folder / README, source)
        return _load(partial(open_own, str(folder), config), config=config, split=split, source=source)
    _refuse(source, "a folder without a dataset card", config=config)
    splits: dict[str, list[str]] = {}
    try:
        for name, patterns in get_data_patterns(str(folder)).items():
            for pattern in patterns:
                with contextlib.suppress(FileNotFoundError):  # one matching pattern per split is enough
                    splits.setdefault(str(name), []).extend(resolve_pattern(pattern, str(folder)))
    except (FileNotFoundError, EmptyDatasetError) as error:
        raise UserError(f"--dataset {source}: the folder holds no data files") from error
    splits = {name: sorted(set(files)) for name, files in splits.items()}
    chosen = _choose_split(split, splits, source)
    return replace(_files(splits[chosen], source), split=chosen)


def _check_card(card: Path, source: str) -> None:
    try:
        card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--dataset {source}: its dataset card {card} cannot be read: {first_line(error)}") from error


def _files(names: list[str], source: str) -> Rows:
    names = [name for name in names if Path(name).is_file()]
    formats = {FILE_FORMATS.get(Path(name).suffix.lower()) for name in names}
    unknown = [name for name in names if FILE_FORMATS.get(Path(name).suffix.lower()) is None]
    if not names:
        raise UserError(f"--dataset {source}: no file matches")
    if unknown:
        raise UserError(f"--dataset {source}: {unknown[0]} is not one of {', '.join(FILE_FORMATS)}")
    if len(formats) > 1:
        raise UserError(f"--dataset {source} has files of several formats, {' and '.join(sorted(map(str, formats)))}")
    if formats == {"parquet"}:
        return _load(partial(open_parquet, names), source=source)
    return _text_files(names, _csv_rows if formats == {"csv"} else _json_rows, source)


def _text_files(names: list[str], read: Callable[[TextIO], Iterator[Row | BadRowError]], source: str) -> Rows:
    """Read rows without type inference, which makes 007 a 7.0, 2^100 a float and "None" a missing value."""

    def rows() -> Iterator[Row | BadRowError]:
        for name in names:
            try:
                with Path(name).open(encoding="utf-8-sig", newline="") as file:
                    yield from read(file)
            except (OSError, ValueError, csv.Error) as error:
                raise UserError(f"--dataset {source} cannot be read: {name}: {first_line(error)}") from error

    stream = rows()
    first = list(islice(stream, 100))
    columns = next((tuple(row) for row in first if not isinstance(row, BadRowError)), ())
    if not columns:
        raise UserError(f"--dataset {source} has no rows" + (f" that can be read ({first[0]})" if first else ""))
    return Rows(chain(first, stream), columns, source, split="train")


def _csv_rows(file: TextIO) -> Iterator[Row | BadRowError]:
    csv.field_size_limit(sys.maxsize)
    rows = csv.DictReader(file, strict=True)
    twins = [name for name, count in Counter(rows.fieldnames or ()).items() if name and count > 1]
    if twins:
        raise ValueError(f"it has two columns {twins[0]!r}")
    for row in rows:
        yield BadRowError("more_fields_than_columns") if None in row else row


def _json_rows(file: TextIO) -> Iterator[Row | BadRowError]:
    """Yield JSON objects, one per line or in one array; anything else is a bad row."""
    is_array = file.read(4096).lstrip().startswith("[")
    file.seek(0)
    for text in [file.read()] if is_array else file:
        if not text.strip():
            continue
        try:
            value = read_json(text, parse_float=str)
        except ValueError as error:
            if is_array:
                raise
            value = error
        for row in value if is_array else [value]:
            if isinstance(row, list) and row and all(isinstance(turn, dict) for turn in row):
                yield {str(number): turn for number, turn in enumerate(row)}  # ORZ's rows, as datasets names them
            else:
                yield row if isinstance(row, dict) else BadRowError("not_a_json_object", str(row))


def _hub(dataset: str, *, config: str | None, split: str | None, revision: str | None) -> Rows:
    with reach_dataset(dataset, revision, f"--dataset {dataset}") as found:
        if found.cached is None:
            make = partial(open_own, dataset, config, found.commit)
        else:
            make = partial(open_cached, found.cached, config)
        return _load(make, config=config, split=split, revision=found.commit, source=dataset)


def _load(
    make: Callable[[], Any],
    *,
    source: str,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> Rows:
    """Read the rows of the builder that `make` returns."""
    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)  # it logs what it raises
    try:
        builder = make()
        builder.download_and_prepare()
        loaded = builder.as_dataset()
    except UserError:
        raise
    except ForeignFileError as error:
        raise UserError(
            f"--dataset {source}: its card names {error}, which is not one of its files: correct the card, or give"
            " the files to read as --dataset"
        ) from error
    except Exception as error:  # datasets raises over a dozen unrelated types for a bad file or name
        if "gated dataset" in str(error):
            raise UserError(
                f"--dataset {source} is gated: accept its terms on its page, then `hf auth login`"
            ) from error
        detail = first_line(error.__cause__ or error)
        if "Config name is missing" in str(error) or "BuilderConfig" in str(error):
            detail = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
            raise UserError(f"--dataset {source} needs another --dataset-config: {detail}") from error
        raise UserError(f"--dataset {source} cannot be read: {detail}") from error
    split = _choose_split(split, loaded, source)
    rows = loaded[split]
    stream = _read_encoded(rows) if any(map(_is_decoded, rows.features.values())) else rows
    stream = _name_unreadable(stream, source)
    return Rows(stream, tuple(rows.column_names), source, config=config, split=split, revision=revision)


def _name_unreadable(rows: Iterable[Row], source: str) -> Iterator[Row]:
    """Yield rows; a value that Python cannot hold, such as the year 20,000, is an error."""
    try:
        yield from rows
    except Exception as error:  # each type of column raises its own
        raise UserError(f"--dataset {source} has a value that cannot be read: {first_line(error)}") from error


def _is_decoded(feature: Any) -> bool:
    """Whether a column's type is, or holds, images, audio or video, which take packages and seconds to decode."""
    inner = feature.values() if isinstance(feature, dict) else [getattr(feature, "feature", None)]
    return hasattr(feature, "decode") or any(_is_decoded(each) for each in inner if each is not None)


def _read_encoded(rows: Any) -> Iterator[Row]:
    """Yield rows whose images are a struct of bytes and path."""
    for batch in rows.with_format("arrow").iter(16):
        yield from batch.to_pylist()


def _choose_split(split: str | None, splits: Iterable[str], source: str) -> str:
    """Return the requested split, else train, else the only one; raises UserError if it does not exist."""
    splits = list(splits)
    wanted = split or ("train" if "train" in splits or len(splits) > 1 else splits[0])
    if wanted not in splits:
        raise UserError(f"--dataset {source} has no split {wanted!r}: choose --split {' | '.join(splits)}")
    return wanted
