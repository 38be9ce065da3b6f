"""The isolation of a model's program: a bubblewrap (`bwrap`) command line.

What is covered. A program
* has no network: a network namespace of its own with nothing but a loopback device; no vsock, no netlink, and none of
  the host's abstract Unix sockets;
* sees of the file system, read-only: /usr, the loader's cache, /etc/alternatives, and this Python (`sys.prefix` and
  `sys.base_prefix`, so that it can import what is installed there). No home folder, no /etc, /run, /sys or /var;
* writes to /tmp and /dev/shm only: memory that is its own, FILES_MB each, and vanishes with it;
* has an environment of a few fixed variables, no inherited file descriptor but stdin, stdout and stderr, no terminal;
* sees no process but its own, and cannot signal others;
* runs without capabilities, as a user that is not root on the host either, and cannot gain any: no set-uid, no further
  namespaces, and a filter of system calls (seccomp.py);
* ends, with all that it started, at its time, memory or output limit, when its first process ends, when the task that
  waits for it is cancelled, and when the process that runs it is killed;
* is limited to PROCESSES processes and threads, OPEN_FILES files each, the memory limit as the address space of each
  and as the size of all together, and its wall-clock limit as the CPU time of each.

What is not covered.
* Bugs of the kernel, bubblewrap, libseccomp. For a hostile user rather than a careless model, add a virtual machine.
* The machine's speed: until its time limit a program may keep as many cores busy as it has processes, and use memory
  bandwidth and caches. Side channels between programs, or to the host, are not closed.
* Memory between two looks at it (0.1 s), and kernel memory that no size shows: what sits in sockets and pipes (at most
  about 200 KB for each open file: some 1.6 GB), page tables. A machine wants some memory to spare.
* Reading what every user may read: /usr, the installed packages, /proc/cpuinfo, /proc/meminfo, the kernel's version,
  the paths and thereby perhaps the user name under which this Python is installed.
* A secret that someone put under /usr or into this Python's folder, in a file that its user can read.
* Where we are not root: in the milliseconds in which a sandbox starts, a SIGKILL of the process that runs it can leave
  a bwrap behind that waits for ever. The program has not started then, and will not.

As root, the kernel would not count the processes, and files that root owns would be readable as their owner's. A first
bwrap then makes the file system as root, gives up root for the user NOBODY, and the same unprivileged bwrap runs below,
all in one namespace of processes that ends with us. In a container both need more than its defaults: docs/sandbox.md.
"""

import math
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spo_data.sandbox.interpreter import Limits, SandboxError

PROCESSES = 64
OPEN_FILES = 128
FILES_MB = 64
"""The size of /tmp, of /dev/shm, and of one file."""
NOBODY = 65534
"""The user and group inside; and, where we are root, outside."""

FILE_SYSTEMS = ("/tmp", "/dev/shm")
"""All that a program can write to."""

FOLDER = "/tmp/program"
"""Where a program runs: its own text is all there is. This Python may be mounted elsewhere in /tmp."""
PROGRAM = "main.py"
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
}
"""All of a program's environment. What is drawn at random in one run is drawn again in the next."""

_COUNTED = (f"--nproc={PROCESSES}", "--sigpending=1024", "--msgqueue=0", "--memlock=0")
"""Limits that make sense in a user namespace: outside, the user's other processes count too."""
_TOOLS = {
    "bwrap": "bubblewrap",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "prlimit": "util-linux",
    "python3": "python3",
}
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_INPUT = "/input"
_GATE = 'echo >&0 && read -r _ && exec "$@" < "$0"'
"""Says that everything is made, then waits for the word to go on, or for the end of who would give it."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """File descriptors that a sandbox inherits."""

    program: int
    """A file with the program's text."""
    stdin: int
    """A file with what it reads."""
    system_calls: int
    """A file with the filter."""


