"""Rows of a dataset: local files of every format, generators, and a loopback hub with the real clients."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spo_data import UserError
from spo_data.prompts.columns import BadRowError, recognise, row_ground_truth
from spo_data.prompts.rows import Rows, load_rows, reasoning_gym_dataset

if TYPE_CHECKING:
    from tests.spo_data.conftest import Hub

TABLE = [{"question": "2 + 2?", "answer": "four"}, {"question": "3 + 3?", "answer": "six"}]
OTHER = [{"question": "5 + 5?", "answer": "ten"}]
COLUMNS = ("question", "answer")


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        yield


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix.lower():
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".jsonl" | ".ndjson":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".json":
            path.write_text(json.dumps(rows))
        case ".csv":
            lines = [list(rows[0]), *(list(row.values()) for row in rows)]
            path.write_text("".join(",".join(f'"{cell}"' for cell in line) + "\n" for line in lines))
    return path


def _rows(found: Rows) -> list[dict[str, Any]]:
    return [dict(row) for row in found.rows]


def _refusal(dataset: str | Path, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        list(load_rows(str(dataset), **options).rows)
    said = str(caught.value)
    assert "\n" not in said
    return said


def _golds(found: Rows) -> list[str]:
    rows = _rows(found)
    layout = recognise(found.columns, rows)
    return [row_ground_truth(row, layout) for row in rows]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".JSONL"])
def test_a_file_of_every_format_gives_its_rows_in_order(tmp_path: Path, suffix: str) -> None:
    path = _write(tmp_path / f"data{suffix}", TABLE)
    found = load_rows(str(path))
    assert (_rows(found), found.columns) == (TABLE, COLUMNS)
    assert (found.source, found.split, found.revision, found.config) == (str(path), "train", None, None)


def test_a_parquet_struct_and_a_list_of_messages_stay_whole(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "2 + 2?"}], "reward_model": {"ground_truth": "4", "style": "rule"}}
    assert _golds(load_rows(str(_write(tmp_path / "verl.parquet", [row])))) == ["4"]


def test_a_glob_reads_its_files_sorted_by_name(tmp_path: Path) -> None:
    _write(tmp_path / "b.jsonl", OTHER)
    _write(tmp_path / "a.jsonl", TABLE)
    _write(tmp_path / "ignored.csv", OTHER)
    assert _rows(load_rows(f"{tmp_path}/*.jsonl")) == [*TABLE, *OTHER]


def test_a_double_star_reaches_into_folders(tmp_path: Path) -> None:
    _write(tmp_path / "deep/er/a.jsonl", TABLE)
    assert _rows(load_rows(f"{tmp_path}/**/*.jsonl")) == TABLE


def test_a_folder_has_the_splits_that_its_files_are_named_after(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", TABLE)
    _write(tmp_path / "test.jsonl", OTHER)
    trained, tested = load_rows(str(tmp_path)), load_rows(str(tmp_path), split="test")
    assert (_rows(trained), trained.split) == (TABLE, "train")
    assert (_rows(tested), tested.split) == (OTHER, "test")
    assert "has no split 'dev': choose --split train | test" in _refusal(tmp_path, split="dev")


def test_a_folder_without_train_is_read_where_it_has_one_split_and_refused_where_it_has_two(tmp_path: Path) -> None:
    _write(tmp_path / "test.jsonl", OTHER)
    assert load_rows(str(tmp_path)).split == "test"
    _write(tmp_path / "validation.jsonl", OTHER)
    assert "has no split 'train': choose --split validation | test" in _refusal(tmp_path)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = _write(tmp_path / "data.jsonl", TABLE)
    load_rows(str(path))
    assert _rows(load_rows(str(_write(path, OTHER)))) == OTHER


def test_a_folder_of_two_formats_is_refused_as_a_glob_of_two_formats_is(tmp_path: Path) -> None:
    """The more frequent format was read and the other files' rows were silently left out."""
    _write(tmp_path / "a.jsonl", TABLE)
    _write(tmp_path / "b.csv", OTHER)
    assert "files of several formats, csv and json" in _refusal(f"{tmp_path}/*")
    assert str(tmp_path) in _refusal(tmp_path)


