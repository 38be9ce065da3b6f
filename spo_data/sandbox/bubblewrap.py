"""The isolation of a model's program: a bubblewrap (`bwrap`) command line.

What is covered: a program
* has no network, not even a loopback: its only sockets are Unix ones, and none of the host's abstract ones are among
  them;
* can read only these parts of the file system: /usr, the loader's cache, /etc/alternatives, and this Python
  (`sys.prefix` and `sys.base_prefix`, so that it can import the packages installed there). It sees no home folder, and
  none of the rest of /etc, /run, /sys or /var;
* can write only to /tmp and /dev/shm: its own memory, FILES_MB each, which vanishes with it;
* has a few fixed environment variables, no inherited file descriptor but stdin, stdout and stderr, and no terminal;
* sees only its own processes, and cannot signal others;
* runs without capabilities, as a user that is not root on the host either, and cannot gain any: no set-uid, no further
  namespaces, and a filter of system calls (seccomp.py);
* ends together with everything that it started: at its time, memory or output limit, when its first process ends, when
  the task that waits for it is cancelled, and when the process that runs it is killed;
* is limited to PROCESSES processes and threads and OPEN_FILES files per process, in all of its processes: process 1 is
  a shell under the same limits. The memory limit holds for the address space of each process and for all of them
  together, with what the kernel keeps for them; the wall-clock limit also holds for the CPU time of each process;
* has a core that it cannot leave, and takes nothing from its neighbours that the kernel shares between users: no locks
  on shared files, no inotify, no files in flight.

What is not covered:
* Bugs of the kernel, bubblewrap, libseccomp. For a hostile user rather than a careless model, add a virtual machine.
* The machine's speed: until its time limit a program may keep its core busy, and use memory bandwidth and caches. With
  more programs at once than cores, they share cores. Side channels between programs, or to the host, are not closed.
* Memory between two measurements (0.1 s apart, for small objects of the kernel 1 s; 2 s if a program delays them).
  Leave some memory to spare.
* If we are not root: the kernel's pools of pipes and epoll are one for all processes of our user.
* Reading what every user may read: /usr, the installed packages, /proc/cpuinfo, /proc/meminfo, the kernel's version,
  and the path of this Python, which may contain a user name.
* A secret in a readable file under /usr or in this Python's folder.
* If we are not root: a SIGKILL of the process that runs the sandbox, in the milliseconds in which the sandbox starts,
  can leave behind a bwrap that waits for ever. Its program has not started and never will.

If we are root, the kernel would not count the processes, and the program could read files as their owner, root. An
outer bwrap therefore makes the file system as root and switches to the slot's user; the same unprivileged bwrap runs
inside it. Both share one process namespace, which ends with us. In a container both need more rights than the
container's defaults: see docs/sandbox.md.
"""

import math
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spo_data.sandbox.interpreter import Limits, SandboxError
from spo_data.sandbox.slots import NOBODY

PROCESSES = 64
OPEN_FILES = 128
FILES_MB = 64
"""The size of /tmp, of /dev/shm, and of one file."""

FILE_SYSTEMS = ("/tmp", "/dev/shm")
"""The only places that a program can write to."""

FOLDER = "/tmp/program"
"""The folder in which a program runs; it holds only the program's text. This Python may be elsewhere in /tmp."""
PROGRAM = "main.py"
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Each arena reserves address space, which is limited: with one for each thread, 14 threads took 1,024 MB.
    "MALLOC_ARENA_MAX": "2",
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
}
"""All of a program's environment. The hash seed is fixed, so that a program behaves the same in every run."""

_COUNTED = (f"--nproc={PROCESSES}", "--sigpending=1024", "--msgqueue=0", "--memlock=0")
"""Limits that need a user namespace: outside one, the user's other processes would count too."""
_TOOLS = {
    "bwrap": "bubblewrap",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "prlimit": "util-linux",
    "python3": "python3",
}
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_INPUT = "/input"
_GATE = "echo >&0 && read -r _ || exit"
"""Writes a line when the sandbox is ready, then starts the program when it reads one; on end of file, it exits."""
_REPLACED = 'exec "$@" < "$0"'
"""The gate's shell becomes the program."""
_KEPT = 'exec 3>&2 2> /dev/null; trap : INT; (exec "$@" < "$0" 2>&3 3>&-); exit $?'
"""The gate's shell stays: as process 1 a program could not even abort, because the kernel ignores its own signals.

The shell would report a signal that ended the program on stderr, which the model reads."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """File descriptors that a sandbox inherits."""

    program: int
    """A file with the program's text."""
    stdin: int
    """A file with the program's stdin."""
    system_calls: int
    """A file with the filter of system calls."""


