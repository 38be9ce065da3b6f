"""A changed bit in a journal never changes a sample or a value: it is noticed, and what it hit is left out."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spo_data import files
from spo_data.errors import SpoError, UserError
from spo_data.grading.verdict import Grade, Verdict
from spo_data.prompts.identity import DroppedRow, Message, Prompt
from spo_data.provenance import GraderRecord
from spo_data.run.checksums import checksum
from spo_data.run.journal import Journal, open_journal
from spo_data.run.journal_checks import Damage, DamageError
from spo_data.run.journal_mend import mend_journal
from spo_data.run.journal_tables import CHECKED
from spo_data.run.sample import Sample
from support.earlier_journals import downgrade
from support.records import GRADER

OTHER = GraderRecord(verifier="dapo", version="rules 1")
GRADERS = (GRADER, OTHER)
PROMPTS = [Prompt((Message("user", f"What is {k} + {k}? " * 20),), str(2 * k), "sums", {"k": k}) for k in range(6)]
N = 4

Content = dict[tuple[Any, ...], tuple[Any, ...]]


def write(path: Path) -> None:
    """A journal with two graders, failures, dropped rows, masks and log-probabilities. One sample is not graded."""
    source = random.Random(0)
    with Journal(path, GRADER) as journal:
        journal.set_prompts(PROMPTS, [DroppedRow(7, "no_ground_truth", "of row 7")])
        for place, prompt in enumerate(PROMPTS):
            for index in range(N):
                n = source.randrange(3, 90)
                graded = (
                    Grade.scored(float(index % 2), str(index)) if index else Grade.failed(Verdict.NO_ANSWER, "none")
                )
                sample = Sample(
                    *(prompt.prompt_id, index, source.getrandbits(63), source.randbytes(60 + 9 * n).hex()),
                    *(np.arange(n, dtype=np.int32), "stop", graded.answer, graded.verdict, graded.score, graded.detail),
                    token_logprobs=np.linspace(-1, 0, n, dtype=np.float32),
                    response_mask=np.arange(n) % 3 > 0 if place == 1 else None,
                )
                journal.add(sample, {OTHER: Grade.scored(1.0, None)} if place else {})
        journal.commit()
        journal.add_failure(PROMPTS[0].prompt_id, N, "too long")


def content(path: Path, grader: GraderRecord = GRADER) -> Content:
    """What values and tables depend on, by what it belongs to, read as summaries and tables read it."""
    with open_journal(path, grader) as journal:
        found: Content = {("prompt", k): (prompt,) for k, prompt in enumerate(journal.prompts())}
        for sample in journal.samples():
            key = sample.prompt_id, sample.sample_index
            logprobs, mask = sample.token_logprobs, sample.response_mask
            found["sample", *key] = (
                *(sample.seed, sample.response, sample.token_ids.tobytes(), sample.finish_reason, sample.tool_turns),
                *(part is not None and part.tobytes() for part in (logprobs, mask)),
            )
            if sample.detail != "not graded yet":
                found["verdict", *key] = (sample.graded,)
        found |= {("value", key): (value,) for key, value in journal.values(grader, N).items()}
        found |= {("dropped", row.row): (row,) for row in journal.read_dropped()}
        found |= {
            ("failure", *row): () for row in journal.query("SELECT prompt_number, sample_index, error FROM failures")
        }
        found |= {("commit", k): tuple(commit) for k, commit in enumerate(journal.commits())}
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "journal.sqlite"
    write(path)
    return path


@pytest.fixture(scope="module")
def whole(made: Path) -> dict[GraderRecord, Content]:
    return {grader: content(made, grader) for grader in GRADERS}


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "journal.sqlite"))


def change(path: Path, sql: str) -> None:
    """Change rows behind the journal's back."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA ignore_check_constraints = 1")
        assert database.execute(sql).rowcount == 1
    database.close()