def test_brackets_in_the_name_of_a_file_that_exists_are_not_a_pattern(tmp_path: Path) -> None:
    """`run[1].jsonl` was checked as a file, then read as a pattern: another file, `run1.jsonl`, was loaded."""
    _write(tmp_path / "run1.jsonl", OTHER)
    assert _rows(load_rows(str(_write(tmp_path / "run[1].jsonl", TABLE)))) == TABLE


LARGE_INTEGERS = '{"question": "a", "answer": 90071992547409931}\n{"question": "b", "answer": null}\n'
INTEGER_AND_WORD = '{"question": "a", "answer": 5}\n{"question": "b", "answer": "x"}\n'


@pytest.mark.parametrize(
    ("name", "content", "golds"),
    [
        pytest.param("a.csv", "question,answer\na,5\nb,\nc,7\n", ["5", "7"], id="csv with a blank"),
        pytest.param("a.csv", "question,answer\na,90071992547409931\nb,\n", ["90071992547409931"], id="csv large"),
        pytest.param("a.csv", "question,answer\na,007\nb,3.10\n", ["007", "3.10"], id="csv zeros"),
        pytest.param("a.csv", "question,answer\na,None\nb,yes\nc,NA\n", ["None", "yes", "NA"], id="csv words"),
        pytest.param("a.jsonl", '{"question": "When?", "answer": "2024-01-31"}\n', ["2024-01-31"], id="jsonl date"),
        pytest.param("a.json", '[{"question": "When?", "answer": "2024-01-31"}]', ["2024-01-31"], id="json date"),
        pytest.param("a.jsonl", f'{{"question": "2^100?", "answer": {2**100}}}\n', [str(2**100)], id="jsonl huge"),
        pytest.param("a.jsonl", LARGE_INTEGERS, ["90071992547409931"], id="jsonl null"),
        pytest.param("a.jsonl", INTEGER_AND_WORD, ["5", "x"], id="jsonl mixed"),
    ],
)
def test_a_gold_is_read_as_it_is_written(tmp_path: Path, name: str, content: str, golds: list[str]) -> None:
    """Type inference changed golds silently.

    A CSV column with one blank became floats (5 to 5.0, digits lost above 2**53), 007 became 7, the words None and NA
    became missing, JSON text that looks like a date became a datetime, a JSON integer above 64 bits a float.
    """
    path = tmp_path / name
    path.write_text(content)
    found = load_rows(str(path))
    rows = _rows(found)
    layout = recognise(found.columns, rows)
    read = []
    for row in rows:
        try:
            read.append(row_ground_truth(row, layout))
        except BadRowError:
            continue
    assert read == golds


@pytest.mark.parametrize(
    "dataset", ["missing.jsonl", "./missing", "/missing", "~/missing", "a/b/c", "x/missing.parquet"]
)
def test_a_missing_file_is_not_looked_up_on_the_hub(dataset: str) -> None:
    assert _refusal(dataset) == f"--dataset {dataset}: no such file or folder"


