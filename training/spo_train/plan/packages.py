"""Packages that a setting needs and that this installation may lack.

find_fault("cupy")        # None, "is not installed", or why it cannot be imported
"""

import importlib
import importlib.util

from spo_data.errors import first_line


def is_installed(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def find_fault(module: str) -> str | None:
    """Return why a module cannot be imported, or None if it can: a compiled one may not fit torch."""
    if not is_installed(module):
        return "is not installed"
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken build raises
        return f"cannot be imported ({first_line(error)})"
    return None
