"""What tells a Hub id from a path, and a well-formed id from any other name.

    is_path("data/train.parquet"), is_path("org/name")      # True, False
    find_id_fault("name")                                   # "a Hub id has an owner, as in org/name"

A name that a file or folder has is that file or folder; these ask about all other names.
"""

from pathlib import Path

DATA_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv")


def is_path(name: str) -> bool:
    """Whether a name can only mean a path: by its suffix, its first character or its depth."""
    return Path(name).suffix in DATA_SUFFIXES or name.startswith((".", "/", "~")) or name.count("/") > 1


def find_id_fault(name: str) -> str | None:
    """Return why a name is no Hub id of the form org/name; None if it is one."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        return f"not a Hub id such as org/name ({error})"
    return None if name.count("/") == 1 else f"a Hub id has an owner, as in org/{name}"
