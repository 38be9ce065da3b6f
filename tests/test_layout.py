"""Which room may import which, which modules start quickly, and what a requirements file may hold."""

import ast
import functools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
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
ARROWS = {
    # Top floor first. Each line lists what a room may import: rooms below it. Every room may also import the single
    # modules of spo_data (options, provenance, files, errors, ...), which import no room.
    "spo_cli": "spo_cli.commands spo_cli.terminal spo_train.plan spo_train.launch spo_train spo_data.run",
    "spo_cli.commands": """
        spo_cli.terminal spo_pipelines spo_train.plan spo_train.launch spo_train spo_data.formats spo_data.report
        spo_data.join spo_data.run spo_data.sandbox spo_data.grading""",
    "spo_cli.terminal": "spo_pipelines spo_train.launch spo_train spo_data.engines",
    "spo_pipelines": """
        spo_data.card spo_data.report spo_data.run spo_data.engines spo_data.sandbox spo_data.grading.workers
        spo_data.grading.verifiers spo_data.grading spo_data.grading.reading spo_data.values spo_data.models
        spo_data.prompts spo_data.hub""",
    "spo_train.plan": """
        spo_train.config spo_train.data spo_train.spo spo_train verl_cpu spo_data.formats spo_data.run spo_data.values
        spo_data.engines spo_data.sandbox spo_data.grading.verifiers spo_data.models spo_data.prompts spo_data.hub""",
    "spo_train.launch": "spo_train.hooks spo_train",
    "spo_train.hooks": """
        spo_train.data spo_train.spo spo_train spo_data.engines spo_data.sandbox spo_data.grading.workers
        spo_data.grading spo_data.models spo_data.prompts""",
    "spo_train.data": """
        spo_train spo_data.join spo_data.run spo_data.values spo_data.grading.verifiers spo_data.grading
        spo_data.prompts spo_data.hub""",
    "spo_train.config": "spo_train.spo spo_train verl_cpu",
    "spo_train.spo": "",
    "spo_train": "",
    "verl_cpu": "",
    "spo_data.formats": """
        spo_data.formats.readers spo_data.formats.writers spo_data.card spo_data.run spo_data.values spo_data.models
        spo_data.prompts spo_data.hub""",
    "spo_data.formats.readers": "spo_data.values spo_data.models spo_data.prompts spo_data.hub",
    "spo_data.formats.writers": "spo_data.values",
    "spo_data.card": "spo_data.run spo_data.grading spo_data.hub",
    "spo_data.report": "spo_data.run spo_data.values spo_data.grading",
    "spo_data.run": "spo_data.values spo_data.engines spo_data.grading spo_data.grading.reading spo_data.prompts",
    "spo_data.join": "spo_data.values spo_data.prompts",
    "spo_data.values": "spo_data.grading spo_data.prompts",
    "spo_data.engines": "spo_data.sandbox spo_data.models spo_data.prompts",
    "spo_data.sandbox": "",
    "spo_data.grading.workers": "spo_data.grading.verifiers spo_data.grading spo_data.prompts",
    "spo_data.grading.verifiers": """
        spo_data.grading spo_data.grading.finding spo_data.grading.comparing spo_data.grading.reading
        spo_data.prompts""",
    "spo_data.grading": "spo_data.grading.finding spo_data.grading.reading",
    "spo_data.grading.finding": "spo_data.grading.comparing spo_data.grading.reading",
    "spo_data.grading.comparing": "spo_data.grading.reading",
    "spo_data.grading.reading": "",
    "spo_data.models": "spo_data.prompts spo_data.hub",
    "spo_data.prompts": "spo_data.hub",
    "spo_data.hub": "",
}
GROUND = "spo_data"
"""The package that holds the library's single modules."""
HEAVY = ("vllm", "torch", "ray", "verl", "datasets", "sympy", "transformers", "matplotlib", "pyarrow", "hydra")
HEAVY_FOR_HELP = ("jinja2", "fastapi", "uvicorn", "starlette")
COMMAND_LINE = ("typer", "rich")
TEXTS = [
    *(path for folder in PACKAGES.values() for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".jinja")),
    *(path for path in sorted(ROOT.glob("*.md")) if path.name != "CHANGELOG.md"),  # it mentions former names
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "pyproject.toml",
]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All nodes of a module. Parsing and walking every module takes a second, and many tests do."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """What a module imports anywhere, including in functions and by `import_module`. Each name includes its module."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(str(node.args[0].value))
    return names


def modules() -> dict[str, Path]:
    """All modules by dotted name. A package's `__init__` has the package's name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            inner = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in inner if part != "__init__")])] = path
    return found


MODULES = modules()


@functools.cache
def imported_modules(name: str) -> set[str]:
    """The modules of this project that a module imports."""
    found = set()
    for used in imported(nodes_of(MODULES[name])):
        while used and used not in MODULES:
            used = used.rpartition(".")[0]
        found.add(used)
    return found - {"", name}


def room_of(name: str) -> str:
    """The dotted name of a module's folder."""
    return name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]


def test_rooms_import_one_way() -> None:
    """`spo_data/__init__.py`, the library's face, re-exports names from rooms, and no module here imports it."""
    found: dict[str, set[str]] = {room: set() for room in ARROWS}
    for name in MODULES.keys() - {GROUND}:
        used = {room_of(each) for each in imported_modules(name)}
        if room_of(name) == GROUND:
            assert used <= {GROUND}, f"{name} is on the ground floor"
        else:
            found[room_of(name)] |= used - {room_of(name), GROUND}
        assert GROUND not in imported_modules(name), f"{name} imports the library's face"
    assert found == {room: set(below.split()) for room, below in ARROWS.items()}