def check_flip(path: Path, whole: dict[GraderRecord, Content]) -> str:
    """Whatever has happened to a file: readers say so or read what was written, and mending keeps only that."""
    outcome, said = "same", ""
    try:
        for grader in GRADERS:
            assert content(path, grader) == whole[grader]
    except SpoError as error:
        outcome, said = "refused", str(error)
    assert "\n" not in said
    try:
        mended = mend_journal(path, GRADERS, PROMPTS)
    except (SpoError, sqlite3.Error):
        return "not mended"
    assert mended is not None or outcome == "same"
    for grader in GRADERS:
        found = content(path, grader)
        samples = {key[1:] for key in found if key[0] == "sample"}
        for key, item in found.items():
            if key[0] not in ("value", "prompt"):  # of fewer samples, and in another order
                assert whole[grader][key] == item, key
        assert samples >= {key[1:] for key in found if key[0] == "verdict"}
        if mended is None:
            assert found == whole[grader]
    return outcome if mended is None else "mended"


def flip(path: Path, source: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    path.write_bytes(data)


def zero_page(path: Path, source: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = 4096 * source.randrange(1, len(data) // 4096)
    path.write_bytes(data[:at] + bytes(4096) + data[at + 4096 :])


def cut(path: Path, source: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: source.randrange(len(data))])


def damage_often(
    made: Path, folder: Path, whole: dict[GraderRecord, Content], damage: Callable[..., None], times: int
) -> set[str]:
    source, outcomes = random.Random(damage.__name__), set()
    for k in range(times):
        place = folder / str(k)
        place.mkdir()
        path = Path(shutil.copy(made, place / "journal.sqlite"))
        damage(path, source)
        outcomes.add(check_flip(path, whole))
        shutil.rmtree(place)
    return outcomes


@pytest.mark.parametrize(("damage", "times"), [(flip, 20), (zero_page, 4), (cut, 3)])
def test_no_damage_goes_unnoticed(
    made: Path, whole: dict[GraderRecord, Content], tmp_path: Path, damage: Callable[..., None], times: int
) -> None:
    """Of 200 single flipped bits, 24 changed samples silently, and once a value."""
    assert "mended" in damage_often(made, tmp_path, whole, damage, times)


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "times"), [(flip, 400), (zero_page, 60), (cut, 40)])
def test_no_damage_goes_unnoticed_however_often(
    made: Path, whole: dict[GraderRecord, Content], tmp_path: Path, damage: Callable[..., None], times: int
) -> None:
    assert "mended" in damage_often(made, tmp_path, whole, damage, times)


COLUMNS = {
    "prompts": ("position", "prompt_id", "messages", "ground_truth", "data_source", "extra_info"),
    "samples": (
        *("prompt_number", "sample_index", "seed", "finish_reason", "response_tokens", "tool_turns", "response"),
        *("token_ids", "token_logprobs", "response_mask", "brief_checksum"),
    ),
    "gradings": ("identity", "version", "verifier"),
    "verdicts": ("grading", "prompt_number", "sample_index", "answer", "verdict", "score", "detail"),
    "failures": ("prompt_number", "sample_index", "error"),
    "dropped": ("row", "reason", "detail"),
    "commits": ("call", "time", "samples", "response_tokens"),
}


def test_every_column_is_covered(path: Path) -> None:
    with Journal(path, GRADER) as journal:
        for table in CHECKED:
            names = {name for _, name, *_ in journal.query(f"PRAGMA table_info({table})")}
            ours = {"prompt_number"} if table == "prompts" else {"grading"} if table == "gradings" else set()
            assert names == {*COLUMNS[table], "checksum", *ours}


@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for table in COLUMNS for column in (*COLUMNS[table], "checksum")]
)
def test_a_changed_value_is_noticed_in_every_column(
    path: Path, whole: dict[GraderRecord, Content], table: str, column: str
) -> None:
    """The changed row agrees with its indexes, so SQLite finds nothing wrong."""
    which = "rowid = (SELECT max(rowid) FROM {0})" if table != "verdicts" else "(grading, prompt_number, sample_index)"
    which = which.format(table) if table != "verdicts" else f"{which} = (1, 3, 2)"
    changed = {
        "token_ids": "token_logprobs",
        "token_logprobs": "NULL",
        "response_mask": "x'00'",
        "response": "token_ids",
        "score": "0.5",
        "detail": "'x'",
    }
    value = changed.get(column, f"CASE typeof({column}) WHEN 'text' THEN {column} || 'x' ELSE {column} + 64 END")
    change(path, f"UPDATE {table} SET {column} = {value} WHERE {which}")
    assert check_flip(path, whole) == "mended"