def sandbox_command(limits: Limits, descriptors: Descriptors, user: int) -> list[str]:
    """Return the command that runs a program in a sandbox; raises SandboxError if a system program is missing.

    If we are root, `user` is the program's user and group outside the sandbox.

    When the command's first child ends, all other processes end. Its stdin is a socket: it writes a line there when the
    sandbox is ready and its limits hold, and starts the program when it reads one.
    """
    nested = os.geteuid() == 0
    binds = [*_bind_system(), *_bind_python()]
    inner = [
        *(tool("bwrap"), "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
        # bwrap's own process 1 would have none of the limits, and a program can run code in it through /proc/1/mem.
        "--as-pid-1",
        *("--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL", "--hostname", "sandbox"),
        *_mount_tmpfs("/tmp"),
        *binds,
        *("--proc", "/proc"),
        # Not bwrap's --dev: a shared mapping of /dev/zero is memory that no size shows, and terminals are the host's.
        *("--dir", "/dev", *_bind_devices("null", "random", "urandom"), *_mount_tmpfs("/dev/shm")),
        *("--symlink", "/proc/self/fd", "/dev/fd"),
        *(word for name in ("stdin", "stdout", "stderr") for word in _link_standard(name)),
        *("--dir", FOLDER, "--file", str(descriptors.program), f"{FOLDER}/{PROGRAM}"),
        *("--file", str(descriptors.stdin), _INPUT),
        *("--remount-ro", "/", "--seccomp", str(descriptors.system_calls), "--chdir", FOLDER, "--clearenv"),
        *(word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)),
        "--",
        *_gate_command(limits, _INPUT, _KEPT, *_COUNTED),
    ]
    if not nested:
        return inner
    return [
        *(tool("setpriv"), "--pdeathsig", "KILL", tool("unshare"), "--pid", "--fork", "--kill-child=KILL", "--"),
        *(tool("bwrap"), "--cap-drop", "ALL"),
        *("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        *binds,
        # The inner bwrap may mount a /proc only if it sees a complete one, and it makes its root in /tmp.
        *("--bind", "/proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/"),
        *("--", tool("setpriv"), "--reuid", str(user), "--regid", str(user), "--clear-groups", "--"),
        *inner,
    ]


def unsafe_command(limits: Limits, stdin: str) -> list[str]:
    """Return the command that runs PROGRAM without a sandbox, in the current folder and with a file as stdin.

    It ends with the thread that started it. Its own stdin is the same socket as that of `sandbox_command`.
    """
    return [tool("setpriv"), "--pdeathsig", "KILL", *_gate_command(limits, stdin, _REPLACED)]


def _gate_command(limits: Limits, stdin: str, start: str, *more: str) -> list[str]:
    """Return the command that runs PROGRAM in its folder, with a file as stdin, under the kernel's limits per process.

    Its own stdin is a socket: it writes a line there once the limits hold, and starts the program when it reads one. If
    a limit cannot be set, we learn it before the program starts, and never take the error for the program's output.
    """
    seconds = max(1, math.ceil(limits.seconds))
    return [
        *(tool("prlimit"), f"--as={limits.memory_mb << 20}", f"--fsize={FILES_MB << 20}", "--core=0"),
        # At the lower limit the kernel sends SIGXCPU, which shows that the program reached its CPU limit.
        *(f"--cpu={seconds}:{seconds + 1}", f"--nofile={OPEN_FILES}", *more),
        *("--", "/bin/sh", "-c", f"{_GATE}; {start}", stdin, python_path(), "-u", PROGRAM),
    ]


def _bind_system() -> list[str]:
    """Return the bwrap arguments that bind the system's programs and libraries."""
    words = [*_make_parents(["/usr", "/etc/alternatives"]), "--ro-bind", "/usr", "/usr"]
    for folder in _MERGED:
        if os.path.islink(folder):
            words += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            words += ["--ro-bind", folder, folder]
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        words += ["--ro-bind-try", path, path]
    return words


def _bind_python() -> list[str]:
    """Return the arguments that bind this Python and its venv; raises SandboxError if one holds the home folder."""
    executable = Path(python_path())
    prefixes = [Path(sys.base_prefix), Path(sys.prefix), executable.parent.parent, executable.resolve().parent.parent]
    folders = list(dict.fromkeys(str(form) for path in prefixes for form in (path, path.resolve())))
    outside = [folder for folder in folders if not Path(folder).is_relative_to("/usr")]
    for folder in outside:
        if Path.home().is_relative_to(folder):
            raise SandboxError(
                f"this Python is installed in {folder}, which holds your home folder, so programs could read your "
                "files: use a Python that is installed in a folder of its own"
            )
    return [*_make_parents(outside), *(word for folder in outside for word in ("--ro-bind", folder, folder))]


def python_path() -> str:
    """Return the path of the Python that runs programs: this one."""
    return sys.executable or tool("python3")


def _make_parents(paths: Iterable[str]) -> list[str]:
    """Make the paths' parent folders readable for everyone; bwrap would make the missing ones for one user only."""
    parents = {str(parent): None for path in paths for parent in reversed(Path(path).parents) if str(parent) != "/"}
    return [word for parent in parents for word in ("--perms", "0755", "--dir", parent)]


def _bind_devices(*names: str) -> list[str]:
    return [word for name in names for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")]


def _mount_tmpfs(path: str) -> list[str]:
    return ["--size", str(FILES_MB << 20), "--tmpfs", path]


def _link_standard(name: str) -> list[str]:
    return ["--symlink", f"/proc/self/fd/{('stdin', 'stdout', 'stderr').index(name)}", f"/dev/{name}"]


def tool(name: str) -> str:
    """Return the path of a system program; raises SandboxError if it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise SandboxError(f"{name} is not installed: apt install {_TOOLS[name]}")
    return path