def test_every_room_stands_above_what_it_imports() -> None:
    floors = list(ARROWS)
    for room, below in ARROWS.items():
        assert all(floors.index(other) > floors.index(room) for other in below.split()), room


def test_no_modules_import_each_other_in_a_circle() -> None:
    below = {name: imported_modules(name) for name in MODULES}
    while ground := {name for name, used in below.items() if not used}:
        below = {name: used - ground for name, used in below.items() if name not in ground}
    assert below == {}


@functools.cache
def names_in(name: str) -> set[str]:
    """The names that a module defines or imports at its top level."""
    found = set()
    for node in ast.parse(MODULES[name].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_dotted_name_of_ours_names_something(path: Path) -> None:
    """verl was told to load a module that had moved. The name was in a string, which no import check sees."""
    dotted = rf"(?<![\w./-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+"
    for written in re.findall(dotted, path.read_text(encoding="utf-8").replace("pkg://", " ")):
        module, rest = written, ""
        while module not in MODULES:
            module, _, rest = module.rpartition(".")
        if rest and written != "verl_cpu.device":  # torch's name for a device's module, which verl_cpu makes
            assert rest in names_in(module), written


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_says_what_it_holds_and_what_it_never_imports(room: str) -> None:
    said = ast.get_docstring(ast.parse(MODULES[room].read_text(encoding="utf-8"))) or ""
    assert re.search(r"^.{30,}ever imports? ", said, re.DOTALL), said


def test_no_two_modules_or_classes_of_one_name_mean_different_things() -> None:
    """A command's module is named after what it runs, so it may share that name."""
    stems = Counter(name.rpartition(".")[2] for name in MODULES if room_of(name) != "spo_cli.commands")
    assert {stem for stem, times in stems.items() if times > 1} == set()
    classes = Counter(
        node.name for path in MODULES.values() for node in nodes_of(path) if isinstance(node, ast.ClassDef)
    )
    assert {name for name, times in classes.items() if times > 1} == set()


@pytest.mark.parametrize(
    "source",
    [
        "import spo_cli",
        "import os, spo_cli.data_app as d",
        "from spo_cli.data_app import app",
        "def f():\n    from spo_cli import data_app",
        "import importlib\nimportlib.import_module('spo_cli.data_app')",
    ],
)
def test_an_import_is_seen_in_every_form(source: str) -> None:
    assert any(name.split(".")[0] == "spo_cli" for name in imported(ast.walk(ast.parse(source))))


def _python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


IMPORTS_NOTHING_HEAVY = {
    "the library": (
        "import spo_data",
        "spo_data.load_values",
        "import spo_data.run.journal, spo_data.run.parquet_tables, spo_data.run.manifest",
        "import spo_data.grading.workers.pool",
    ),
    "spo-data": (
        "from spo_cli.data_app import app",
        "help()",
        *(f"help({name!r})" for name in ("estimate", "show", "report", "push", "join", "export", "import", "sandbox")),
    ),
    "spo-train": ("from spo_cli.train_app import app", "help()"),
}
"""Statements for one process each. The help prints the usage."""


@pytest.mark.parametrize("name", IMPORTS_NOTHING_HEAVY)
def test_neither_the_library_nor_help_imports_anything_heavy(name: str) -> None:
    heavy = (*HEAVY, *(COMMAND_LINE if name == "the library" else HEAVY_FOR_HELP))
    prelude = (
        "import sys\n"
        "def help(*command):\n"
        "    try:\n"
        "        app([*command, '--help'])\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, end.code\n"
    )
    statements = IMPORTS_NOTHING_HEAVY[name]
    report = f"\nprint('HEAVY', *(name for name in {heavy!r} if name in sys.modules))\n"
    done = _python("-c", prelude + report.join((*statements, "")))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    heard = dict(zip(statements, (line for line in lines if line.startswith("HEAVY")), strict=True))
    assert heard == dict.fromkeys(statements, "HEAVY")
    helps = sum(statement.startswith("help") for statement in statements)
    assert sum("Usage:" in line for line in lines) == helps


PRINTING = {
    # Through the streams that the commands protect, which escape control characters (`spo_data.printable`).
    "print": {"spo_cli.terminal", "spo_cli.commands", "spo_train.hooks"},
    "sys.stdout.write": set(),
    "sys.stderr.write": {"spo_cli", "spo_cli.terminal", "spo_train.hooks"},
    "echo": set(),
    "secho": set(),
    # Past them: `DataConsole` escapes what it prints.
    "Console": set(),
    "DataConsole": {"spo_cli.terminal"},
    "terminal": {"spo_cli.terminal"},
    "os.write": set(),
}
"""The rooms that call what prints. What `spo_train.hooks` prints is in verl's log."""


def test_what_prints_is_called_only_where_control_characters_are_escaped() -> None:
    found: dict[str, set[str]] = {call: set() for call in PRINTING}
    for name, path in MODULES.items():
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                called = ast.unparse(node.func)
                for call in {called, called.rpartition(".")[2]} & PRINTING.keys():
                    if call != "print" or called == "print":  # a console's method has that name too
                        found[call].add(room_of(name))
    assert found == PRINTING


def test_nothing_but_our_console_writes_past_the_protected_streams() -> None:
    past = ("rich_proxied_file", "__stdout__", "__stderr__", "stdout.buffer", "stderr.buffer")
    found = {name for name, path in MODULES.items() if any(word in path.read_text(encoding="utf-8") for word in past)}
    assert found == {"spo_data.printable", "spo_cli.terminal.console"}


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