@pytest.mark.parametrize("table", CHECKED)
def test_a_row_that_has_lost_its_checksum_is_damaged(
    path: Path, whole: dict[GraderRecord, Content], table: str
) -> None:
    first = 7 if table == "dropped" else 1
    key = "sample_index = 2 AND prompt_number = 3 AND grading = 1" if table == "verdicts" else f"rowid = {first}"
    change(path, f"UPDATE {table} SET checksum = NULL WHERE {key}")
    assert check_flip(path, whole) == "mended"


def test_what_is_damaged_is_left_out_and_counted_and_the_damaged_file_is_kept(
    path: Path, whole: dict[GraderRecord, Content]
) -> None:
    change(path, "UPDATE samples SET seed = seed + 1 WHERE prompt_number = 2 AND sample_index = 1")
    change(path, "UPDATE verdicts SET score = 1 WHERE grading = 2 AND prompt_number = 4 AND sample_index = 0")
    change(path, "UPDATE verdicts SET answer = 'x' WHERE grading = 1 AND prompt_number = 4 AND sample_index = 1")
    before = path.read_bytes()
    mended = mend_journal(path, GRADERS)
    assert mended is not None
    assert mended.damage == Damage(samples=1, verdicts=1)
    assert mended.kept.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["journal.sqlite", "journal.sqlite.damaged"]
    lost = {key for grader in GRADERS for key in whole[grader].keys() - content(path, grader).keys()}
    second, fourth = PROMPTS[1].prompt_id, PROMPTS[3].prompt_id
    assert {key for key in lost if key[0] != "value"} == {
        ("sample", second, 1),
        ("verdict", second, 1),
        ("verdict", fourth, 1),
    }
    assert mend_journal(path, GRADERS) is None


def test_a_damaged_prompt_is_written_again_from_the_dataset_and_keeps_its_samples(
    path: Path, whole: dict[GraderRecord, Content]
) -> None:
    change(path, "UPDATE prompts SET ground_truth = '5' WHERE prompt_number = 2")
    with pytest.raises(DamageError, match="1 damaged prompt"):
        content(path)
    with pytest.raises(DamageError, match="has damaged prompts"):
        mend_journal(path, GRADERS)
    mended = mend_journal(path, GRADERS, PROMPTS)
    assert mended is not None
    assert content(path) == whole[GRADER]


def test_a_damaged_prompt_that_the_dataset_does_not_hold_loses_its_samples(path: Path) -> None:
    change(path, "UPDATE prompts SET ground_truth = '5' WHERE prompt_number = 2")
    other = Prompt(PROMPTS[1].messages, "9", "sums", {"k": 1})
    assert mend_journal(path, GRADERS, [PROMPTS[0], other, *PROMPTS[2:]]) is not None
    with open_journal(path, GRADER) as journal:
        assert list(journal.prompts()) == [PROMPTS[0], *PROMPTS[2:]]
        assert PROMPTS[1].prompt_id not in journal.done()


def test_a_damaged_grader_keeps_its_verdicts(path: Path, whole: dict[GraderRecord, Content]) -> None:
    """One bit in the row of a grader would have had all of its verdicts graded again."""
    change(path, "UPDATE gradings SET identity = 'Exact', grading = 9 WHERE grading = 1")
    assert mend_journal(path, GRADERS) is not None
    for grader in GRADERS:
        assert content(path, grader) == whole[grader]


def test_an_index_that_differs_from_its_table_is_noticed_and_costs_no_sample(
    path: Path, whole: dict[GraderRecord, Content]
) -> None:
    """Counts are read from an index, never from the rows: a bit in the index changed counts and means."""
    with sqlite3.connect(path) as database:
        ((root,),) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'samples_in_brief'")
    database.close()
    data = bytearray(path.read_bytes())
    found = data.index(b"stop", (root - 1) * 4096)
    assert found < root * 4096
    data[found] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamageError):
        content(path)
    assert mend_journal(path, GRADERS) is not None
    assert content(path) == whole[GRADER]


