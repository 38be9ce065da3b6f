"""Merge our card into a README that a user may have edited.

    merge_readme({"license": "unknown", "spo": {...}}, "# Offline values", existing="---\nlicense: mit\n---\nMine.\n")

Our text stands between two marks and is replaced as a whole; everything outside them stays as it is. In the header,
`spo` and `size_categories` are ours, our entries of `configs` are replaced, and our `tags` are added. Every other key
belongs to the user once it exists, with its comments. Merging a second time changes nothing.

If the tables on the Hub are replaced by ours, what describes them goes from the header there (`OF_THE_TABLES`).
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spo_data.errors import SpoError
from spo_data.hub.snapshot import README
from spo_data.printable import printable
from spo_data.text import excerpt

BEGIN = "<!-- spo-data writes what follows, up to its end mark; text outside the marks stays as it is -->"
END = "<!-- spo-data ends here -->"
OURS = ("spo", "size_categories")
"""Keys of the header that a user cannot set."""
OF_THE_TABLES = (
    *("configs", "dataset_info", "viewer", "train-eval-index"),
    *("pretty_name", "language", "source_datasets", "size_categories", "spo"),
)
"""Keys of a header that describe its tables, and nothing else of the repository."""

_HEADER = re.compile(r"\A---[ \t]*\r?\n(.*?\r?\n)?---[ \t]*(\r?\n|\Z)", re.DOTALL)
_FIRST_RELEASE = re.compile(
    r"# Offline values of (?:(?!\n# ).)*?estimated from \d+ samples each by spo-data"
    r".*?\| suspect ground truths \|[^\n]*\n",
    re.DOTALL,
)
"""The whole card as the first release wrote it, without marks."""


@dataclass(frozen=True)
class Readme:
    """An existing README."""

    text: str
    name: str = README
    """What messages call it."""
    fix: str = "correct it"
    """What to do if its header is broken."""


def merge_readme(header: Mapping[str, Any], body: str, existing: Readme | None) -> str:
    """The README's text; raises SpoError if the existing header is not a YAML mapping."""
    return merge_readme_with_hub(header, body, existing or Readme(""), None)[0]


def merge_readme_with_hub(
    header: Mapping[str, Any], body: str, here: Readme, there: Readme | None, *, replaces: bool = False
) -> tuple[str, list[str]]:
    """The text for a README that exists here and there (on the Hub), and a note for each part that is lost from here.

    What only one of them has is kept. If their texts or their values of a key differ, those on the Hub are kept.
    `replaces` drops what the Hub's header says of its tables. Raises SpoError if a header is not a YAML mapping.
    """
    if there is None:
        here, there = Readme(""), here
    here_body, there_body = _split_header(here.text)[1], _split_header(there.text)[1]
    mine, theirs = user_text(here.text), user_text(there.text)
    notes = []
    if mine and theirs and mine != theirs:
        notes.append(f"{README} has a different text on the Hub than here; the Hub's is kept")
    merged_header, losing = _merge_header(header, here, there, replaces)
    notes += [f"{README} has a different {key} on the Hub than here; the Hub's is kept" for key in losing]
    return f"---\n{merged_header}---\n{_merge_body(body, here_body if mine and not theirs else there_body)}", notes


def user_text(readme: str) -> str:
    """The text outside the header and our marks, stripped."""
    before, after = _split_body(_split_header(readme)[1])
    return f"{before.strip()}\n{after.strip()}".strip()


def read_header(readme: Readme) -> dict[str, Any]:
    """The header's keys and values; raises SpoError if it is not a YAML mapping."""
    return dict(_load_header(_make_yaml(), readme))


def find_default(header: Mapping[str, Any]) -> str | None:
    """The config that `load_dataset` takes if none is named; None without a default.

    `datasets` takes one that is called `default` as well as one that is marked so, and refuses a card with two.
    """
    named = [config for config in list_configs(header) if is_default(config)]
    return str(named[0].get("config_name")) if named else None


