"""The environment variables of other packages that we set or ask for are ones that they read."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("spo_data", "cli/spo_cli", "pipelines/spo_pipelines", "training")
READERS = {"VLLM": "vllm", "VERL": "verl"}


def names_of(prefix: str) -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for folder in OURS for path in (ROOT / folder).rglob("*.py"))
    return set(re.findall(rf'"({prefix}_[A-Z_]+)"', text))


@pytest.mark.parametrize("prefix", READERS)
def test_a_variable_is_known_to_its_reader(prefix: str) -> None:
    """VLLM_WORKER_MULTIPROCESSING_METHOD was set, which vLLM has never read."""
    spec = importlib.util.find_spec(READERS[prefix])
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{READERS[prefix]} is not installed")
    sources = sorted(Path(spec.submodule_search_locations[0]).rglob("*.py"))
    unread = names_of(prefix)
    assert unread, "the names are found"
    for source in sources:
        unread -= {name for name in unread if name in source.read_text(encoding="utf-8")}
        if not unread:
            return
    raise AssertionError(f"{READERS[prefix]} reads no {', '.join(sorted(unread))}")
