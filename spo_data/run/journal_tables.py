"""The journal's tables, and the upgrade of a journal of an earlier schema.

`samples` holds the engine's output, `verdicts` each grader's verdicts on it, `gradings` the graders, `commits` when
samples were committed, `manifest` a copy of `run.json`.

A sample's row holds its response, so counts over all samples are read from an index and never from the rows: in a run
of millions, the rows are tens of gigabytes.
"""

import sqlite3

from spo_data.provenance import GraderRecord
from spo_data.run.checksums import checksum

SCHEMA_VERSION = 5
"""Version 2 added verdicts by grader, 3 `commits`, 4 `response_mask`, 5 checksums and the copy of the manifest."""
CHECKED = ("prompts", "samples", "gradings", "verdicts", "failures", "dropped", "commits")
"""The tables whose rows have a checksum: NULL in rows that an earlier version wrote."""


def needs_upgrade(db: sqlite3.Connection) -> bool:
    """Whether a journal is of an earlier schema."""
    return _version(db) < SCHEMA_VERSION


def make_schema(db: sqlite3.Connection, grader: GraderRecord, *, for_writing: bool) -> None:
    """Make the missing tables, all or none. The verdicts of a first-schema journal are those of `grader`.

    The caller holds the folder's lock if the journal is of an earlier schema: a process of an earlier version that goes
    on writing would add rows without checksums.

    A writer adds a missing index; a reader works without it. Raises NotSupportedError if the journal's schema is later
    than this one.
    """
    if (version := _version(db)) > SCHEMA_VERSION:
        raise sqlite3.NotSupportedError(f"its schema is version {version}, this spo-data knows {SCHEMA_VERSION}")
    if version == SCHEMA_VERSION:
        if for_writing:
            _make_index(db)
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if _version(db) < SCHEMA_VERSION:  # no other process has made them meanwhile
            ((is_new,),) = db.execute("SELECT count(*) = 0 FROM sqlite_master")
            in_first_schema = db.execute("SELECT 1 FROM pragma_table_info('samples') WHERE name = 'verdict'").fetchone()
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(_MANIFEST)
            db.execute(_MENDED)
            if not db.execute("SELECT 1 FROM pragma_table_info('samples') WHERE name = 'response_mask'").fetchone():
                db.execute("ALTER TABLE samples ADD COLUMN response_mask BLOB")
            if in_first_schema:
                for statement in _FROM_FIRST_SCHEMA.split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO gradings VALUES (1, ?, ?, ?)", (grader.key, grader.version, grader.verifier))
            _add_checksums(db, is_new=bool(is_new))
            if for_writing or not db.execute(_EARLIER_INDEX).fetchone():  # which still does for a reader
                _make_index(db)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _add_checksums(db: sqlite3.Connection, *, is_new: bool) -> None:
    """Add the columns of checksums, and note the last sample that has none: -1 if there was no journal."""
    for table, column in (("samples", "brief_checksum"), *((table, "checksum") for table in CHECKED)):
        if not db.execute(f"SELECT 1 FROM pragma_table_info('{table}') WHERE name = '{column}'").fetchone():
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} INTEGER")
    db.execute("CREATE TABLE IF NOT EXISTS checksums_since (sample_rowid INTEGER NOT NULL, checksum INTEGER NOT NULL)")
    if not db.execute("SELECT 1 FROM checksums_since").fetchone():
        ((last,),) = [(-1,)] if is_new else db.execute("SELECT coalesce(max(rowid), 0) FROM samples")
        db.execute("INSERT INTO checksums_since VALUES (?, ?)", (last, checksum("since", last)))


def _make_index(db: sqlite3.Connection) -> None:
    for statement in _INDEX.split(";"):
        db.execute(statement)


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


GRADED = """
CREATE TEMP VIEW graded AS
SELECT samples.*, samples.rowid AS sample_rowid, answer, coalesce(verdict, 'grader_error') AS verdict, score,
    CASE WHEN verdict IS NULL THEN 'not graded yet' ELSE detail END AS detail, verdict AS judged,
    verdicts.checksum AS verdict_checksum
FROM samples LEFT JOIN verdicts ON verdicts.grading = {grading}
    AND verdicts.prompt_number = samples.prompt_number AND verdicts.sample_index = samples.sample_index
"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS prompts (
    prompt_number INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    prompt_id TEXT NOT NULL UNIQUE,
    messages TEXT NOT NULL,
    ground_truth TEXT NOT NULL,
    data_source TEXT NOT NULL,
    extra_info TEXT
);
CREATE INDEX IF NOT EXISTS prompts_in_order ON prompts (position, prompt_number);
CREATE TABLE IF NOT EXISTS samples (
    prompt_number INTEGER NOT NULL REFERENCES prompts,
    sample_index INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    finish_reason TEXT NOT NULL,
    response_tokens INTEGER NOT NULL,
    tool_turns INTEGER NOT NULL,
    response BLOB NOT NULL,
    token_ids BLOB NOT NULL,
    token_logprobs BLOB,
    response_mask BLOB,
    UNIQUE (prompt_number, sample_index)
);
CREATE TABLE IF NOT EXISTS gradings (
    grading INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,
    version TEXT NOT NULL,
    verifier TEXT NOT NULL,
    UNIQUE (identity, version)
);
CREATE TABLE IF NOT EXISTS verdicts (
    grading INTEGER NOT NULL REFERENCES gradings,
    prompt_number INTEGER NOT NULL,
    sample_index INTEGER NOT NULL,
    answer TEXT,
    verdict TEXT NOT NULL,
    score REAL,
    detail TEXT,
    PRIMARY KEY (grading, prompt_number, sample_index)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    prompt_number INTEGER NOT NULL REFERENCES prompts,
    sample_index INTEGER NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (prompt_number, sample_index)
);
CREATE TABLE IF NOT EXISTS dropped (row INTEGER PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS commits (
    call INTEGER NOT NULL,
    time REAL NOT NULL,
    samples INTEGER NOT NULL,
    response_tokens INTEGER NOT NULL
);
"""

# One row: what `run.json` held when it was last written.
_MANIFEST = """
CREATE TABLE IF NOT EXISTS manifest (
    number INTEGER PRIMARY KEY CHECK (number = 1),
    text BLOB NOT NULL,
    checksum BLOB NOT NULL
)
"""

# How many samples mending a damaged journal has left out since the tables were last written.
_MENDED = "CREATE TABLE IF NOT EXISTS mended (samples INTEGER NOT NULL)"

# All columns that are read without the response. It is not part of the schema version: SQLite keeps it up to date.
# The index of earlier versions lacked the checksum.
_INDEX = """
CREATE INDEX IF NOT EXISTS samples_in_brief
ON samples (prompt_number, sample_index, finish_reason, response_tokens, tool_turns, brief_checksum);
DROP INDEX IF EXISTS samples_without_responses
"""
_EARLIER_INDEX = "SELECT 1 FROM sqlite_master WHERE name = 'samples_without_responses'"

# In the first schema a sample's row held its only verdict.
_FROM_FIRST_SCHEMA = """
INSERT INTO verdicts SELECT 1, prompt_number, sample_index, answer, verdict, score, detail FROM samples;
ALTER TABLE samples DROP COLUMN answer;
ALTER TABLE samples DROP COLUMN verdict;
ALTER TABLE samples DROP COLUMN score;
ALTER TABLE samples DROP COLUMN detail;
ALTER TABLE prompts RENAME COLUMN task TO extra_info
"""
