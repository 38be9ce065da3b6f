"""Runs pushed by the real clients to a hub on loopback: whatever fails on the way, the result is one commit."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from fake_hub import client as hub_client
from fake_hub.running import Hub, client_environment, hub_with_clients
from spo_data.provenance import Provenance
from spo_data.run.manifest import read_manifest
from support import push_client, scripted
from support.virtual_time import FastRight

pytestmark = pytest.mark.slow
NUMBERS = itertools.count(1)
SLOW_DOWN = {"Retry-After": "7"}
PUBLISHED = {
    ".gitattributes",
    "README.md",
    "histogram.png",
    "run.json",
    "samples/train-00000-of-00001.parquet",
    "values/train-00000-of-00001.parquet",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root, home = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("home")
    with hub_with_clients(root, home, push_client.prepare) as hub:
        yield hub


@pytest.fixture(autouse=True)
def _no_faults(hub: Hub) -> None:
    hub.server.faults()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the scripted engine."""
    folder = tmp_path_factory.mktemp("finished")
    scripted.estimate(scripted.options(scripted.write_rows(folder / "sums.jsonl"), folder / "run"))
    return folder / "run"


@pytest.fixture
def repo_id() -> str:
    """A dataset that only this test uses."""
    return f"me/values-{next(NUMBERS)}"


def committed(answer: push_client.Answer) -> Any:
    assert answer.error is None, answer.error
    return answer.value


def on_hub(hub: Hub, repo_id: str) -> set[str]:
    return set(hub.ask(hub_client.tree, repo_id))


def test_a_run_is_one_commit_of_tables_card_picture_and_manifest(hub: Hub, run: Path, repo_id: str) -> None:
    made = committed(hub.ask(push_client.push, repo_id, run))
    title = f"Values of {scripted.MODEL} on {run.parents[0].name}"
    first, *before = hub.ask(push_client.titles, repo_id)
    assert before == ["initial commit"]
    assert first.startswith(title.split(" on ")[0])
    assert first.endswith(", n = 4")
    assert on_hub(hub, repo_id) == PUBLISHED
    assert set(made.uploaded) == PUBLISHED - {".gitattributes"}
    assert not made.private
    header = yaml.safe_load(hub.ask(push_client.readme, repo_id).split("---\n")[1])
    manifest = read_manifest(run)
    assert manifest is not None
    assert Provenance.model_validate(header["spo"]) == manifest.provenance
    assert f'load_dataset("{repo_id}", "values")' in hub.ask(push_client.readme, repo_id)


