"""A card of ours and a README that a user may have edited, together.

    merged({"license": "unknown", "spo": {...}}, "# Offline values", existing="---\nlicense: mit\n---\nMy words.\n")

Our text stands between two marks and is replaced as a whole; everything outside them stays as it is. In the header,
`spo` and `size_categories` are ours, our entries of `configs` are replaced and our `tags` added; every other key is the
user's once it is there, with its comments. Merging a second time changes nothing.
"""

import io
import re
from collections.abc import Mapping
from typing import Any

from spo_data.errors import SpoError, first_line

BEGIN = "<!-- spo-data writes what follows, up to its end mark; text outside the marks stays as it is -->"
END = "<!-- spo-data ends here -->"
OURS = ("spo", "size_categories")

_HEADER = re.compile(r"\A---[ \t]*\r?\n(.*?\r?\n)?---[ \t]*(\r?\n|\Z)", re.DOTALL)
_FIRST_RELEASE = re.compile(r"\A\s*# Offline values of .*estimated from \d+ samples each by spo-data", re.DOTALL)
"""Cards had no marks then, and a user's words went with the next call."""


def merged(header: Mapping[str, Any], body: str, existing: str | None) -> str:
    """The README's text; raises SpoError where the existing header is no YAML mapping."""
    found = _HEADER.match(existing or "")
    user_header = (found.group(1) or "") if found else ""
    user_body = (existing or "")[found.end() if found else 0 :]
    return f"---\n{_merged_header(header, user_header)}---\n{_merged_body(body, user_body)}"


def user_text(readme: str) -> str:
    """What stands outside the header and our marks, stripped."""
    found = _HEADER.match(readme)
    before, after = _outside(readme[found.end() if found else 0 :])
    return f"{before.strip()}\n{after.strip()}".strip()


def _merged_body(body: str, existing: str) -> str:
    before, after = _outside(existing)
    return f"{before or chr(10)}{BEGIN}\n\n{body.strip()}\n\n{END}{after or chr(10)}"


def _outside(existing: str) -> tuple[str, str]:
    """What the user has before and after our text; without marks, all of it comes before."""
    end = existing.rfind(END)
    begin = existing.rfind(BEGIN, 0, end) if end >= 0 else -1
    if begin >= 0:
        return existing[:begin], existing[end + len(END) :]
    if not existing.strip() or _FIRST_RELEASE.match(existing):
        return "", ""
    return f"{existing.rstrip()}\n\n", ""


def _merged_header(ours: Mapping[str, Any], existing: str) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError

    yaml = YAML()  # keeps comments, quotes and order, and reads `no` (Norwegian) as a text
    yaml.width = 10_000
    yaml.preserve_quotes = True
    try:
        header = yaml.load(existing) if existing.strip() else None
    except YAMLError as error:
        raise SpoError(f"README.md: its YAML header cannot be read: {' '.join(str(error).split())[:200]}") from error
    if header is None:
        header = CommentedMap()
    if not isinstance(header, CommentedMap):
        raise SpoError(f"README.md: its YAML header is no mapping: {first_line(ValueError(existing))}")
    for key, value in _quoted(ours).items():
        if key == "configs":
            header[key] = _configs(value, header.get(key))
        elif key == "tags" and isinstance(header.get(key), list):
            header[key].extend(tag for tag in value if tag not in header[key])
        elif key in OURS or key not in header:
            header[key] = value
    stream = io.StringIO()
    yaml.dump(header, stream)
    return stream.getvalue()


def _quoted(value: Any) -> Any:
    """The value with quotes around each text that a reader of YAML 1.1 takes for something else (`no`, `1_000`)."""
    import yaml
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, Mapping):
        return {key: _quoted(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_quoted(inner) for inner in value]
    if not isinstance(value, str):
        return value
    try:
        is_plain = yaml.safe_load(value) == value
    except yaml.YAMLError:
        is_plain = False
    return value if is_plain else DoubleQuotedScalarString(value)


def _configs(ours: list[dict[str, Any]], existing: Any) -> list[Any]:
    """Our two configs, then the user's; only one may be the default, and a user's choice stands."""
    others = [
        config
        for config in (existing if isinstance(existing, list) else [])
        if not isinstance(config, Mapping) or config.get("config_name") not in ("values", "samples")
    ]
    chosen = any(isinstance(config, Mapping) and config.get("default") for config in others)
    mine = [{key: value for key, value in config.items() if not (chosen and key == "default")} for config in ours]
    return [*mine, *others]
