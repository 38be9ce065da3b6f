"""What a Hub dataset holds before a push, compared with the run that is pushed.

    found = find_published(snapshot, manifest, own_prompts)
    found.kind, found.describe()        # "other_values", "values of another policy (temperature 0.6 → 1)"

Values are ours if each of their files records the policy, dataset and grader. Policy and dataset must be the same; the
grader, n, the seed and the number of prompts may differ, and each difference is said. A dataset is the same if its
fingerprint is, or if its name is and it shares prompts with the run. Values of another policy or dataset, and tables
that are no values of ours, are somebody's: only `--replace` puts a run in their place.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from spo_data.card.merge import Readme, is_default, list_configs, read_header
from spo_data.card.write import HISTOGRAM
from spo_data.hub.snapshot import README, Snapshot
from spo_data.hub.table_files import Tables, find_tables
from spo_data.provenance import DatasetRecord, PolicyRecord, Provenance
from spo_data.run.manifest import MANIFEST, Manifest, policy_differences
from spo_data.run.parquet_tables import OWN_FILE
from spo_data.text import excerpt
from spo_data.values.parquet import parquet_file
from spo_data.values.schema import read_provenance
from spo_pipelines.overlap import Overlap, OwnPrompts, count_overlap

OWNED = re.compile(rf"(values|samples)/{OWN_FILE.pattern}")
"""Files with these names are from an earlier push if a commit does not write them, and are deleted."""
NAMED = 5
"""Files that a message names."""
_OUR_CONFIGS = ("values", "samples")
_NO_TABLES = frozenset({README, ".gitattributes", MANIFEST, HISTOGRAM})
_PASSING = {"verifier": "verifier", "version": "verifier version", "truncated": "truncated", "seed": "seed"}
"""What policy_differences also compares and an update may change, with its name in messages."""

Kind = Literal["new", "empty", "same", "other_values", "other_dataset"]


@dataclass(frozen=True)
class Published:
    """What a repository holds."""

    kind: Kind
    differences: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """What makes the values another's: policy and dataset, there and here."""
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """What an update of the same values changes: grader, seed, dataset revision, n, prompts."""
    overlap: Overlap | None = None
    """How many of the prompts are the run's; None if all are, or if it cannot be told."""
    provenance: Provenance | None = None
    prompts: int | None = None
    configs: tuple[str, ...] = ()
    """The card's configs that are not ours."""
    default: str | None = None
    """The one of them that `load_dataset` takes if none is named."""
    tables: Tables = Tables(())
    """The files of those configs; without configs, of the tables that are loaded by default."""
    values: tuple[str, ...] = ()
    """The files of our values and samples."""
    columns: tuple[str, ...] = ()
    """The columns of the first of them, if it is parquet."""

    @property
    def is_anothers(self) -> bool:
        """Whether a push would replace what is not the same values."""
        return self.kind in ("other_values", "other_dataset")

    def describe(self) -> str:
        """What is there, for messages, without the repository's name."""
        match self.kind:
            case "new":
                return "nothing: it is a new dataset"
            case "empty":
                return "no tables"
            case "same":
                return "values of the same policy and dataset" + (f" ({self._show()})" if self.changes else "")
            case "other_values":
                policy, dataset = self.differences.keys() - {"dataset"}, "dataset" in self.differences
                whose = " and ".join(["policy"] * bool(policy) + ["dataset"] * dataset)
                return f"values of another {whose} ({self._show()})"
        parts = [f"config {', '.join(self.configs)}"] * bool(self.configs)
        parts += [f"columns {excerpt(', '.join(self.columns), 80)}"] * bool(self.columns)
        return f"tables that record no policy ({'; '.join([*parts, self.name_files()])})"

    def name_files(self) -> str:
        """The first files of the tables, and the configs whose files are not known."""
        files = self.tables.files or self.tables.media
        unclear = [f"the files of {config} cannot be told ({why})" for config, why in self.tables.unclear.items()]
        return "; ".join([*([name_first(files)] if files else []), *unclear])

    def _show(self) -> str:
        both = {**self.differences, **self.changes}
        said = {name: f"{name} {before} → {after}" for name, (before, after) in both.items()}
        if "prompts" in said and self.overlap is not None:
            said["prompts"] += f": {self.overlap}"
        return ", ".join(said.values())

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        said = None if self.provenance is None else self.provenance.model_dump(mode="json")
        return {
            "kind": self.kind,
            "differences": {name: list(both) for name, both in self.differences.items()},
            "changes": {name: list(both) for name, both in self.changes.items()},
            "prompts": self.prompts,
            "overlap": None if self.overlap is None else asdict(self.overlap),
            "provenance": said,
            "configs": list(self.configs),
            "files": [*self.values, *self.tables.files],
            "media": list(self.tables.media),
            "columns": list(self.columns),
        }


