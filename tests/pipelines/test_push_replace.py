"""What a push finds at its target, and what it replaces: nothing that is not the same values, unless `replace` says so.

The hub is on loopback, the clients are the real ones. What was pushed is loaded as a user does, with an empty cache.
"""

import hashlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fake_hub import client as hub_client
from fake_hub.running import Hub, hub_with_clients
from spo_data.prompts.identity import Message, Prompt
from spo_data.values.schema import values_schema
from support import push_client
from support.made_runs import make_run
from support.records import GRADER, make_manifest

NUMBERS = itertools.count(1)
PUBLISHED = "me/SPO_Qwen3-8B_DAPO_16k_ReTool_Binary"
VALUES, SAMPLES = "values/train-00000-of-00001.parquet", "samples/train-00000-of-00001.parquet"
OURS = {".gitattributes", "README.md", "histogram.png", "run.json", VALUES, SAMPLES}
PROMPTS = [Prompt((Message("user", f"What is {k} + {k}?"),), str(2 * k), "sums") for k in range(3)]
OTHER = Prompt((Message("user", "What is 2 x 3?"),), "6", "products")
THEIRS = "data/train-00000-of-00001.parquet"


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
    return make_run(tmp_path_factory.mktemp("finished") / "run", {prompt: [1.0, 0.0] for prompt in PROMPTS}, n=2)


@pytest.fixture
def repo_id() -> str:
    """A dataset that only this test uses."""
    return f"me/values-{next(NUMBERS)}"


def change(run: Path, **changed: Any) -> Path:
    """A copy of the run whose manifest has other fields."""
    other = Path(shutil.copytree(run, run.parent / f"other-{next(NUMBERS)}"))
    (other / "README.md").unlink(missing_ok=True)  # the run's card
    make_manifest(**{"n": 2, **changed}).write(other)
    return other


def push(hub: Hub, repo_id: str, run: Path, **options: Any) -> push_client.Answer:
    answer: push_client.Answer = hub.ask(push_client.push, repo_id, run, **options)
    return answer


def pushed(hub: Hub, repo_id: str, run: Path, **options: Any) -> push_client.Answer:
    answer = push(hub, repo_id, run, **options)
    assert answer.error is None, answer.error
    return answer


def refused(hub: Hub, repo_id: str, run: Path, **options: Any) -> str:
    """The one line of a push that is refused as wrong input and commits nothing."""
    before = hub.ask(push_client.titles, repo_id)
    answer = push(hub, repo_id, run, **options)
    assert answer.status == 2, answer
    assert answer.error is not None
    assert "\n" not in answer.error
    assert hub.ask(push_client.titles, repo_id) == before
    return answer.error


def on_hub(hub: Hub, repo_id: str, revision: str = "main") -> set[str]:
    return set(hub.ask(push_client.names, repo_id, revision))


def commit(hub: Hub, repo_id: str, files: dict[str, bytes]) -> None:
    hub.ask(hub_client.create, repo_id)
    hub.ask(hub_client.commit, repo_id, files, "Theirs")


def table(folder: Path, **columns: list[Any]) -> bytes:
    """A parquet file."""
    path = folder / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path.read_bytes()


def check_loads(hub: Hub, repo_id: str, run: Path, cache: Path) -> None:
    """With an empty cache, `load_dataset` gives the run's values and samples, and nothing else."""
    configs, values, samples = hub.ask(push_client.load_fresh, repo_id, cache / repo_id)
    assert configs == ["values", "samples"]
    assert values == pq.read_table(run / "values").to_pylist()
    assert len(samples) == pq.read_table(run / "samples").num_rows > 0


@pytest.mark.slow
def test_the_published_values_of_the_recipe_are_not_replaced_unasked(hub: Hub, run: Path, tmp_path: Path) -> None:
    """They were, without a word: two columns that record no policy."""
    card = (
        "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
    )
    content = table(tmp_path, prompt=["What is 1 + 1?"], vhat=[[1.0, 0.0]])
    commit(hub, PUBLISHED, {"README.md": f"{card}---\nTheir words.\n".encode(), THEIRS: content})
    said = refused(hub, PUBLISHED, run)
    assert said == (
        f"{PUBLISHED} holds tables that record no policy (config default; columns prompt, vhat; {THEIRS}), which {run}"
        f" (org/model on org/data) would replace: push to another name, or `spo-data push {PUBLISHED} {run} --replace`"
        " replaces them"
    )
    answer = pushed(hub, PUBLISHED, run, replace=True)
    assert answer.value.deleted == (THEIRS,)
    assert f"deleting from {PUBLISHED}: config default; 1 file: {THEIRS}" in answer.said
    assert hub.ask(push_client.titles, PUBLISHED)[1:] == ["Theirs", "initial commit"], "all in one commit"
    assert on_hub(hub, PUBLISHED) == OURS
    check_loads(hub, PUBLISHED, run, tmp_path)
    readme = hub.ask(push_client.readme, PUBLISHED)
    assert "Their words.\n" in readme
    assert yaml.safe_load(readme.split("---\n")[1])["license"] == "mit"