def test_a_glob_without_a_match_is_refused(tmp_path: Path) -> None:
    assert _refusal(f"{tmp_path}/*.jsonl") == f"--dataset {tmp_path}/*.jsonl: no file matches"


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("2 + 2?")
    assert f"{path} is not one of .parquet, .jsonl, .ndjson, .json, .csv" in _refusal(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.json", b'[{"question": "a"}, not json]'),
        ("broken.parquet", b"PAR1 not really"),
        ("latin.csv", b"question,answer\n\xe9,1\n"),
        ("latin.jsonl", b'{"question": "\xe9", "answer": "1"}\n'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    """A .jsonl file that is not UTF-8 loaded without an error and ended in a traceback when its row was read."""
    path = tmp_path / name
    path.write_bytes(content)
    assert _refusal(path).startswith(f"--dataset {path} cannot be read: ")


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.csv", "empty.json"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, name: str) -> None:
    """The message for an empty .jsonl file was "cannot be read: StopIteration"."""
    path = tmp_path / name
    path.touch()
    said = _refusal(path)
    assert str(path) in said
    assert "StopIteration" not in said


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("file", {"config": "en"}, "local files: --dataset-config en does not apply to it"),
        ("file", {"revision": "main"}, "local files: --revision main does not apply to it"),
        ("file", {"split": "test"}, "has no split 'test': choose --split train"),
        ("folder", {"revision": "main"}, "a local folder: --revision main does not apply to it"),
        ("folder", {"config": "en"}, "--dataset-config en does not apply to it"),
        ("generator", {"config": "en"}, "a generator: --dataset-config en does not apply to it"),
        ("generator", {"split": "train"}, "a generator: --split train does not apply to it"),
        ("generator", {"revision": "main"}, "a generator: --revision main does not apply to it"),
    ],
)
def test_an_option_that_does_not_apply_is_refused(
    tmp_path: Path, kind: str, options: dict[str, str], said: str
) -> None:
    path = _write(tmp_path / "data.jsonl", TABLE)
    dataset = {"file": str(path), "folder": str(tmp_path), "generator": "reasoning-gym:chain_sum"}[kind]
    assert said in _refusal(dataset, **options)


def test_a_generator_has_its_size_seed_and_parameters() -> None:
    found = load_rows("reasoning-gym:chain_sum?max_terms=2&max_digits=1&size=5&seed=7")
    rows = _rows(found)
    parameters = {"seed": 7, "max_terms": 2, "max_digits": 1, "size": 5}
    assert found.columns == ("question", "answer", "data_source", "task")
    assert (found.split, found.revision) == (None, None)
    assert [row["task"] for row in rows] == [
        {"generator": "chain_sum", "parameters": parameters, "index": index} for index in range(5)
    ]
    assert {row["data_source"] for row in rows} == {"reasoning-gym:chain_sum"}


def test_a_task_finds_the_same_problem_again() -> None:
    for row in load_rows("reasoning-gym:gcd?size=3&seed=1").rows:
        task = row["task"]
        entry = reasoning_gym_dataset(task["generator"], task["parameters"])[task["index"]]
        assert (entry["question"], entry["answer"]) == (row["question"], row["answer"])


def test_the_first_use_of_reasoning_gym_shows_no_warning_of_its_packages(tmp_path: Path) -> None:
    """cellpylib compares with `is "..."`: a new installation's first command began with eight lines of warnings."""
    (tmp_path / "reasoning_gym").mkdir()
    (tmp_path / "reasoning_gym" / "__init__.py").touch()
    (tmp_path / "reasoning_gym" / "factory.py").write_text("DATASETS, create_dataset = {}, 'a' is 'b'\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from spo_data.prompts.rows import reasoning_gym_dataset"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; reasoning_gym_dataset('sums', {{}})"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "UserError: reasoning-gym has no generator 'sums'" in done.stderr
    assert "Warning" not in done.stderr


def test_a_generator_without_a_seed_gives_the_same_problems_every_time() -> None:
    """reasoning-gym draws a random seed if none is given, so a run could not be resumed."""
    one, again, other = (
        [row["question"] for row in load_rows(f"reasoning-gym:chain_sum?size=4{seed}").rows]
        for seed in ("", "", "&seed=1")
    )
    assert one == again != other


@pytest.mark.parametrize("seed", ["null", "abc", ""])
def test_a_seed_that_is_not_an_integer_is_refused(seed: str) -> None:
    """`seed=null` drew a random seed, and `seed=abc` ended in a TypeError traceback when the first row was read."""
    assert "reasoning-gym:chain_sum" in _refusal(f"reasoning-gym:chain_sum?size=2&seed={seed}")


@pytest.mark.parametrize("size", ["0", "-1", "many", "3.5", ""])
def test_a_size_that_is_not_a_positive_integer_is_refused(size: str) -> None:
    """`size=3.5` ended in a TypeError traceback."""
    assert "reasoning-gym:chain_sum refuses" in _refusal(f"reasoning-gym:chain_sum?size={size}")


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("reasoning-gym:chain_summ", "no generator 'chain_summ'; did you mean chain_sum"),
        ("reasoning-gym:", "has no generator ''; did you mean"),
        ("reasoning-gym:chain_sum?terms=2", "has no parameter 'terms'; it has min_terms, max_terms"),
        ("reasoning-gym:chain_sum?min_terms=5&max_terms=2", "max_terms must be >= min_terms"),
        ("reasoning-gym:composite", "at least one dataset"),
    ],
)
def test_a_wrong_generator_or_parameter_is_refused_with_a_suggestion(dataset: str, said: str) -> None:
    assert said in _refusal(dataset)