def sandbox_command(limits: Limits, descriptors: Descriptors) -> list[str]:
    """The command that runs a program in a sandbox; raises SandboxError where something is missing.

    Its first child is the process whose end is the end of all others. Its stdin is a socket: it writes a line there
    when the sandbox is made and its limits hold, and starts the program when it reads one.
    """
    nested = os.geteuid() == 0
    binds = [*_system(), *_python()]
    inner = [
        *(tool("bwrap"), "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
        *("--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL", "--hostname", "sandbox"),
        *_file_system("/tmp"),
        *binds,
        *("--proc", "/proc"),
        # Not bwrap's --dev: a shared mapping of /dev/zero is memory that no size shows, and terminals are the host's.
        *("--dir", "/dev", *_devices("null", "random", "urandom"), *_file_system("/dev/shm")),
        *("--symlink", "/proc/self/fd", "/dev/fd"),
        *(word for name in ("stdin", "stdout", "stderr") for word in _standard(name)),
        *("--dir", FOLDER, "--file", str(descriptors.program), f"{FOLDER}/{PROGRAM}"),
        *("--file", str(descriptors.stdin), _INPUT),
        *("--remount-ro", "/", "--seccomp", str(descriptors.system_calls), "--chdir", FOLDER, "--clearenv"),
        *(word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)),
        "--",
        *gate_command(limits, _INPUT, *_COUNTED),
    ]
    if not nested:
        return inner
    return [
        *(tool("setpriv"), "--pdeathsig", "KILL", tool("unshare"), "--pid", "--fork", "--kill-child=KILL", "--"),
        *(tool("bwrap"), "--cap-drop", "ALL"),
        *("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        *binds,
        # The inner bwrap may mount a /proc only where it sees a whole one, and makes its root in /tmp.
        *("--bind", "/proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/"),
        *("--", tool("setpriv"), "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--"),
        *inner,
    ]


def gate_command(limits: Limits, stdin: str, *more: str) -> list[str]:
    """The command that runs its folder's program, with a file as stdin, under the kernel's limits for each process.

    Its own stdin is a socket: it writes a line there once the limits hold, and starts the program when it reads one. A
    limit that cannot be set is thus known before there is a program, and never told as a program's output.
    """
    seconds = max(1, math.ceil(limits.seconds))
    return [
        *(tool("prlimit"), f"--as={limits.memory_mb << 20}", f"--fsize={FILES_MB << 20}", "--core=0"),
        # At the lower one a program is told of its end (SIGXCPU), by which it is known to have reached this limit.
        *(f"--cpu={seconds}:{seconds + 1}", f"--nofile={OPEN_FILES}", *more),
        *("--", "/bin/sh", "-c", _GATE, stdin, python_path(), "-u", PROGRAM),
    ]


def _system() -> list[str]:
    """The binds of the system's programs and libraries."""
    words = [*_parents(["/usr", "/etc/alternatives"]), "--ro-bind", "/usr", "/usr"]
    for folder in _MERGED:
        if os.path.islink(folder):
            words += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            words += ["--ro-bind", folder, folder]
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        words += ["--ro-bind-try", path, path]
    return words


def _python() -> list[str]:
    """The binds of this Python and of its virtual environment; raises SandboxError where one holds the user's home."""
    executable = Path(python_path())
    prefixes = [Path(sys.base_prefix), Path(sys.prefix), executable.parent.parent, executable.resolve().parent.parent]
    folders = list(dict.fromkeys(str(form) for path in prefixes for form in (path, path.resolve())))
    outside = [folder for folder in folders if not Path(folder).is_relative_to("/usr")]
    for folder in outside:
        if Path.home().is_relative_to(folder):
            raise SandboxError(
                f"this Python is installed in {folder}, which holds your home folder, and programs would see it: "
                "use one that has a folder of its own"
            )
    return [*_parents(outside), *(word for folder in outside for word in ("--ro-bind", folder, folder))]


def python_path() -> str:
    """The Python that runs programs: this one."""
    return sys.executable or tool("python3")


def _parents(paths: Iterable[str]) -> list[str]:
    """Folders that lead to the paths, open to all: bwrap makes those that are missing for one user alone."""
    parents = {str(parent): None for path in paths for parent in reversed(Path(path).parents) if str(parent) != "/"}
    return [word for parent in parents for word in ("--perms", "0755", "--dir", parent)]


def _devices(*names: str) -> list[str]:
    return [word for name in names for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")]


def _file_system(path: str) -> list[str]:
    return ["--size", str(FILES_MB << 20), "--tmpfs", path]


def _standard(name: str) -> list[str]:
    return ["--symlink", f"/proc/self/fd/{('stdin', 'stdout', 'stderr').index(name)}", f"/dev/{name}"]


def tool(name: str) -> str:
    """The path of a program of the system; raises SandboxError where it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise SandboxError(f"{name} is not installed: apt install {_TOOLS[name]}")
    return path