def test_a_dataset_of_push_to_hub_is_replaced_with_all_that_describes_it(
    hub: Hub, run: Path, repo_id: str, tmp_path: Path
) -> None:
    """Its config `default` stayed beside ours, and `load_dataset` then refused the whole dataset."""
    hub.ask(hub_client.push_to_hub, repo_id, {"question": ["a?"]})
    hub.ask(hub_client.push_to_hub, repo_id, {"question": ["b?"]}, config_name="more", split="test")
    others = {"LICENSE": b"MIT", "notes.txt": b"mine", "logo.png": b"png", "extra/free.parquet": b"of no config"}
    script = f"{repo_id.partition('/')[2]}.py"  # load_dataset refuses a dataset with one
    commit(hub, repo_id, {**others, "dataset_infos.json": b"{}", script: b"raise"})
    more = "more/test-00000-of-00001.parquet"
    said = refused(hub, repo_id, run)
    assert f"(config default, more; columns question; {THEIRS}, dataset_infos.json, {more}, {script})" in said
    answer = pushed(hub, repo_id, run, replace=True)
    assert answer.value.deleted == (THEIRS, "dataset_infos.json", more, script)
    assert on_hub(hub, repo_id) == OURS | set(others)
    assert "dataset_info" not in hub.ask(push_client.readme, repo_id)
    check_loads(hub, repo_id, run, tmp_path)
    assert pushed(hub, repo_id, run).value.uploaded == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "deleted"),
    [
        ({"train.jsonl": b'{"a": 1}\n', "test.jsonl": b'{"a": 1}\n', "README.txt": b""}, ("test.jsonl", "train.jsonl")),
        ({"sums.csv": b"a,b\n1,2\n", "plot.png": b"png", "LICENSE": b"MIT"}, ("sums.csv",)),
        ({VALUES: b"no parquet"}, ()),
        ({"images/1.jpg": b"jpg", "images/2.jpg": b"jpg"}, ()),
    ],
    ids=["jsonl", "csv", "named like ours", "pictures"],
)
def test_files_without_a_card_are_a_dataset_if_load_dataset_reads_them(
    hub: Hub, run: Path, repo_id: str, tmp_path: Path, files: dict[str, bytes], deleted: tuple[str, ...]
) -> None:
    commit(hub, repo_id, files)
    assert "holds tables that record no policy (" in refused(hub, repo_id, run)
    answer = pushed(hub, repo_id, run, replace=True)
    assert answer.value.deleted == deleted
    assert on_hub(hub, repo_id) == OURS | (files.keys() - set(deleted))
    check_loads(hub, repo_id, run, tmp_path)


@pytest.mark.slow
def test_words_and_pictures_beside_a_readme_are_no_dataset(hub: Hub, run: Path, repo_id: str, tmp_path: Path) -> None:
    commit(hub, repo_id, {"README.md": b"# Mine\n", "notes.txt": b"mine", "LICENSE": b"MIT"})
    answer = pushed(hub, repo_id, run)
    assert f"{repo_id} holds no tables" in answer.said
    check_loads(hub, repo_id, run, tmp_path)


def test_what_goes_and_what_is_there_is_said_before_the_commit(hub: Hub, run: Path, repo_id: str) -> None:
    said = pushed(hub, repo_id, run).said
    policy = "temperature 1, top_p 1, top_k off, max_tokens 9, template boxed, tools none, verifier exact"
    pushing = f"pushing {run}: org/model on org/data, 3 prompts x 2; {policy}"
    assert said[1:3] == [pushing, f"{repo_id} holds nothing: it is a new dataset"]
    assert said[3].startswith("uploading 5 files")
    same = [f"{repo_id} holds values of the same policy and dataset"]
    assert pushed(hub, repo_id, run).said[2:] == same
    assert pushed(hub, repo_id, run, replace=True).said[2:] == same, "there is nothing to replace"
    hub.ask(hub_client.commit, repo_id, {"histogram.png": b"old"}, "Another picture")
    assert "uploading 1 file, " in pushed(hub, repo_id, run).said[-1]