def test_rows_of_an_earlier_version_are_not_checked_and_those_that_follow_are(
    path: Path, whole: dict[GraderRecord, Content]
) -> None:
    downgrade(path)
    assert content(path) == whole[GRADER], "a reader"
    assert mend_journal(path, GRADERS) is None
    with Journal(path, GRADER) as journal:
        journal.set_prompts(PROMPTS, journal.read_dropped())
        sample = next(journal.samples())
        journal.add(Sample(*(sample.prompt_id, N, 1, "r", sample.token_ids, "stop", "4", Verdict.CORRECT, 1.0)))
    assert ("sample", PROMPTS[0].prompt_id, N) in content(path)
    change(path, f"UPDATE samples SET checksum = NULL, brief_checksum = NULL WHERE sample_index = {N}")
    with pytest.raises(DamageError, match="1 damaged sample"):
        content(path)
    mended = mend_journal(path, GRADERS)
    assert mended is not None
    assert mended.damage.samples == 1
    assert content(path).keys() >= {key for key in whole[GRADER] if key[0] == "sample"}


def test_a_reader_does_not_upgrade_a_journal_that_an_earlier_version_still_writes_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `show` beside an `estimate` of the version before upgraded the file under it: the samples that followed had no
    checksum and counted as damaged, and a failure's row had a column too few."""
    downgrade(path)
    monkeypatch.setattr(files, "LOCK_SECONDS", 0)
    with files.folder_lock(path.parent, "spo-data"):
        with pytest.raises(UserError, match=r"is of an earlier version and .*another spo-data is writing"):
            content(path)
        database = sqlite3.connect(path)
        assert database.execute("PRAGMA user_version").fetchone() == (4,)
        database.execute(
            "INSERT INTO samples SELECT prompt_number, 9, seed, finish_reason, response_tokens, tool_turns, response,"
            " token_ids, token_logprobs, response_mask FROM samples WHERE rowid = 3"
        )
        database.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (2, 7, "too long"))
        database.commit()
        database.close()
    found = content(path)
    assert ("sample", PROMPTS[0].prompt_id, 9) in found
    assert ("failure", 2, 7, "too long") in found
    assert mend_journal(path, GRADERS) is None


def test_a_journal_that_is_a_link_is_mended_where_it_is(path: Path, whole: dict[GraderRecord, Content]) -> None:
    """The link was kept as the damaged file, and the new file took its place: it left the disk that it was on."""
    disk = path.parent / "disk"
    disk.mkdir()
    place = path.rename(disk / "j.sqlite")
    path.symlink_to(place)
    change(path, "UPDATE samples SET seed = seed + 1 WHERE prompt_number = 2 AND sample_index = 1")
    before = place.read_bytes()
    mended = mend_journal(path, GRADERS)
    assert mended is not None
    assert path.readlink() == place
    assert sorted(path.parent.iterdir()) == [disk, path]
    assert sorted(disk.iterdir()) == [place, mended.kept]
    assert mended.kept.read_bytes() == before
    assert len(whole[GRADER].keys() - content(path).keys()) == 3, "the sample, its verdict, and the prompt's value"


def test_a_damaged_row_of_an_earlier_version_is_one_line(path: Path) -> None:
    """A byte that is no UTF-8, or a response that cannot be decompressed, was a traceback."""
    downgrade(path)
    change(path, "UPDATE samples SET response = x'05000000ff' WHERE rowid = 3")
    with pytest.raises(DamageError, match="damaged sample"):
        content(path)


def test_a_file_that_is_no_database_is_one_line(path: Path) -> None:
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(DamageError, match="file is not a database"):
        content(path)
    with pytest.raises(SpoError, match="restore a copy"):
        mend_journal(path, GRADERS, PROMPTS)


@given(st.lists(st.none() | st.integers() | st.text() | st.floats(allow_nan=False), max_size=6), st.data())
@settings(max_examples=60)
def test_a_checksum_tells_rows_apart(row: list[Any], data: st.DataObject) -> None:
    """Types and lengths count: 1, 1.0 and "1" differ, and so do ("ab", "c") and ("a", "bc")."""
    other = data.draw(st.permutations(row).map(list) | st.just([*row, None]) | st.just([str(each) for each in row]))
    same = [(type(a), a) for a in row] == [(type(b), b) for b in other]
    assert (checksum(*row) == checksum(*other)) is same
