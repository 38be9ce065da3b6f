"""The loopback hub answers the real clients as the real hub does. The tests of `push` rely on this."""

import hashlib
import http.client
import io
import os
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fake_hub import client as hub_client
from fake_hub.running import Hub, hub_with_clients

pytestmark = pytest.mark.slow

GREETING = b"Hello, World!"
GREETING_BLOB = "b45ef6fec89518d314f546fd6c3025367b721684"
CARD = b"---\nlicense: mit\n---\n# Values\n"
DATA = "data/train-00000-of-00001.parquet"


def _parquet(*values: float) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"value": list(values)}), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root, home = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("home")
    with hub_with_clients(root, home, hub_client.prepare) as hub:
        yield hub


def test_a_commit_adds_and_deletes_as_a_whole_and_every_commit_stays_readable(hub: Hub) -> None:
    assert hub.ask(hub_client.create, "me/values") == f"{hub.server.address}/datasets/me/values"
    before = {"README.md": CARD, DATA: _parquet(0.25), "old/notes.txt": b"old"}
    first = hub.ask(hub_client.commit, "me/values", before, "First")
    after = {DATA: _parquet(0.5), "old/": None, "greeting.txt": GREETING}
    second = hub.ask(hub_client.commit, "me/values", after, "Second", parent_commit=first.oid)

    assert hub.ask(hub_client.titles, "me/values") == ["Second", "First", "initial commit"]
    files = hub.ask(hub_client.tree, "me/values")
    assert files.keys() == {".gitattributes", "README.md", DATA, "greeting.txt"}
    assert (files["greeting.txt"].blob_id, files["greeting.txt"].lfs) == (GREETING_BLOB, None)
    assert files[DATA].lfs.sha256 == hashlib.sha256(_parquet(0.5)).hexdigest()
    assert hub.ask(hub_client.rows, "me/values", second.oid) == [{"value": 0.5}]
    assert hub.ask(hub_client.rows, "me/values", first.oid) == [{"value": 0.25}]
    on_disk = hub.server.root / "datasets/me/values/main"
    assert (on_disk / DATA).read_bytes() == _parquet(0.5)
    assert not (on_disk / "old").exists()