def test_a_fresh_process_with_a_fresh_cache_loads_what_was_pushed_as_the_reference_does(
    hub: Hub, run: Path, repo_id: str, tmp_path: Path
) -> None:
    made = committed(hub.ask(push_client.push, repo_id, run))
    program = (
        "import json, sys\n"
        "from datasets import load_dataset\n"
        "dataset = load_dataset(sys.argv[1])\n"
        "offline_values = {item['prompt']: item['vhat'] for item in dataset['train']}\n"
        "samples = load_dataset(sys.argv[1], 'samples', revision=sys.argv[2])['train']\n"
        "import spo_data\n"
        "values = spo_data.load_values(sys.argv[1])\n"
        "print(json.dumps([offline_values, len(samples), values.revision, values.prompt_ids]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, repo_id, made.commit],
        env=client_environment(hub.server.address, tmp_path / "fresh"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    offline_values, n_samples, revision, prompt_ids = json.loads(done.stdout)
    table = pq.read_table(run / "values").to_pylist()
    assert offline_values == {row["prompt"]: row["vhat"] for row in table}
    assert prompt_ids == [row["prompt_id"] for row in table]
    assert n_samples == pq.read_table(run / "samples").num_rows > 0
    assert revision == made.commit


@pytest.mark.parametrize(
    "path", ["/api/datasets/", "/tree/", "/preupload/", "/commit/", "/objects/batch", "/api/repos"]
)
def test_an_answer_in_the_hub_s_place_is_one_line_and_the_next_push_commits_once(
    hub: Hub, run: Path, repo_id: str, path: str
) -> None:
    """A proxy that answered 200 with {} ended a push in a traceback (KeyError: 'id')."""
    errors = []
    for body in ("{}", "[]", "null", "<html>Log in</html>", "", '{"files": ['):
        hub.server.faults({"path": path, "status": 200, "body": body, "times": 100})
        failed = hub.ask(push_client.push, repo_id, run)
        assert failed.status in (1, None), failed
        errors.append(failed.error or "")
    assert any(errors)
    assert "\n" not in "".join(errors)
    hub.server.faults()
    committed(hub.ask(push_client.push, repo_id, run))
    assert len(hub.ask(push_client.titles, repo_id)) == 2


def test_the_same_run_again_makes_no_commit(hub: Hub, run: Path, repo_id: str) -> None:
    first = committed(hub.ask(push_client.push, repo_id, run))
    again = committed(hub.ask(push_client.push, repo_id, run, commit_message="Another message"))
    assert (again.commit, again.uploaded, again.deleted) == (first.commit, (), ())
    assert len(hub.ask(push_client.titles, repo_id)) == 2


def test_tables_come_from_the_journal_whatever_lies_in_the_folder(hub: Hub, run: Path, repo_id: str) -> None:
    """Tables left by an interrupted regrade would have been published as the new grader's."""
    first = committed(hub.ask(push_client.push, repo_id, run))
    shutil.rmtree(run / "values")
    (run / "samples" / "train-00000-of-00001.parquet").write_bytes(b"stale")
    assert committed(hub.ask(push_client.push, repo_id, run)).commit == first.commit


def test_a_user_s_own_files_beside_the_tables_are_neither_read_nor_published(hub: Hub, run: Path, repo_id: str) -> None:
    """A note in `values/`, which a call leaves there, ended a push in a traceback."""
    for name in ("notes.txt", "train-mine.parquet"):
        (run / "values" / name).write_text("mine")
    committed(hub.ask(push_client.push, repo_id, run))
    assert on_hub(hub, repo_id) == PUBLISHED


def test_what_we_pushed_before_and_do_not_now_is_deleted_and_what_others_put_there_stays(
    hub: Hub, run: Path, repo_id: str
) -> None:
    committed(hub.ask(push_client.push, repo_id, run))
    others = {
        "samples/train-00001-of-00002.parquet": b"of an earlier push",
        "samples/notes.txt": b"mine",
        "extra/train-00000-of-00001.parquet": b"mine",
    }
    hub.ask(hub_client.commit, repo_id, others, "Others")
    again = committed(hub.ask(push_client.push, repo_id, run))
    assert (again.uploaded, again.deleted) == ((), ("samples/train-00001-of-00002.parquet",))
    assert on_hub(hub, repo_id) == PUBLISHED | {"samples/notes.txt", "extra/train-00000-of-00001.parquet"}


def test_without_samples_none_are_published_and_earlier_ones_go(hub: Hub, run: Path, repo_id: str) -> None:
    committed(hub.ask(push_client.push, repo_id, run))
    again = committed(hub.ask(push_client.push, repo_id, run, samples=False))
    assert again.deleted == ("samples/train-00000-of-00001.parquet",)
    assert again.uploaded == ("README.md",)
    header = yaml.safe_load(hub.ask(push_client.readme, repo_id).split("---\n")[1])
    assert [config["config_name"] for config in header["configs"]] == ["values"]


def test_words_and_keys_that_a_user_wrote_on_the_hub_survive(hub: Hub, run: Path, repo_id: str) -> None:
    committed(hub.ask(push_client.push, repo_id, run))
    text = hub.ask(push_client.readme, repo_id)
    edited = text.replace("license: unknown", "license: mit # asked") + "\nWritten on the Hub.\n"
    hub.ask(hub_client.commit, repo_id, {"README.md": edited.encode()}, "Edit")
    assert committed(hub.ask(push_client.push, repo_id, run)).uploaded == ()
    assert hub.ask(push_client.readme, repo_id) == edited


def test_words_that_a_user_wrote_in_the_run_folder_are_published(hub: Hub, run: Path, repo_id: str) -> None:
    (run / "README.md").write_text("---\nlicense: mit\n---\nWritten here.\n")
    committed(hub.ask(push_client.push, repo_id, run))
    text = hub.ask(push_client.readme, repo_id)
    assert "Written here.\n" in text
    assert "license: mit\n" in text
    assert committed(hub.ask(push_client.push, repo_id, run)).uploaded == ()


def test_of_different_words_here_and_there_those_on_the_hub_stay_and_we_say_so(
    hub: Hub, run: Path, repo_id: str
) -> None:
    hub.ask(hub_client.create, repo_id)
    hub.ask(hub_client.commit, repo_id, {"README.md": b"There.\n"}, "Words")
    (run / "README.md").write_text("Here.\n")
    answer = hub.ask(push_client.push, repo_id, run)
    committed(answer)
    assert "note: README.md has a different text on the Hub than here; the Hub's is kept" in answer.said
    assert "There.\n" in hub.ask(push_client.readme, repo_id)
    assert "Here.\n" not in hub.ask(push_client.readme, repo_id)


def test_a_private_dataset_is_made_private(hub: Hub, run: Path, repo_id: str) -> None:
    assert committed(hub.ask(push_client.push, repo_id, run, private=True)).private
    assert hub.ask(push_client.is_private, repo_id)


def test_private_does_not_publish_into_a_public_dataset(hub: Hub, run: Path, repo_id: str) -> None:
    """`create_repo(private=True, exist_ok=True)` leaves a public dataset public and says nothing."""
    hub.ask(hub_client.create, repo_id)
    answer = hub.ask(push_client.push, repo_id, run, private=True)
    assert answer.status == 1
    assert f"`hf repos settings {repo_id} --type dataset --private`" in str(answer.error)
    assert on_hub(hub, repo_id) == {".gitattributes"}


@pytest.mark.parametrize(
    ("faults", "waited"),
    [
        ([{"path": "/commit/", "status": status, "times": 2} for status in (code,)], [1.0, 2.0])
        for code in (409, 429, 500, 502, 503, 504)
    ]
    + [
        ([{"path": "/commit/", "status": 0, "times": 2}], [1.0, 2.0]),
        ([{"path": "/commit/", "status": 503, "headers": SLOW_DOWN}], [7.0]),
        ([{"path": "/commit/", "status": 429, "headers": SLOW_DOWN}], [7.0]),
        ([{"path": "/repos/create", "status": 503}], [1.0]),
        ([{"path": "/repos/create", "status": 500, "when": "after"}], [1.0]),
        ([{"path": "/validate-yaml", "status": 0}], [1.0]),
        ([{"path": "/tree/", "status": 425}], [1.0]),  # not 500: huggingface_hub 2.x repeats that itself
        ([{"path": "/api/datasets/", "method": "GET", "status": 503, "times": 3}], [1.0, 2.0, 4.0]),
    ],
    ids=str,
)
def test_what_passes_is_tried_again_as_late_as_the_hub_asks(
    hub: Hub, run: Path, repo_id: str, faults: list[dict[str, Any]], waited: list[float]
) -> None:
    hub.server.faults(*faults)
    answer = hub.ask(push_client.push, repo_id, run)
    committed(answer)
    assert hub.server.faults_left() == []
    assert answer.waited == waited
    assert any("trying again in" in line for line in answer.said)
    assert len(hub.ask(push_client.titles, repo_id)) == 2
    assert on_hub(hub, repo_id) == PUBLISHED


@pytest.mark.parametrize("status", [0, 500, 504])
def test_a_commit_whose_answer_is_lost_is_not_made_again(hub: Hub, run: Path, repo_id: str, status: int) -> None:
    hub.server.faults({"path": "/commit/", "status": status, "when": "after"})
    made = committed(hub.ask(push_client.push, repo_id, run))
    assert len(hub.ask(push_client.titles, repo_id)) == 2
    assert set(made.uploaded) == PUBLISHED - {".gitattributes"}, "what the lost try sent is reported"
    assert on_hub(hub, repo_id) == PUBLISHED


def test_a_commit_whose_answer_is_lost_and_that_deleted_something_is_not_made_again(
    hub: Hub, run: Path, repo_id: str
) -> None:
    committed(hub.ask(push_client.push, repo_id, run))
    hub.server.faults({"path": "/commit/", "status": 0, "when": "after"})
    again = committed(hub.ask(push_client.push, repo_id, run, samples=False))
    assert again.deleted == ("samples/train-00000-of-00001.parquet",)
    assert len(hub.ask(push_client.titles, repo_id)) == 3


def test_somebody_else_s_commit_in_between_is_kept_and_ours_comes_after(hub: Hub, run: Path, repo_id: str) -> None:
    hub.server.faults({"path": "/commit/", "meanwhile": {"theirs.txt": "theirs", "README.md": "Their words.\n"}})
    answer = hub.ask(push_client.push, repo_id, run)
    committed(answer)
    assert any("412" in line for line in answer.said)
    assert hub.ask(push_client.titles, repo_id)[1:] == ["Meanwhile", "initial commit"]
    assert on_hub(hub, repo_id) == PUBLISHED | {"theirs.txt"}
    assert "Their words.\n" in hub.ask(push_client.readme, repo_id)


def test_a_push_that_never_gets_through_leaves_nothing_half_visible(hub: Hub, run: Path, repo_id: str) -> None:
    committed(hub.ask(push_client.push, repo_id, run, samples=False))
    before = hub.ask(push_client.titles, repo_id)
    hub.server.faults({"path": "/commit/", "status": 503, "times": 6})
    answer = hub.ask(push_client.push, repo_id, run)
    assert answer.status == 1
    assert answer.error is not None
    assert "answered 503" in answer.error
    assert "run the same command again" in answer.error
    assert "\n" not in answer.error
    assert answer.waited == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert hub.ask(push_client.titles, repo_id) == before
    assert on_hub(hub, repo_id) == PUBLISHED - {"samples/train-00000-of-00001.parquet"}


def test_an_upload_that_fails_is_tried_again_and_then_ends_in_one_line(hub: Hub, run: Path, repo_id: str) -> None:
    """The client raises a RuntimeError for a failed upload, which the user would have seen as a traceback."""
    hub.server.faults({"method": "PUT", "status": 503, "times": 1_000})
    answer = hub.ask(push_client.push, repo_id, run)
    assert answer.status == 1
    assert "was not pushed" in str(answer.error)
    assert "\n" not in str(answer.error)
    assert on_hub(hub, repo_id) == {".gitattributes"}
    hub.server.faults({"method": "PUT", "status": 0, "times": 2})
    committed(hub.ask(push_client.push, repo_id, run))


def test_a_wait_that_is_too_long_is_the_user_s_to_decide(hub: Hub, run: Path, repo_id: str) -> None:
    hub.server.faults({"path": "/commit/", "status": 429, "headers": {"Retry-After": "86400"}})
    answer = hub.ask(push_client.push, repo_id, run)
    assert (answer.status, answer.waited) == (1, [])
    assert "asks to wait 86400 s; run the same command again" in str(answer.error)


def test_a_retry_after_as_a_date_is_read(hub: Hub, run: Path, repo_id: str) -> None:
    hub.server.faults(
        {"path": "/commit/", "status": 503, "headers": {"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}},
        {"path": "/commit/", "status": 503, "headers": {"Retry-After": "soon"}},
    )
    answer = hub.ask(push_client.push, repo_id, run)
    committed(answer)
    assert answer.waited == [0.0, 2.0]


def test_a_pull_request_leaves_main_alone_and_is_opened_once(hub: Hub, run: Path, repo_id: str) -> None:
    hub.ask(hub_client.create, repo_id)
    hub.server.faults({"path": "/commit/", "status": 0, "when": "after"})
    opened = committed(hub.ask(push_client.push, repo_id, run, create_pr=True, commit_message="Values, please"))
    assert opened.pr_url == f"{hub.server.address}/datasets/{repo_id}/discussions/1"
    again = committed(hub.ask(push_client.push, repo_id, run, create_pr=True, commit_message="Values, please"))
    assert again.pr_url == opened.pr_url
    assert hub.ask(push_client.pull_requests, repo_id) == ["Values, please"]
    assert on_hub(hub, repo_id) == {".gitattributes"}
    assert hub.ask(push_client.titles, repo_id, "refs/pr/1") == ["Values, please", "initial commit"]


def test_somebody_without_write_access_may_open_a_pull_request(hub: Hub, run: Path, repo_id: str) -> None:
    hub.ask(hub_client.create, repo_id)
    assert committed(hub.ask(push_client.push, repo_id, run, token="hf_reader", create_pr=True)).pr_url


def test_a_branch_is_pushed_to_and_main_stays(hub: Hub, run: Path, repo_id: str) -> None:
    hub.ask(hub_client.create, repo_id)
    hub.ask(hub_client.call, "create_branch", repo_id, branch="v2", repo_type="dataset")
    committed(hub.ask(push_client.push, repo_id, run, revision="v2"))
    assert len(hub.ask(push_client.titles, repo_id, "v2")) == 2
    assert on_hub(hub, repo_id) == {".gitattributes"}


Prepare = Callable[[Hub, str], None]


def _made(hub: Hub, repo_id: str) -> None:
    hub.ask(hub_client.create, repo_id)


def _nothing(hub: Hub, repo_id: str) -> None:
    """The dataset does not exist."""


@pytest.mark.parametrize(
    ("prepare", "options", "fault", "message"),
    [
        (_made, {"token": "hf_stranger"}, None, "refuses the token"),
        (_nothing, {"token": "hf_reader"}, None, "this token may not create a dataset under me"),
        (_made, {"token": "hf_reader"}, None, "this token may not write to me/"),
        (_made, {"revision": "absent"}, None, "has no branch 'absent': create it with `hf repos branch create me/"),
        (_nothing, {"create_pr": True}, None, "is not on the Hub, so there is nothing to propose a change to"),
        (
            _made,
            {},
            {"path": "/api/datasets/", "status": 403, "headers": {"X-Error-Code": "GatedRepo"}},
            "is gated: accept its terms on its page",
        ),
        (_made, {}, {"path": "/validate-yaml", "status": 400}, "was not pushed"),
        (_made, {}, {"path": "/commit/", "status": 413}, "answered 413"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_the_fix_and_no_second_try(
    hub: Hub,
    run: Path,
    repo_id: str,
    prepare: Prepare,
    options: dict[str, Any],
    fault: dict[str, Any] | None,
    message: str,
) -> None:
    prepare(hub, repo_id)
    hub.server.faults(*[fault] * (fault is not None))
    answer = hub.ask(push_client.push, repo_id, run, **options)
    assert answer.status == 1
    assert message in str(answer.error)
    assert "\n" not in str(answer.error)
    assert answer.waited == []


@pytest.mark.parametrize("repo_id", ["values", "a/b/c", "me/a b", "me/"])
def test_a_malformed_id_is_wrong_input(hub: Hub, run: Path, repo_id: str) -> None:
    answer = hub.ask(push_client.push, repo_id, run)
    assert answer.status == 2
    assert "\n" not in str(answer.error)


def test_a_folder_that_is_no_run_is_wrong_input(hub: Hub, tmp_path: Path) -> None:
    assert hub.ask(push_client.push, "me/none", tmp_path).status == 2


def test_an_incomplete_run_is_refused_with_both_commands_and_says_so_on_its_card(
    hub: Hub, repo_id: str, tmp_path: Path
) -> None:
    asked = scripted.options(scripted.write_rows(tmp_path / "sums.jsonl"), tmp_path / "run")
    scripted.estimate(asked, scripted.Script(fail_every=3))
    answer = hub.ask(push_client.push, repo_id, tmp_path / "run")
    assert answer.status == 2
    assert f"`spo-data estimate --model {scripted.MODEL} " in str(answer.error)
    assert f"`spo-data push {repo_id} {tmp_path / 'run'} --allow-missing`" in str(answer.error)
    committed(hub.ask(push_client.push, repo_id, tmp_path / "run", allow_missing=True))
    assert "**Incomplete.**" in hub.ask(push_client.readme, repo_id)


def test_the_values_of_an_unfinished_run_say_so_wherever_they_go(hub: Hub, repo_id: str, tmp_path: Path) -> None:
    """Half-drawn prompts, whose right answers end first, were published with values and bounds that looked finished."""
    run, engine = tmp_path / "run", FastRight(8, stop_after=40)
    asked = scripted.options(scripted.write_rows(tmp_path / "sums.jsonl", 20), run)
    summary = scripted.estimate(asked, start_engine=engine.start).summary
    assert 0 < summary.prompts_with_value < 10
    answer = hub.ask(push_client.push, repo_id, run)
    assert f"{summary.unfinished} of 20 prompts are unfinished (40 of 80 samples are not drawn yet)" in str(
        answer.error
    )
    committed(hub.ask(push_client.push, repo_id, run, allow_missing=True))
    assert f"**Incomplete.** {summary.unfinished} of 20 prompts are unfinished" in hub.ask(push_client.readme, repo_id)
    _, _, rows, completeness = hub.ask(push_client.load, repo_id).value
    assert completeness == summary.completeness
    assert {(row["n"], row["n_valid"]) for row in rows} == {(4, 4)}
    assert len(rows) == summary.prompts_with_value


@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_journal_that_lost_its_samples_is_not_published(
    hub: Hub, run: Path, repo_id: str, allow_missing: bool
) -> None:
    """An emptied journal counted as complete, and empty tables replaced the good ones here and on the Hub."""
    first = committed(hub.ask(push_client.push, repo_id, run))
    tables = scripted.tables(run)
    for path in run.glob("journal.sqlite*"):
        path.unlink()
    (run / "journal.sqlite").touch()
    answer = hub.ask(push_client.push, repo_id, run, allow_missing=allow_missing)
    assert answer.status == 2
    assert "holds 0 samples, " in str(answer.error)
    assert scripted.tables(run) == tables
    assert len(hub.ask(push_client.titles, repo_id)) == 2
    assert hub.ask(push_client.load, repo_id).value[0] == first.commit


def test_a_run_without_a_value_is_not_published(hub: Hub, repo_id: str, tmp_path: Path) -> None:
    asked = scripted.options(scripted.write_rows(tmp_path / "sums.jsonl"), tmp_path / "run")
    scripted.estimate(asked, scripted.Script(fail_all=True))
    answer = hub.ask(push_client.push, repo_id, tmp_path / "run", allow_missing=True)
    assert answer.status == 2
    nothing = f"{tmp_path / 'run'} holds no value: there is nothing to publish; `spo-data estimate --model "
    assert str(answer.error).startswith(nothing)
    assert str(answer.error).endswith("` continues it")


@pytest.mark.parametrize("fault", [{"status": 503, "times": 7}, {"status": 0, "times": 3}])
def test_a_readme_that_does_not_come_is_asked_for_again(
    hub: Hub, run: Path, repo_id: str, fault: dict[str, Any]
) -> None:
    """The client raises LocalEntryNotFoundError if the README cannot be fetched. The user saw a traceback."""
    hub.ask(hub_client.create, repo_id)
    hub.ask(hub_client.commit, repo_id, {"README.md": b"There.\n"}, "Words")
    hub.server.faults({"method": "HEAD", "path": "/resolve/", **fault})
    committed(hub.ask(push_client.push, repo_id, run))
    assert "There.\n" in hub.ask(push_client.readme, repo_id)


def test_a_readme_that_may_not_be_read_is_one_line(hub: Hub, run: Path, repo_id: str) -> None:
    hub.ask(hub_client.create, repo_id)
    hub.ask(hub_client.commit, repo_id, {"README.md": b"There.\n"}, "Words")
    hub.server.faults({"path": "/resolve/", "status": 403, "times": 100})
    answer = hub.ask(push_client.push, repo_id, run)
    assert answer.status == 1
    assert "\n" not in str(answer.error)


def test_words_that_a_user_adds_after_the_first_push_are_published(hub: Hub, run: Path, repo_id: str) -> None:
    committed(hub.ask(push_client.push, repo_id, run))
    path = run / "README.md"
    path.write_text(path.read_text().replace("license: unknown", "license: mit") + "\nAdded here.\n")
    assert committed(hub.ask(push_client.push, repo_id, run)).uploaded == ("README.md",)
    text = hub.ask(push_client.readme, repo_id)
    assert "Added here.\n" in text
    assert "license: mit\n" in text


def test_a_card_that_names_files_elsewhere_is_not_published(hub: Hub, run: Path, repo_id: str) -> None:
    """Whoever loads the published dataset would load that file of their own machine."""
    (run / "README.md").write_text("---\nconfigs:\n- config_name: mine\n  data_files: ../../notes.csv\n---\n")
    answer = hub.ask(push_client.push, repo_id, run)
    outside = "config mine names ../../notes.csv, which is outside the dataset"
    fix = "correct it, or delete the file: spo-data then writes a new card"
    assert (answer.status, answer.error) == (2, f"{run / 'README.md'}: {outside}: {fix}")


def test_files_that_are_only_called_alike_stay(hub: Hub, run: Path, repo_id: str) -> None:
    """A pattern's * also matched a slash, so a user's own `values/train-mine/notes.parquet` was deleted."""
    committed(hub.ask(push_client.push, repo_id, run))
    theirs = {"values/train-mine/notes.parquet": b"n", "values/train-extra.parquet": b"e"}
    hub.ask(hub_client.commit, repo_id, theirs, "Theirs")
    assert committed(hub.ask(push_client.push, repo_id, run)).deleted == ()
    assert on_hub(hub, repo_id) == PUBLISHED | set(theirs)


def test_a_branch_of_a_dataset_that_is_not_there_makes_no_dataset(hub: Hub, run: Path, repo_id: str) -> None:
    answer = hub.ask(push_client.push, repo_id, run, revision="dev")
    assert answer.status == 1
    assert "is not on the Hub, so it has no branch 'dev'" in str(answer.error)
    assert isinstance(hub.ask(hub_client.call, "dataset_info", repo_id), hub_client.Failure)


def test_values_are_loaded_by_commit_and_an_old_commit_still_has_the_old_ones(
    hub: Hub, run: Path, repo_id: str
) -> None:
    first = committed(hub.ask(push_client.push, repo_id, run))
    revision, provenance, rows, completeness = hub.ask(push_client.load, repo_id).value
    manifest = read_manifest(run)
    assert manifest is not None
    assert (revision, provenance) == (first.commit, manifest.provenance)
    hub.ask(hub_client.commit, repo_id, {"values/train-00000-of-00001.parquet": b"PAR1"}, "Break")
    assert "cannot be read as parquet" in str(hub.ask(push_client.load, repo_id).error)
    assert hub.ask(push_client.load, repo_id, first.commit).value == (revision, provenance, rows, completeness)


def test_no_stale_cache_is_served_for_a_dataset_that_is_gone_or_a_wrong_revision(
    hub: Hub, run: Path, repo_id: str
) -> None:
    """`load_dataset` returned cached data, although the revision did not exist or the hub did not answer."""
    committed(hub.ask(push_client.push, repo_id, run))
    assert hub.ask(push_client.load, repo_id).error is None
    assert "has no revision 'absent'" in str(hub.ask(push_client.load, repo_id, "absent").error)
    hub.server.faults({"path": "/api/datasets/", "status": 0, "times": 100})
    assert "did not answer" in str(hub.ask(push_client.load, repo_id).error)
    hub.server.faults()
    hub.ask(hub_client.call, "delete_repo", repo_id, repo_type="dataset")
    shutil.rmtree(hub.server.root / "datasets" / repo_id, ignore_errors=True)
    assert "not on the Hub" in str(hub.ask(push_client.load, repo_id).error)


def test_the_published_columns_of_others_are_loaded_from_the_hub(hub: Hub, repo_id: str, tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"prompt": ["a?"], "vhat": [[1.0, 0.0]]}), tmp_path / "t.parquet")
    hub.ask(hub_client.create, repo_id)
    content = (tmp_path / "t.parquet").read_bytes()
    hub.ask(hub_client.commit, repo_id, {"data/train-00000-of-00001.parquet": content}, "Theirs")
    _, provenance, rows, _ = hub.ask(push_client.load, repo_id).value
    assert provenance is None
    assert [(row["prompt"], row["value"]) for row in rows] == [("a?", 0.5)]


def test_a_dataset_without_values_says_so(hub: Hub, repo_id: str) -> None:
    hub.ask(hub_client.create, repo_id)
    assert "has no values/*.parquet" in str(hub.ask(push_client.load, repo_id).error)
