"""Texts of ours through verl's configuration: composed, saved, loaded, resolved in place, and read by a worker."""

import io
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("omegaconf", reason="verl is not installed")
import hydra
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from spo_data.errors import UserError
from spo_train.data.loop_file import dump_loop
from spo_train.literal import check_path, from_literal, to_literal

TRICKY = (
    "${",
    "${oc.env:HOME}",
    "\\${a}",
    "$${x",
    "???",
    "json:1",
    "1e5",
    "0x1F",
    "1_0",
    "null",
    "true",
    "~",
    "",
    "'\"=",
)
TEXTS = st.text(max_size=12) | st.sampled_from(TRICKY) | st.text("${}\\?:=\n '\"%", max_size=8)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-9, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def take(**given: Any) -> Any:
    """Stands for the agent loop that hydra instantiates."""
    return given["value"]


@settings(max_examples=40)
@given(VALUES)
@example(["${oc.env:HOME}"])
@example({"_target_": "os.abort", "_partial_": True, "1e5": "1e5"})
def test_any_text_arrives_as_it_was_given(value: Any) -> None:
    """`--stop '${'` was a traceback; `--stop '${oc.env:HOME}'` was one string for vLLM and another for the grader."""
    config = OmegaConf.create({"verl": {}})
    OmegaConf.update(config, "verl.ours", {"value": to_literal(value)}, force_add=True)
    OmegaConf.to_container(config, resolve=True)
    file = io.StringIO()
    OmegaConf.save(config, file)
    file.seek(0)
    loaded = OmegaConf.load(file)
    OmegaConf.resolve(loaded)  # as verl does, in place
    again = OmegaConf.create(OmegaConf.to_container(loaded, resolve=True))
    assert from_literal(again.verl.ours.value) == value
    (loop,) = OmegaConf.load(io.StringIO(dump_loop({"_target_": f"{__name__}.take", "value": to_literal(value)})))
    assert from_literal(hydra.utils.instantiate(config=loop)) == value


@pytest.mark.parametrize("text", ["</s>", "math-verify", "/runs/a=b/mine.py:compute_score", "50\\%", "$5", "a 'b'"])
def test_a_text_that_omegaconf_leaves_alone_is_written_as_it_is(text: str) -> None:
    assert to_literal(text) == text


@pytest.mark.parametrize("path", ["/runs/${name}", "/runs/???"])
def test_a_path_that_verl_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(UserError, match=r"--out /runs/.*: verl's configuration cannot hold"):
        check_path("--out", Path(path))
    check_path("--out", '/runs/it\'s = a $ "run"')