def test_values_of_another_policy_are_not_replaced_unasked(hub: Hub, run: Path, repo_id: str, tmp_path: Path) -> None:
    """They were, without a word, and the card's title still named the other model."""
    pushed(hub, repo_id, run)
    other = change(run, policy={"model": "org/other", "revision": "def456"})
    differs = "another policy (model org/model → org/other, revision abc123 → def456)"
    said = refused(hub, repo_id, other)
    assert said.startswith(f"{repo_id} holds values of {differs}, which {other} (org/other on org/data) would replace:")
    assert f"`spo-data push {repo_id} {other} --replace`" in said
    answer = pushed(hub, repo_id, other, replace=True)
    assert f"{repo_id} holds values of {differs}" in answer.said
    check_loads(hub, repo_id, other, tmp_path)
    header = yaml.safe_load(hub.ask(push_client.readme, repo_id).split("---\n")[1])
    assert header["pretty_name"] == "Offline values of org/other on org/data"


def test_an_update_of_the_same_values_passes_and_says_what_changes(
    hub: Hub, run: Path, repo_id: str, tmp_path: Path
) -> None:
    """More samples, more prompts, another verifier, another folder of the same model: the policy is the same."""
    pushed(hub, repo_id, run)
    earlier = make_manifest(
        n=1,
        seed=7,
        policy={"model": "/models/same"},
        dataset={"fingerprint": "shorter"},
        grader=GRADER.model_copy(update={"version": "rules 0"}),
    )
    rows = pq.read_table(run / "values").slice(0, 2).cast(values_schema(earlier.provenance))
    pq.write_table(rows, tmp_path / "earlier.parquet")
    hub.ask(hub_client.commit, repo_id, {VALUES: (tmp_path / "earlier.parquet").read_bytes()}, "Earlier")
    answer = pushed(hub, repo_id, run)
    changes = "verifier version rules 0 → rules 1, seed 7 → 0, n 1 → 2, prompts 2 → 3: 2 in common, 1 new, 0 gone"
    assert f"{repo_id} holds values of the same policy and dataset ({changes})" in answer.said
    assert answer.found["changes"]["prompts"] == ["2", "3"]


def test_values_of_another_dataset_of_the_same_name_are_not_replaced_unasked(
    hub: Hub, run: Path, repo_id: str, tmp_path: Path
) -> None:
    """Every run over some `d.jsonl` was an update of the values of any other `d.jsonl`."""
    pushed(hub, repo_id, run)
    other = make_run(tmp_path / "other", {OTHER: [1.0, 0.0]}, n=2)
    make_manifest(n=2, dataset={"fingerprint": "g"}).write(other)
    names = "org/data (fingerprint f) → org/data (fingerprint g)"
    there = f"values of another dataset (dataset {names}, prompts 3 → 1: 0 in common, 1 new, 3 gone)"
    said = refused(hub, repo_id, other)
    assert said.startswith(f"{repo_id} holds {there}, which {other} (org/model on org/data) would replace: ")
    assert f"`spo-data push {repo_id} {other} --replace`" in said
    answer = pushed(hub, repo_id, other, replace=True)
    assert f"{repo_id} holds {there}" in answer.said
    assert "uploading 5 files" in answer.said[-1]


@pytest.mark.slow
def test_published_values_whose_prompts_cannot_be_told_are_of_another_dataset(
    hub: Hub, run: Path, repo_id: str, tmp_path: Path
) -> None:
    pushed(hub, repo_id, run)
    other = change(run, dataset={"fingerprint": "g"})
    names = "org/data (fingerprint f) → org/data (fingerprint g)"
    table = run / "values" / "train-00000-of-00001.parquet"
    content = table.read_bytes()
    footer = pq.read_metadata(table).serialized_size + 8
    damaged = content[:4] + bytes(len(content) - footer - 4) + content[-footer:]
    pq.write_table(pq.read_table(table).drop_columns("prompt_id"), tmp_path / "without.parquet")
    for theirs in (damaged, (tmp_path / "without.parquet").read_bytes()):
        hub.ask(hub_client.commit, repo_id, {VALUES: theirs}, "Theirs")
        assert f"{repo_id} holds values of another dataset (dataset {names}), which" in refused(hub, repo_id, other)
    pushed(hub, repo_id, run)