SECRET = '{"question": "Where is the key?", "answer": "42"}\n'


def _load(dataset: str, **options: str) -> dict[str, Any]:
    return {"call": "spo_data.prompts.rows.load_rows", "args": [dataset], "kwargs": options}


@pytest.fixture(scope="module")
def answers(hub: "Hub") -> dict[str, dict[str, Any]]:
    """The real clients' answers from the hub, by the label of the step."""
    hub.write("datasets/acme/math", {"train.jsonl": '{"question": "2 + 2?", "answer": "4"}\n'})
    hub.write("datasets/acme/math", {"train.jsonl": '{"question": "2 + 2?", "answer": "5"}\n'}, branch="wrong")
    hub.write("datasets/acme/gated-math", {"train.jsonl": '{"question": "2 + 2?", "answer": "4"}\n'})
    hub.write("datasets/acme/gone", {"train.jsonl": '{"question": "2 + 2?", "answer": "4"}\n'})
    configs = (
        "---\nconfigs:\n- config_name: en\n  data_files: en.jsonl\n- config_name: de\n  data_files: de.jsonl\n---\n"
    )
    languages = {name: f'{{"problem": "In {name}?", "answer": "4"}}\n' for name in ("en", "de")}
    hub.write("datasets/acme/languages", {"README.md": configs} | {f"{k}.jsonl": v for k, v in languages.items()})
    mine = hub.root / "mine.jsonl"
    mine.write_text(SECRET)
    elsewhere = f"---\nconfigs:\n- config_name: default\n  data_files: {mine}\n---\n"
    hub.write("datasets/acme/elsewhere", {"README.md": elsewhere, "train.jsonl": '{"question": "?", "answer": "4"}\n'})
    return hub.ask(
        {
            "default": _load("acme/math"),
            "elsewhere": _load("acme/elsewhere"),
            "branch": _load("acme/math", revision="wrong"),
            "bad revision": _load("acme/math", revision="nope"),
            "bad split": _load("acme/math", split="test"),
            "missing": _load("acme/nothing"),
            "one word": _load("nothing"),
            "bad id": _load("not an id!"),
            "gated": _load("acme/gated-math"),
            "config": _load("acme/languages", config="de"),
            "no config": _load("acme/languages"),
            "bad config": _load("acme/languages", config="fr"),
            "before it goes": _load("acme/gone"),
            "it goes": {"remove": str(hub.root / "datasets/acme/gone")},
            "gone": _load("acme/gone"),
        }
    )


def _commit(hub: "Hub", branch: str) -> str:
    info = f"/api/datasets/acme/math/revision/{branch}"
    with urllib.request.urlopen(hub.address + info) as answer:
        return str(json.load(answer)["sha"])


