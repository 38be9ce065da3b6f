"""Journals as the version before checksums wrote them.

downgrade(run / "journal.sqlite")
"""

import sqlite3
from pathlib import Path

from spo_data.run.journal_tables import CHECKED


def downgrade(path: Path) -> None:
    """Make the journal one of the schema before checksums."""
    database = sqlite3.connect(path)
    database.execute("DROP INDEX samples_in_brief")
    database.execute("ALTER TABLE samples DROP COLUMN brief_checksum")
    for table in CHECKED:
        database.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
    database.execute("DROP TABLE checksums_since")
    database.execute("PRAGMA user_version = 4")
    database.commit()
    database.close()