@pytest.mark.slow
def test_an_unfinished_run_is_counted_as_it_is_and_pushed_once(hub: Hub, repo_id: str, tmp_path: Path) -> None:
    """Its unfinished prompts counted as values, so every further push found a change, also after a lost answer."""
    unfinished = make_run(tmp_path / "run", {prompt: [1.0] * min(k + 1, 2) for k, prompt in enumerate(PROMPTS)}, n=2)
    hub.server.faults({"path": "/commit/", "status": 500, "when": "after"})
    first = pushed(hub, repo_id, unfinished, allow_missing=True)
    assert ", 2 prompts x 2; " in first.said[1]
    assert first.found["kind"] == "new", "what was there before, not what the lost try put there"
    again = pushed(hub, repo_id, unfinished, allow_missing=True)
    assert again.said[2:] == [f"{repo_id} holds values of the same policy and dataset"]
    assert again.value.uploaded == ()
    finished = make_run(tmp_path / "run", {prompt: [1.0, 0.0] for prompt in PROMPTS}, n=2)
    changes = "prompts 2 → 3: 2 in common, 1 new, 0 gone"
    answer = pushed(hub, repo_id, finished)
    assert f"{repo_id} holds values of the same policy and dataset ({changes})" in answer.said


def test_a_dataset_that_comes_in_between_is_judged_before_it_is_replaced(
    hub: Hub, run: Path, repo_id: str, tmp_path: Path
) -> None:
    hub.server.faults({"path": "/commit/", "meanwhile": {"theirs.csv": "a,b\n1,2\n"}})
    answer = push(hub, repo_id, run)
    assert answer.status == 2
    assert f"{repo_id} holds tables that record no policy (columns" not in str(answer.error)
    assert f"{repo_id} holds tables that record no policy (theirs.csv)" in str(answer.error)
    assert hub.ask(push_client.titles, repo_id) == ["Meanwhile", "initial commit"]
    hub.server.faults({"path": "/commit/", "meanwhile": {"more.csv": "a,b\n1,2\n"}})
    answer = pushed(hub, repo_id, run, replace=True)
    assert answer.value.deleted == ("more.csv", "theirs.csv"), "what came in between goes too"
    check_loads(hub, repo_id, run, tmp_path)


@pytest.mark.slow
def test_a_replacement_whose_answer_is_lost_is_not_made_again(hub: Hub, run: Path, repo_id: str) -> None:
    commit(hub, repo_id, {"theirs.csv": b"a,b\n1,2\n"})
    hub.server.faults({"path": "/commit/", "status": 500, "when": "after"})
    answer = pushed(hub, repo_id, run, replace=True)
    assert answer.value.deleted == ("theirs.csv",)
    assert len(hub.ask(push_client.titles, repo_id)) == 3
    assert answer.found["kind"] == "other_dataset", "what was there before, not what the lost try put there"


@pytest.mark.slow
def test_pull_requests_and_branches_go_by_the_same_rule(hub: Hub, run: Path, repo_id: str) -> None:
    commit(hub, repo_id, {"theirs.csv": b"a,b\n1,2\n"})
    said = refused(hub, repo_id, run, create_pr=True, commit_message="Values, please")
    assert f"`spo-data push {repo_id} {run} --commit-message 'Values, please' --create-pr --replace`" in said
    opened = pushed(hub, repo_id, run, create_pr=True, replace=True)
    assert on_hub(hub, repo_id, "refs/pr/1") == OURS
    assert on_hub(hub, repo_id) == {".gitattributes", "theirs.csv"}
    assert pushed(hub, repo_id, run, create_pr=True, replace=True).value.pr_url == opened.value.pr_url
    hub.ask(hub_client.call, "create_branch", repo_id, branch="v2", repo_type="dataset")
    assert refused(hub, repo_id, run, revision="v2").startswith(f"{repo_id} (v2) holds tables")
    pushed(hub, repo_id, run, revision="v2", replace=True)
    assert on_hub(hub, repo_id, "v2") == OURS
    assert on_hub(hub, repo_id) == {".gitattributes", "theirs.csv"}