def test_a_hub_id_is_resolved_to_a_commit_that_is_recorded(hub: "Hub", answers: Mapping[str, Any]) -> None:
    assert answers["default"] == {
        "rows": [{"question": "2 + 2?", "answer": "4"}],
        "columns": ["question", "answer"],
        "source": "acme/math",
        "config": None,
        "split": "train",
        "revision": _commit(hub, "main"),
    }


def test_a_branch_is_recorded_as_its_commit(hub: "Hub", answers: Mapping[str, Any]) -> None:
    assert answers["branch"]["rows"] == [{"question": "2 + 2?", "answer": "5"}]
    assert answers["branch"]["revision"] == _commit(hub, "wrong") != _commit(hub, "main")


def test_nothing_is_downloaded_from_a_moving_branch(hub: "Hub", answers: Mapping[str, Any]) -> None:
    assert answers
    files = [request for request in hub.requests() if "/resolve/" in request or "/tree/" in request]
    assert files
    assert not [request for request in files if "/main" in request or "/wrong" in request]


def test_a_configuration_is_chosen_by_name(answers: Mapping[str, Any]) -> None:
    assert answers["config"]["rows"] == [{"problem": "In de?", "answer": "4"}]
    assert answers["config"]["config"] == "de"


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("missing", "--dataset acme/nothing: no such file or folder, and not on the Hub"),
        ("one word", "--dataset nothing: no such file or folder, and not on the Hub"),
        ("bad revision", "--dataset acme/math has no revision 'nope'"),
        ("bad split", "--dataset acme/math has no split 'test': choose --split train"),
        ("bad id", "--dataset not an id!: no such file or folder, and not a Hub id"),
        ("gated", "--dataset acme/gated-math is gated: accept its terms on its page, then `hf auth login`"),
        ("no config", "needs another --dataset-config: Config name is missing. Please pick one among"),
        ("bad config", "needs another --dataset-config: BuilderConfig 'fr' not found. Available: ['en', 'de']"),
    ],
    ids=lambda value: value if len(value) < 15 else "",
)
def test_what_the_hub_refuses_is_one_line(answers: Mapping[str, Any], label: str, said: str) -> None:
    assert said in answers[label].get("user_error", answers[label])
    assert "\n" not in answers[label]["user_error"]


def test_a_deleted_repository_is_not_served_from_the_cache(answers: Mapping[str, Any]) -> None:
    """`datasets.load_dataset(id)` silently serves a stale cache if the repository is gone."""
    assert answers["before it goes"]["rows"]
    assert "no such file or folder, and not on the Hub" in answers["gone"]["user_error"]


def test_an_unreachable_hub_is_one_line_though_the_cache_has_the_rows(
    hub: "Hub", answers: Mapping[str, Any], nowhere: str
) -> None:
    """huggingface_hub raises its HTTP library's ConnectError, no OSError and not its own. It ended in a traceback."""
    assert answers["default"]["rows"]
    (answer,) = hub.ask({"unreachable": _load("acme/math")}, HF_ENDPOINT=nowhere).values()
    said = answer.get("user_error", answer)
    assert f"the Hub at {nowhere} did not answer" in said
    assert said.endswith(
        f"; the Hub's cache has commit {answers['default']['revision']}: with HF_HUB_OFFLINE=1 it is used"
    )


def test_without_a_network_the_rows_come_from_the_cache(hub: "Hub", answers: Mapping[str, Any]) -> None:
    """The message said that they were not in the cache."""
    steps = {"default": _load("acme/math"), "branch": _load("acme/math", revision="wrong"), "bad": _load("acme/other")}
    found = hub.ask(steps, HF_HUB_OFFLINE="1")
    assert (found["default"], found["branch"]) == (answers["default"], answers["branch"])
    said = found["bad"]["user_error"]
    assert said.startswith("--dataset acme/other: no such file or folder, and the Hub's cache at")