def name_first(files: Sequence[str]) -> str:
    """The first files, and how many more there are."""
    more = f" and {len(files) - NAMED:,} more" if len(files) > NAMED else ""
    return ", ".join(files[:NAMED]) + more


def find_published(there: Snapshot, ours: Manifest, prompts: OwnPrompts) -> Published:
    """Find what a repository holds."""
    configs = [] if there.readme is None else list_configs(read_header(readme_of(there)))
    provenance, rows = _read_values(there)
    others = [config for config in configs if provenance is None or config.get("config_name") not in _OUR_CONFIGS]
    names = there.files.keys() - _NO_TABLES
    name = there.repo_id.rpartition("/")[2]
    tables = find_tables(names, others, name) if names and (others or provenance is None) else Tables(())
    theirs: dict[str, Any] = {
        "configs": tuple(str(config.get("config_name")) for config in others),
        "default": next((str(config.get("config_name")) for config in others if is_default(config)), None),
        "tables": tables,
    }
    if provenance is None:
        if not (tables.files or tables.media or tables.unclear):
            return Published("new" if there.is_new else "empty", **theirs)
        return Published("other_dataset", columns=_read_columns(there, tables), **theirs)
    alike = provenance.dataset.fingerprint == ours.dataset.fingerprint
    has_all = alike and rows == len(prompts.with_value) and not prompts.without_value
    ids = None if has_all else _read_prompt_ids(there)
    overlap = None if ids is None else count_overlap(ids, prompts)
    differences, changes = compare(provenance, rows, ours, len(prompts.with_value), overlap)
    kind: Kind = "other_values" if differences else "same"
    values = tuple(sorted(filter(OWNED.fullmatch, there.files)))
    return Published(kind, differences, changes, overlap, provenance, rows, values=values, **theirs)


def compare(
    theirs: Provenance, their_prompts: int, ours: Manifest, prompts: int, overlap: Overlap | None
) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    """What makes values another's, and what an update changes, each with both sides.

    `prompts` have a value here; `overlap` is None if it cannot be told.
    """
    old = ours.model_copy(update={name: getattr(theirs, name) for name in Provenance.model_fields})
    found = policy_differences(old, ours)
    differences = {name: both for name, both in found.items() if name not in _PASSING}
    changes = {_PASSING[name]: both for name, both in found.items() if name in _PASSING}
    has_moved = overlap is not None and overlap.new + overlap.gone + overlap.without_value > 0
    before, after = theirs.dataset, ours.dataset
    if before.fingerprint != after.fingerprint:
        names = _describe_dataset(before), _describe_dataset(after)
        if names[0] != names[1]:
            differences["dataset"] = names
        elif not _is_same_dataset(before, after, their_prompts, overlap):
            differences["dataset"] = _add_fingerprint(names[0], before), _add_fingerprint(names[1], after)
        elif their_prompts == prompts and not has_moved:
            changes["dataset fingerprint"] = before.fingerprint, after.fingerprint
        if before.revision != after.revision:
            changes["dataset revision"] = before.revision, after.revision
    if theirs.n != ours.n:
        changes["n"] = f"{theirs.n:,}", f"{ours.n:,}"
    if their_prompts != prompts or has_moved:
        changes["prompts"] = f"{their_prompts:,}", f"{prompts:,}"
    return _shorten(differences), _shorten(changes)


