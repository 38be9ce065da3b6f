"""What is damaged in a run's files is drawn, graded or written again by the same command, and said."""

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from spo_data import SpoError, UserError, load_values
from spo_data.options import GraderOptions
from spo_data.run import journal_checks
from spo_data.run.existing import read_run
from spo_data.run.journal_checks import Damage, DamageError
from spo_pipelines.push import PushOptions, push
from spo_pipelines.regrade import RegradeOptions
from spo_pipelines.regrade import regrade as run_regrade
from spo_train.data.first_responses import read_first_responses
from support import scripted
from support.earlier_journals import downgrade


def change(run: Path, *statements: str) -> None:
    """Change rows of the journal behind its back."""
    database = sqlite3.connect(run / "journal.sqlite")
    for statement in statements:
        assert database.execute(statement).rowcount == 1
    database.commit()
    database.close()


def contents(run: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: pq.read_table(run / name).to_pylist() for name in ("values", "samples")}


def read_all(run: Path) -> None:
    """Read what a training run reads."""
    values = load_values(run)
    read_first_responses(values, values.prompt_ids)


SAMPLE = "UPDATE samples SET response = token_ids WHERE prompt_number = 2 AND sample_index = 1"
VERDICT = "UPDATE verdicts SET score = 1 - score WHERE prompt_number = 3 AND sample_index = 0"
PROMPT = "UPDATE prompts SET ground_truth = '99' WHERE prompt_number = 4"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A finished run and its dataset, which all tests copy."""
    return scripted.make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made: tuple[Any, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[1], tmp_path / "run"))


def test_the_same_command_draws_grades_and_writes_again_what_is_damaged(made: tuple[Any, Path], run: Path) -> None:
    """Of 200 flipped bits in a journal, 24 changed samples silently, and the tables took them over."""
    before = contents(run)
    change(run, SAMPLE, VERDICT, PROMPT)
    script, watcher = scripted.Script(), scripted.Recorder()
    scripted.estimate(scripted.options(made[0], run), script, watcher=watcher)
    assert len(script.submitted) == 1
    assert contents(run) == before
    (note,) = (stage for stage in watcher.stages if stage.startswith("note: the journal has"))
    assert "1 damaged sample, 1 damaged verdict, 1 damaged prompt" in note
    assert (run / "journal.sqlite.damaged").is_file()
    again = scripted.Recorder()
    scripted.estimate(scripted.options(made[0], run), script, watcher=again)
    assert not [stage for stage in again.stages if "damaged" in stage]


def test_a_refused_call_leaves_the_damaged_journal_as_it_is(made: tuple[Any, Path], run: Path) -> None:
    change(run, SAMPLE)
    before = (run / "journal.sqlite").read_bytes()
    with pytest.raises(UserError, match="temperature"):
        scripted.estimate(scripted.options(made[0], run, temperature=0.25))
    assert (run / "journal.sqlite").read_bytes() == before


def test_a_regrade_leaves_out_what_is_damaged_and_says_what_draws_it(run: Path) -> None:
    change(run, SAMPLE)
    said: list[str] = []
    options = RegradeOptions(run, GraderOptions(grader_workers=1))
    outcome = asyncio.run(run_regrade(options, lambda *_: None, said.append))
    assert outcome.summary.not_drawn == 1
    (note,) = said
    assert "1 damaged sample" in note
    assert note.endswith(read_run(run).command)
    change(run, PROMPT)
    with pytest.raises(SpoError, match=r"has damaged prompts; to write them again from the dataset: spo-data estimate"):
        asyncio.run(run_regrade(options, lambda *_: None, said.append))


def test_a_reader_names_the_command_that_mends(run: Path) -> None:
    command = read_run(run).command
    change(run, SAMPLE)
    with (
        pytest.raises(DamageError, match="has damaged samples, such as sample 1 of") as raised,
        read_run(run).open_journal() as journal,
    ):
        list(journal.samples())
    assert str(raised.value).endswith(f"to draw and grade again what is damaged: {command}")
    change(run, VERDICT)
    with pytest.raises(DamageError, match="has 1 damaged verdict; "), read_run(run).open_journal():
        pass


def test_a_call_that_holds_the_lock_upgrades_a_journal_of_an_earlier_version(
    made: tuple[Any, Path], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader waits for the lock to upgrade; within a call that holds it, it would wait for itself."""
    before = contents(run)
    downgrade(run / "journal.sqlite")
    with pytest.raises(UserError, match="was made with verifier 'exact'"):
        scripted.estimate(scripted.options(made[0], run, verifier="dapo"))
    downgrade(run / "journal.sqlite")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(SpoError, match="no Hub token"):
        push(PushOptions("me/sums", run), str)
    downgrade(run / "journal.sqlite")
    scripted.estimate(scripted.options(made[0], run))
    assert contents(run) == before


def test_what_a_call_has_checked_as_a_whole_is_not_checked_again(
    made: tuple[Any, Path], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the whole check, `estimate` read every row of the verdicts and of the samples' index once more."""
    checked: list[bool] = []
    count = journal_checks._count_damage

    def listen(db: sqlite3.Connection, *, whole: bool) -> Damage:
        checked.append(whole)
        return count(db, whole=whole)

    monkeypatch.setattr(journal_checks, "_count_damage", listen)
    scripted.estimate(scripted.options(made[0], run))
    assert checked == [True]
    asyncio.run(run_regrade(RegradeOptions(run, GraderOptions(grader_workers=1)), lambda *_: None))
    assert checked == [True, True]


@pytest.mark.parametrize("table", ["values", "samples"])
def test_a_changed_bit_in_a_table_is_noticed(run: Path, table: str) -> None:
    """Parquet readers do not look at the checksums of pages unless they are asked to, and writers store none."""
    (path,) = (run / table).glob("*.parquet")
    column = pq.ParquetFile(path).metadata.row_group(0).column(0 if table == "values" else 4)
    data = bytearray(path.read_bytes())
    data[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="CRC checksum verification failed"):
        read_all(run)
