"""What tells a Hub id from a path, and a well-formed id from any other name.

    may_be_id("org/name", (".parquet",)), may_be_id("data/train.parquet", (".parquet",))      # True, False
    find_id_fault("name")                                                  # "a Hub id has an owner, as in org/name"

A name that a file or folder has is that file or folder; these ask about all other names.
"""

from collections.abc import Collection
from pathlib import Path


def may_be_id(name: str, suffixes: Collection[str], *, needs_owner: bool = True) -> bool:
    """Whether a name can mean a Hub id, and not a path: by its suffix, its first character and its depth.

    `suffixes` are those of files that the caller reads. Datasets of the Hub's first years have no owner.
    """
    is_path = Path(name).suffix in suffixes or name.startswith((".", "/", "~")) or name.count("/") > 1
    return not is_path and ("/" in name or not needs_owner)


def find_id_fault(name: str) -> str | None:
    """Return why a name is not a Hub id of the form org/name; None if it is one."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        return f"not a Hub id such as org/name ({error})"
    return None if name.count("/") == 1 else f"a Hub id has an owner, as in org/{name}"
