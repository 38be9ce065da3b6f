"""Who may import whom, what starts quickly, and what a requirements file may hold."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "spo_data": ROOT / "spo_data",
    "spo_cli": ROOT / "cli" / "spo_cli",
    "spo_pipelines": ROOT / "pipelines" / "spo_pipelines",
    "spo_train": ROOT / "training" / "spo_train",
    "verl_cpu": ROOT / "training" / "verl_cpu",
}
MAY_IMPORT = {
    "spo_data": set(),
    "spo_cli": {"spo_data", "spo_pipelines", "spo_train"},
    "spo_pipelines": {"spo_data"},
    "spo_train": {"spo_data", "verl_cpu"},
    "verl_cpu": set(),
}
HEAVY = ("vllm", "torch", "ray", "verl", "datasets", "sympy", "transformers", "matplotlib", "pyarrow", "hydra")
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


def imported(source: str) -> set[str]:
    """The top-level names that a module imports anywhere, within functions and by `import_module` too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names.add(str(node.module).split(".")[0])
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(str(node.args[0].value).split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    files = sorted(PACKAGES[package].rglob("*.py"))
    assert files
    forbidden = set(PACKAGES) - MAY_IMPORT[package] - {package}
    found = {str(path.relative_to(ROOT)): imported(path.read_text(encoding="utf-8")) & forbidden for path in files}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import spo_cli",
        "import os, spo_cli.data as d",
        "from spo_cli.data import app",
        "def f():\n    from spo_cli import data",
        "import importlib\nimportlib.import_module('spo_cli.data')",
    ],
)
def test_an_import_is_seen_in_every_form(source: str) -> None:
    assert "spo_cli" in imported(source)


def _python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "program",
    [
        "import spo_data",
        "import spo_data, spo_data.run.journal, spo_data.run.parquet_tables, spo_data.run.manifest",
        "import spo_data.grading.workers.pool",
        "import spo_cli.data",
        "help('--help')",
        "help('estimate', '--help')",
        "help('show', '--help')",
        "help('push', '--help')",
        "help('join', '--help')",
        "help('report', '--help')",
        "help('export', '--help')",
        "help('import', '--help')",
        "from spo_cli import data, train; data.app = train.app; help('--help')",
    ],
)
def test_neither_the_library_nor_help_imports_anything_heavy(program: str) -> None:
    prelude = (
        "import sys\n"
        "def help(*arguments):\n"
        "    from spo_cli.data import app\n"
        "    try:\n"
        "        app(list(arguments))\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, end.code\n"
    )
    report = f"\nprint('HEAVY', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = _python("-c", prelude + program + report)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["HEAVY"]
    assert ("Usage" in done.stdout) == ("help" in program)


def test_the_library_imports_no_command_line() -> None:
    done = _python("-c", "import sys, spo_data; print('typer' in sys.modules, 'rich' in sys.modules)")
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("command", ["spo-data", "spo-train"])
def test_the_commands_are_installed(command: str) -> None:
    script = Path(sys.executable).with_name(command)
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_hold_names_and_versions_and_no_address(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        assert "://" not in line
        assert "--index" not in line
        assert "--extra-index" not in line
        assert "--find-links" not in line
        requirement = line.split("#")[0].strip()
        if requirement:
            assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z,-]+\])?==[\w.+!]+( *; .+)?", requirement), line


def test_there_are_requirements_to_look_at() -> None:
    assert {"cpu.txt", "gpu.txt", "dev.txt"} <= {path.name for path in REQUIREMENTS}