@pytest.mark.slow
def test_a_config_that_somebody_adds_beside_ours_stays_and_never_makes_two_defaults(
    hub: Hub, run: Path, repo_id: str, tmp_path: Path
) -> None:
    """Two defaults, which `push_to_hub` leaves behind, make `load_dataset` refuse the whole dataset."""
    pushed(hub, repo_id, run)
    hub.ask(hub_client.push_to_hub, repo_id, {"question": ["a?"]})
    answer = pushed(hub, repo_id, run)
    command = f"`spo-data push {repo_id} {run} --replace`"
    note = f"note: `load_dataset` without a config reads default, not the values: {command} removes it"
    assert note in answer.said
    configs, values, _ = hub.ask(push_client.load_fresh, repo_id, tmp_path / "beside")
    assert configs == ["values", "samples", "default"]
    assert values == [{"question": "a?"}]
    assert pushed(hub, repo_id, run, replace=True).value.deleted == (THEIRS,)
    check_loads(hub, repo_id, run, tmp_path)


@pytest.mark.slow
def test_an_error_in_a_header_says_whose_it_is(hub: Hub, run: Path, repo_id: str) -> None:
    """It named README.md, of which there is one here and one on the Hub."""
    refusal = {"errors": [{"message": '"license" must be one of [mit]'}], "warnings": []}
    fault = {"path": "/validate-yaml", "status": 400, "body": refusal}
    here = run / "README.md"
    here.write_text("---\nlicense: mine\n---\n")
    hub.server.faults(fault)
    answer = push(hub, repo_id, run)
    fix = "correct it, or delete the file: spo-data then writes a new card"
    assert answer.error == (
        f'{repo_id} was not pushed: the Hub refuses the header of README.md ("license" must be one of [mit]): license'
        f" is from {here}: {fix}"
    )
    commit(hub, repo_id, {"README.md": b"---\nlicense: theirs\n---\n"})
    hub.server.faults(fault)
    on_the_hub = f"README.md of {repo_id} on the Hub, at commit "
    assert f"license is from {on_the_hub}" in str(push(hub, repo_id, run).error)
    here.write_text("---\na: [\n---\n")
    answer = push(hub, repo_id, run)
    assert str(answer.error).startswith(f"{here}: its YAML header cannot be read (")
    assert str(answer.error).endswith(f": {fix}")
    here.write_bytes(b"\xff")
    assert str(push(hub, repo_id, run).error).startswith(f"{here} is not UTF-8 (")
    here.unlink()
    (hub.server.root / "datasets" / repo_id / "main" / "README.md").write_text("---\na: [\n---\n")
    answer = push(hub, repo_id, run)
    assert str(answer.error).startswith(on_the_hub)
    assert f"correct it on the Hub ({hub.server.address}/datasets/{repo_id}), then push again" in str(answer.error)


@pytest.mark.slow
def test_a_refused_upload_is_shown_as_what_it_is(hub: Hub, run: Path, repo_id: str) -> None:
    """A 403 of the storage, and a quota, were "this token may not write"."""
    xml = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    hub.server.faults({"method": "PUT", "status": 403, "body": xml, "times": 9})
    answer = push(hub, repo_id, run)
    assert answer.status == 1
    assert "the storage at 127.0.0.1 refuses " in str(answer.error)
    assert ".p" in str(answer.error).partition("refuses ")[2].partition(" (AccessDenied: Request has expired)")[0]
    table = run / "values" / "train-00000-of-00001.parquet"
    reason = {"code": 403, "message": "Private repository storage limit reached"}
    refused_object = {"oid": hashlib.sha256(table.read_bytes()).hexdigest(), "size": 1, "error": reason}
    hub.server.faults({"path": "/objects/batch", "status": 200, "body": {"objects": [refused_object]}})
    answer = push(hub, repo_id, run)
    assert answer.error == (
        f"{repo_id} was not pushed: the Hub does not store {VALUES}: Private repository storage limit reached"
    )
    quota = {"X-Error-Message": "Private repository storage limit reached"}
    hub.server.faults({"path": "/repos/create", "status": 403, "headers": quota})
    answer = push(hub, "me/quota", run)
    assert str(answer.error).startswith("me/quota was not created: the Hub at ")
    assert str(answer.error).endswith("refuses it (403): Private repository storage limit reached Forbidden")
