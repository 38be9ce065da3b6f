"""The commands in a process that has imported them already, which saves the seconds that each fresh process needs.

The Hub's clients read their environment when imported, so that process is one of `clients_of`.
"""

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


def prepare() -> None:
    """Import the command, and skip the pauses between attempts."""
    import spo_cli.data_app  # noqa: F401

    time.sleep = lambda _seconds: None
    os.environ.pop("COLUMNS", None)  # readline, which pytest imports, sets it for all child processes


def home() -> str:
    """Where this process's clients keep their caches."""
    return os.environ["HF_HOME"]


def spo_data(place: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> Ended:
    """Run `spo-data WORDS` in the folder `place`."""
    from spo_cli.data_app import main

    return _run(main, place, ("spo-data", *words), environment)


def spo_train(place: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> Ended:
    """Run `spo-train WORDS` in the folder `place`."""
    from spo_cli.train_app import main

    return _run(main, place, ("spo-train", *words), environment)


def pretend_gpus(count: int, gigabytes: int = 80, host_gigabytes: int = 2048) -> None:
    """Let both commands find GPUs from now on, and what training on them takes: packages, memory, disk, a cluster."""
    from spo_data.engines.accelerators import Accelerators
    from spo_pipelines import sampling_plan
    from spo_train.plan import assemble, disk, machine, packages, startup
    from spo_train.plan.ray_cluster import Node
    from spo_train.plan.ray_resources import check_ray

    gpus = Accelerators(False, f"NVIDIA H100 {gigabytes}GB HBM3", count, gigabytes << 30)
    sampling_plan.find_accelerators = lambda: gpus
    assemble.find_accelerators = lambda: gpus
    machine.host_bytes = lambda: host_gigabytes << 30
    packages.find_fault = lambda _module: None
    disk.find_room = lambda _folder: 10**13
    startup.check_ray = functools.partial(check_ray, ask=lambda _address: [Node(cpus=192, gpus=count)] * 2)


def script_engine() -> None:
    """Let `spo-data estimate` sample from a scripted engine from now on."""
    import spo_pipelines.estimate as module
    from support import scripted

    module.estimate = functools.partial(module.estimate, start_engine=scripted.starter(scripted.Script(delay=0)))


def _run(main: Callable[[], None], place: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> Ended:
    status = 0
    with _redirected(place) as (out, err), contextlib.chdir(place), _with_environment(environment):
        sys.argv = list(words)
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Ended(status, out.read_text(), err.read_text())


@contextlib.contextmanager
def _redirected(place: Path) -> Iterator[tuple[Path, Path]]:
    out, err = place / ".stdout", place / ".stderr"
    with (
        out.open("w") as stdout,
        err.open("w") as stderr,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        yield out, err


@contextlib.contextmanager
def _with_environment(environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
