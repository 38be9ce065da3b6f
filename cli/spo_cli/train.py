"""`spo-train`: Single-stream Policy Optimization from offline values."""

import sys


def main() -> None:
    """Say in one line what is missing."""
    sys.stderr.write(
        "error: spo-train is not part of this release: it will need the train extra (verl 0.9.1, ray)"
        " and values made by `spo-data estimate`\n"
    )
    sys.exit(1)