def _is_same_dataset(before: DatasetRecord, after: DatasetRecord, their_prompts: int, overlap: Overlap | None) -> bool:
    """Whether two records of one name, with different prompts, are of one dataset: a file's name can be any file's."""
    if their_prompts:
        return bool(overlap)
    return before.revision is not None and before.revision == after.revision


def describe_policy(policy: PolicyRecord) -> str:
    """A policy on one line."""
    return ", ".join(
        [
            f"temperature {policy.temperature:g}",
            f"top_p {policy.top_p:g}",
            f"top_k {policy.top_k if policy.top_k > 0 else 'off'}",
            f"max_tokens {policy.max_tokens:,}",
            f"template {policy.template}",
            *([] if policy.system is None else [f"system prompt {excerpt(policy.system, 40)!r}"]),
            f"tools {policy.tools or 'none'}",
        ]
    )


def readme_of(there: Snapshot) -> Readme:
    """The repository's README, as messages call it."""
    page = f"{there.api.endpoint}/datasets/{there.repo_id}"
    name = f"{README} of {there.repo_id} on the Hub, at commit {there.commit[:8]}"
    return Readme(there.readme or "", name, f"correct it on the Hub ({page}), then push again")


def _read_values(there: Snapshot) -> tuple[Provenance | None, int]:
    """What all of the values belong to, and their number; None if a file does not say, or another."""
    found, rows = [], 0
    for name in sorted(there.files):
        if OWNED.fullmatch(name) and name.startswith("values/"):
            schema, count = _read_footer(there, name) or (None, 0)
            found.append(None if schema is None else read_provenance(schema))
            rows += count
    agree = bool(found) and all(provenance == found[0] for provenance in found)
    return (found[0] if agree else None), rows


def _read_prompt_ids(there: Snapshot) -> set[str] | None:
    """The prompt ids of the published values; None if a file cannot be read or has none."""
    import pyarrow as pa

    found: set[str] = set()
    for name in sorted(there.files):
        if OWNED.fullmatch(name) and name.startswith("values/"):
            try:
                with there.open(name) as file:
                    column = parquet_file(file).read(columns=["prompt_id"])["prompt_id"]
            except (pa.ArrowException, KeyError):
                return None
            except OSError as error:
                if type(error) is OSError:  # pyarrow's, for pages that it cannot read; the Hub's are tried again
                    return None
                raise
            found.update(str(prompt_id) for prompt_id in column.to_pylist() if prompt_id is not None)
    return found


def _read_columns(there: Snapshot, tables: Tables) -> tuple[str, ...]:
    first = next((name for name in tables.files if name.endswith(".parquet")), None)
    footer = None if first is None else _read_footer(there, first)
    return () if footer is None else tuple(footer[0].names)


def _read_footer(there: Snapshot, name: str) -> tuple[Any, int] | None:
    """A parquet file's schema and its number of rows; None if it is no parquet file."""
    import pyarrow as pa

    try:
        with there.open(name) as file:
            footer = parquet_file(file)
            return footer.schema_arrow, footer.metadata.num_rows
    except pa.ArrowInvalid:
        return None


def _describe_dataset(dataset: DatasetRecord) -> str:
    return ", ".join([dataset.source, *(part for part in (dataset.config, dataset.split) if part)])


def _add_fingerprint(name: str, dataset: DatasetRecord) -> str:
    return f"{excerpt(name, 40)} (fingerprint {dataset.fingerprint[:8]})"


def _shorten(differences: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[str, str]]:
    return {name: (_show_side(before), _show_side(after)) for name, (before, after) in differences.items()}


def _show_side(value: Any) -> str:
    if value is None:
        return "none"
    return excerpt(f"{value:g}" if isinstance(value, float) else str(value), 60) or "''"