def test_the_card_of_a_hub_dataset_names_no_file_of_this_machine(answers: Mapping[str, Any]) -> None:
    """`datasets` reads an absolute path from the user's own disk, and the run's record named the dataset's commit."""
    said = answers["elsewhere"].get("user_error", answers["elsewhere"])
    assert said.startswith("--dataset acme/elsewhere")
    assert "its card names /" in said or "Data files don't belong to acme/elsewhere" in said  # datasets 4 or 5 says it


@pytest.mark.parametrize(
    ("card", "link"),
    [
        ("data_files: ../secret.jsonl", None),
        ("data_files: [{split: train, path: [a.jsonl, ../secret.jsonl]}]", None),
        ("data_files: $HERE/secret.jsonl", None),
        ("data_dir: ..", None),
        ("data_files: linked.jsonl", "linked.jsonl"),
        ("data_files: '*.jsonl'", "linked.jsonl"),
    ],
)
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_a_card_names_no_file_outside_its_folder(card: str, link: str | None, name: str, tmp_path: Path) -> None:
    """A downloaded folder could make rows of any of the user's files into prompts, which are published with a run."""
    (tmp_path / "secret.jsonl").write_text(SECRET)
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"question": "2 + 2?", "answer": "4"}\n')
    (folder / "README.md").write_text("# Sums\n")
    header = f"configs:\n- config_name: default\n  {card.replace('$HERE', str(tmp_path))}\n"
    (folder / name).write_text(f"---\n{header}---\n" if name == "README.md" else header)
    if link is not None:
        (folder / link).symlink_to(tmp_path / "secret.jsonl")
    said = _refusal(str(folder))
    assert said.startswith(f"--dataset {folder}: its card names ")
    assert ".jsonl, which is not one of its files: correct the card, or give the files to read as --dataset" in said


def test_a_card_may_name_what_the_hubs_cache_links_to(tmp_path: Path) -> None:
    commit, blobs = tmp_path / "snapshots" / "c0ffee", tmp_path / "blobs"
    commit.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_text(SECRET)
    (commit / "train.jsonl").symlink_to("../../blobs/1")
    (commit / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: train.jsonl\n---\n")
    assert len(list(load_rows(str(commit)).rows)) == 1


@pytest.mark.parametrize("other", [False, True], ids=["the same folder", "another folder"])
def test_the_rows_of_a_folder_with_a_card_are_those_of_its_files(tmp_path: Path, other: bool) -> None:
    """`datasets` gave the rows that it had prepared of any folder with this name and card, whatever the files held."""
    for place, row in (("one", TABLE[0]), ("two" if other else "one", OTHER[0])):
        folder = tmp_path / place / "sums"
        _write(folder / "train.jsonl", [row])
        (folder / "README.md").write_text("---\nconfigs:\n- config_name: a\n  data_files: '*.jsonl'\n---\n")
        assert _rows(load_rows(str(folder))) == [row]


def test_images_are_not_decoded_while_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row with an image raised an ImportError without Pillow, and took milliseconds with it."""
    import datasets

    features = datasets.Features({"images": datasets.List(datasets.Image()), "problem": datasets.Value("string")})
    rows = [
        {"images": [{"bytes": b"no png", "path": None}], "problem": "<image>?"},
        {"images": [], "problem": "1 + 1?"},
    ]
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(tmp_path / "a.parquet"))
    monkeypatch.setattr(datasets.Image, "decode_example", None)
    assert _rows(load_rows(str(tmp_path / "a.parquet"))) == rows


def test_a_json_row_that_is_a_list_of_turns_has_numbers_for_columns(tmp_path: Path) -> None:
    """ORZ's file holds one list of two turns for each problem."""
    turns = [{"from": "human", "value": "1 + 1?"}, {"from": "assistant", "ground_truth": {"value": "2"}}]
    (tmp_path / "orz.json").write_text(json.dumps([turns, [1, 2]]))
    first, bad = load_rows(str(tmp_path / "orz.json")).rows
    assert first == {"0": turns[0], "1": turns[1]}
    assert isinstance(bad, BadRowError)