def test_an_unchanged_file_is_neither_sent_nor_committed_again(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/same")
    files = {"README.md": CARD, DATA: _parquet(0.125)}
    first = hub.ask(hub_client.commit, "me/same", files)
    asked = len(hub.server.requests())
    assert hub.ask(hub_client.commit, "me/same", files).oid == first.oid
    changed = hub.ask(hub_client.commit, "me/same", {"README.md": CARD + b"More.\n", "copy.parquet": files[DATA]})
    assert hub.ask(hub_client.titles, "me/same", revision=changed.oid) == ["Add", "Add", "initial commit"]
    requests = hub.server.requests()[asked:]
    assert len([request for request in requests if "/commit/" in request]) == 1
    assert not [request for request in requests if request.startswith("PUT")]


def test_a_branch_that_moved_meanwhile_is_not_committed_to(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/moved")
    parent = hub.ask(hub_client.commit, "me/moved", {"a.txt": b"a"}).oid
    hub.server.faults({"path": "/commit/", "meanwhile": {"b.txt": "theirs", "a.txt": None}})
    refused = hub.ask(hub_client.commit, "me/moved", {"c.txt": b"c"}, parent_commit=parent)
    assert (refused.status, hub.server.faults_left()) == (412, [])
    assert hub.ask(hub_client.titles, "me/moved") == ["Meanwhile", "Add", "initial commit"]
    assert hub.ask(hub_client.tree, "me/moved").keys() == {".gitattributes", "b.txt"}


def test_of_many_commits_to_one_parent_one_is_made(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/race")
    parent = hub.ask(hub_client.commit, "me/race", {"a.txt": b"a"}).oid
    made = hub.ask(hub_client.commit_at_once, "me/race", parent, 8)
    assert sorted(getattr(outcome, "status", 200) for outcome in made) == [200, *[412] * 7]
    assert len(hub.ask(hub_client.titles, "me/race")) == 3


def test_a_commit_with_a_wrong_part_leaves_nothing(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/whole")
    refused = hub.ask(hub_client.commit, "me/whole", {"new.txt": b"new", "missing.txt": None})
    assert refused.kind == "RemoteEntryNotFoundError"
    assert hub.ask(hub_client.titles, "me/whole") == ["initial commit"]
    assert not (hub.server.root / "datasets/me/whole/main/new.txt").exists()


def test_a_lost_answer_leaves_the_one_commit_that_was_made(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/lost")
    hub.server.faults(
        {"method": "POST", "path": "/preupload/", "status": 503, "headers": {"Retry-After": "0"}, "times": 2},
        {"method": "PUT", "status": 0, "skip": 1},
        {"method": "POST", "path": "/commit/", "status": 0, "when": "after"},
    )
    files = {"a.parquet": _parquet(1.5), "b.parquet": _parquet(2.5)}
    lost = hub.ask(hub_client.commit, "me/lost", files)
    assert (lost.kind, hub.server.faults_left()) == ("RemoteProtocolError", [])
    assert hub.ask(hub_client.titles, "me/lost") == ["Add", "initial commit"]
    assert hub.ask(hub_client.tree, "me/lost").keys() == {".gitattributes", *files}

    hub.server.faults({"path": "/commit/", "status": 500})
    assert hub.ask(hub_client.commit, "me/lost", {"c.txt": b"c"}).status == 500
    assert hub.ask(hub_client.titles, "me/lost") == ["Add", "initial commit"]


def test_a_pull_request_leaves_main_alone_and_is_listed(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/reviewed")
    parent = hub.ask(hub_client.commit, "me/reviewed", {DATA: _parquet(0.0)}).oid
    change = {DATA: _parquet(1.0), "README.md": CARD}
    reader = {"create_pr": True, "parent_commit": parent, "token": "hf_reader"}
    opened = hub.ask(hub_client.commit, "me/reviewed", change, "Newer values", **reader)
    assert (opened.pr_num, opened.pr_revision) == (1, "refs/pr/1")
    more = {"revision": "refs/pr/1", "token": "hf_reader"}
    newest = hub.ask(hub_client.commit, "me/reviewed", {"a.txt": b"a"}, "More", **more).oid

    added = ["More", "Newer values"]
    assert hub.ask(hub_client.titles, "me/reviewed", revision="refs/pr/1") == [*added, "Add", "initial commit"]
    assert hub.ask(hub_client.rows, "me/reviewed", newest) == [{"value": 1.0}]
    assert hub.ask(hub_client.titles, "me/reviewed") == ["Add", "initial commit"]
    assert hub.ask(hub_client.tree, "me/reviewed").keys() == {".gitattributes", DATA}
    assert not (hub.server.root / "datasets/me/reviewed/main/README.md").exists()

    (listed,) = hub.ask(hub_client.call, "get_repo_discussions", "me/reviewed", repo_type="dataset")
    assert (listed.num, listed.title, listed.author, listed.status) == (1, "Newer values", "reader", "open")
    details = hub.ask(hub_client.call, "get_discussion_details", "me/reviewed", 1, repo_type="dataset")
    assert [event.summary for event in details.events if event.type == "commit"] == added[::-1]
    asked = {"repo_type": "dataset", "include_pull_requests": True}
    found = hub.ask(hub_client.call, "list_repo_refs", "me/reviewed", **asked)
    assert [head.target_commit for head in found.branches + found.pull_requests] == [parent, newest]


def test_a_private_repository_is_there_for_a_token_only(hub: Hub) -> None:
    hub.ask(hub_client.create, "org/secret", private=True)
    hub.ask(hub_client.commit, "org/secret", {DATA: _parquet(0.75)})
    assert hub.ask(hub_client.call, "repo_exists", "org/secret", repo_type="dataset")
    assert not hub.ask(hub_client.call, "repo_exists", "org/secret", repo_type="dataset", token=False)
    anonymous = hub.ask(hub_client.call, "list_repo_files", "org/secret", repo_type="dataset", token=False)
    assert (anonymous.kind, anonymous.status) == ("RepositoryNotFoundError", 401)
    assert hub.ask(hub_client.call, "list_repo_files", "org/missing", repo_type="dataset").status == 404


def test_who_may_not_write_is_refused(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/closed")
    file = {"a.parquet": _parquet(3.0)}
    assert hub.ask(hub_client.create, "me/closed").status == 409
    assert hub.ask(hub_client.create, "me/closed", exist_ok=True, token="hf_reader").endswith("/datasets/me/closed")
    assert hub.ask(hub_client.create, "me/new", exist_ok=True, token="hf_reader").status == 403
    assert hub.ask(hub_client.create, "acme/new").status == 403
    tokens = ("hf_reader", "hf_unknown", False)
    statuses = [hub.ask(hub_client.commit, "me/closed", file, token=token).status for token in tokens]
    assert statuses == [403, 401, 401]
    assert hub.ask(hub_client.call, "whoami", token="hf_unknown").status == 401
    names = [hub.ask(hub_client.call, "whoami", token=token)["name"] for token in ("hf_writer", "hf_reader")]
    assert names == ["me", "reader"]
    assert hub.ask(hub_client.titles, "me/closed") == ["initial commit"]


def test_a_folder_edited_on_disk_is_the_next_commit(hub: Hub) -> None:
    folder = hub.server.root / "datasets/me/edited/main"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text('{"value": 1}\n')
    first = hub.ask(hub_client.call, "list_repo_commits", "me/edited", repo_type="dataset")[0].commit_id
    (folder / "a.jsonl").write_text('{"value": 2}\n')
    pushed = hub.ask(hub_client.commit, "me/edited", {"b.txt": b"b"}).oid
    assert hub.ask(hub_client.titles, "me/edited") == ["Add", "Edited on disk", "Edited on disk"]
    assert hub.ask(hub_client.rows, "me/edited", first) == [{"value": 1}]
    assert hub.ask(hub_client.rows, "me/edited", pushed) == [{"value": 2}]


def test_a_large_file_passes_through_in_pieces(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/large")
    content = os.urandom(1 << 20) * 48
    before = psutil.Process(hub.server.pid).memory_info().rss
    hub.ask(hub_client.commit, "me/large", {"large.bin": content})
    assert Path(hub.ask(hub_client.download, "me/large", "large.bin")).read_bytes() == content
    peak = int(Path(f"/proc/{hub.server.pid}/status").read_text().split("VmHWM:")[1].split()[0]) << 10
    assert peak - before < len(content) / 2
    address = f"{hub.server.address}/datasets/me/large/resolve/main/large.bin"
    part = urllib.request.Request(address, headers={"Range": f"bytes={len(content) - 5}-"})
    with urllib.request.urlopen(part) as answer:
        assert (answer.status, answer.read()) == (206, content[-5:])
        assert answer.headers["Content-Range"] == f"bytes {len(content) - 5}-{len(content) - 1}/{len(content)}"


def test_an_upload_that_breaks_off_or_is_another_leaves_nothing(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/broken")
    content = _parquet(9.0)
    path = f"/datasets/me/broken.git/info/lfs/objects/{hashlib.sha256(content).hexdigest()}"
    upload = http.client.HTTPConnection(hub.server.address.removeprefix("http://"))
    upload.request("PUT", path, _parquet(8.0))
    answer = upload.getresponse()
    assert (answer.status, answer.read()[:24]) == (400, b'{"error": "the content h')
    upload.putrequest("PUT", path)
    upload.putheader("Content-Length", str(len(content)))
    upload.endheaders(content[:-1])
    upload.sock.shutdown(socket.SHUT_WR)
    assert upload.sock.recv(1) == b""
    upload.close()
    assert not list((hub.server.root / ".objects/datasets/me/broken").glob("incoming-*"))

    asked = len(hub.server.requests())
    hub.ask(hub_client.commit, "me/broken", {DATA: content})
    assert [request for request in hub.server.requests()[asked:] if request.startswith("PUT")] == [f"PUT {path}"]


def test_a_card_that_is_not_yaml_is_refused_before_anything_is_sent(hub: Hub) -> None:
    hub.ask(hub_client.create, "me/card")
    asked = len(hub.server.requests())
    refused = hub.ask(hub_client.commit, "me/card", {"README.md": b"---\na: [\n---\n"})
    assert (refused.kind, hub.server.requests()[asked:]) == ("ValueError", ["POST /api/validate-yaml"])