def list_configs(header: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The header's `configs`, without entries that are none."""
    configs = header.get("configs")
    return [config for config in configs if isinstance(config, Mapping)] if isinstance(configs, list) else []


def is_default(config: Mapping[str, Any]) -> bool:
    """Whether `load_dataset` takes a config if none is named."""
    return bool(config.get("default")) or config.get("config_name") == "default"


def table_configs(with_samples: bool) -> list[dict[str, Any]]:
    """The header's `configs`, by which `load_dataset` finds the tables, `values` by default."""
    return [_make_config("values", default=True)] + [_make_config("samples")] * with_samples


def _split_header(readme: str) -> tuple[str, str]:
    """Header and body."""
    readme = readme.removeprefix("\ufeff")
    found = _HEADER.match(readme)
    return ((found.group(1) or "") if found else "", readme[found.end() if found else 0 :])


def _merge_body(body: str, existing: str) -> str:
    before, after = _split_body(existing)
    return f"{before or chr(10)}{BEGIN}\n\n{body.strip()}\n\n{END}{after or chr(10)}"


def _split_body(existing: str) -> tuple[str, str]:
    """The user's text before and after ours; without marks, all of it comes before."""
    end = existing.rfind(END)
    begin = existing.rfind(BEGIN, 0, end) if end >= 0 else -1
    if begin >= 0:
        return existing[:begin], existing[end + len(END) :]
    if first := _FIRST_RELEASE.search(existing):
        return existing[: first.start()], f"\n{existing[first.end() :]}"
    return (f"{existing.rstrip()}\n\n", "") if existing.strip() else ("", "")


def _make_yaml() -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.emitter import Emitter

    class EscapingEmitter(Emitter):
        def write_double_quoted(self, text: Any, split: Any = True) -> None:
            self.allow_unicode = printable(text) == text
            super().write_double_quoted(text, split)
            self.allow_unicode = True

    yaml = YAML()  # keeps comments, quotes and order, and reads `no` (Norwegian) as a text
    yaml.Emitter = EscapingEmitter
    yaml.width = 10_000
    yaml.preserve_quotes = True
    return yaml


def _merge_header(ours: Mapping[str, Any], here: Readme, there: Readme, replaces: bool) -> tuple[str, list[str]]:
    """The merged header, and the keys whose local values are dropped for the Hub's."""
    yaml = _make_yaml()
    header, mine = _load_header(yaml, there), _load_header(yaml, here)
    for key in OF_THE_TABLES if replaces else ():
        header.pop(key, None)
    losing = []
    for key, value in mine.items():
        if key in (*OURS, "configs", "tags") or value == ours.get(key):
            continue
        if key not in header or header[key] == ours.get(key):
            header[key] = value
        elif header[key] != value:
            losing.append(str(key))
    for key, value in _quote(ours).items():
        if key == "configs":
            header[key] = _merge_configs(value, header.get(key), mine.get(key))
        elif key == "tags" and isinstance(header.get(key), list):
            both = [*(mine["tags"] if isinstance(mine.get("tags"), list) else []), *value]
            header[key].extend(tag for tag in dict.fromkeys(both) if tag not in header[key])
        elif key in OURS or key not in header:
            header[key] = value
    stream = io.StringIO()
    yaml.dump(header, stream)
    return stream.getvalue(), losing


def _load_header(yaml: Any, readme: Readme) -> Any:
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError

    header = _split_header(readme.text)[0]
    try:
        loaded = yaml.load(header) if header.strip() else None
    # ValueError: a date such as 2024-13-01
    except (YAMLError, ValueError, RecursionError) as error:
        raise SpoError(
            f"{readme.name}: its YAML header cannot be read ({excerpt(str(error), 200)}): {readme.fix}"
        ) from error
    if loaded is None:
        return CommentedMap()
    if not isinstance(loaded, CommentedMap):
        raise SpoError(f"{readme.name}: its YAML header is not a mapping ({excerpt(header, 60)}): {readme.fix}")
    return loaded


def _quote(value: Any) -> Any:
    """The value with quotes around each text that YAML 1.1 reads as something else (`no`, `1_000`) or must escape."""
    import yaml
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, Mapping):
        return {_quote(key): _quote(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_quote(inner) for inner in value]
    if not isinstance(value, str):
        return value
    try:
        is_plain = printable(value) == value and yaml.safe_load(value) == value
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date such as 2024-13-01
        is_plain = False
    return value if is_plain else DoubleQuotedScalarString(value)


def _merge_configs(ours: list[dict[str, Any]], *existing: Any) -> list[Any]:
    """Our two configs, then the user's; only one may be the default, and a user's choice is kept."""
    others: dict[str, Any] = {}
    for configs in existing:
        for config in configs if isinstance(configs, list) else []:
            name = config.get("config_name") if isinstance(config, Mapping) else None
            if name not in ("values", "samples"):
                others.setdefault(str(name), config)
    chosen = any(isinstance(config, Mapping) and is_default(config) for config in others.values())
    mine = [{key: value for key, value in config.items() if not (chosen and key == "default")} for config in ours]
    return [*mine, *others.values()]


def _make_config(name: str, *, default: bool = False) -> dict[str, Any]:
    return {
        "config_name": name,
        **({"default": True} if default else {}),
        "data_files": [{"split": "train", "path": f"{name}/train-*.parquet"}],
    }
