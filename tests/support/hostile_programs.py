"""Programs that try to escape their sandbox or to exhaust the machine, and the expected result of each.

`attempt(action)` prints "denied" if the kernel refuses, and "ESCAPED" if it does not. The test replaces capitals after
a dollar sign ($PORT) with what exists outside: a listener, a canary, a secret, a process.
"""

import signal
import sys
from dataclasses import dataclass

from spo_data.sandbox.interpreter import Stopped

DEEP_IN_C = -11 if sys.version_info < (3, 12) else 1
"""The status of a recursion through C: Python 3.12 raises RecursionError, 3.11 is killed by a segmentation fault."""
PRELUDE = """
import ctypes, os, resource, signal, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def attempt(action):
    try:
        result = action()
    except BaseException as error:
        print("denied", type(error).__name__, str(error)[:80])
    else:
        print("ESCAPED", repr(result)[:200])
def call(name, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def number(x86, arm):
    return x86 if os.uname().machine == "x86_64" else arm
def put(path, text):
    return os.write(os.open(path, os.O_WRONLY), text)
def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(1)
        client.connect(address)
        client.send(b"hello")
    return address
"""


@dataclass(frozen=True)
class Hostile:
    """A program, its limits, and the result that proves it was contained."""

    name: str
    code: str
    stopped: Stopped | None = None
    return_code: int | None = 0
    printed: str | None = "denied"
    """What stdout must contain."""
    seconds: float = 20.0
    memory_mb: int = 256


def _denied(name: str, code: str) -> Hostile:
    return Hostile(name, code)


def _stopped(name: str, code: str, stopped: Stopped, printed: str | None = None) -> Hostile:
    """A program that exceeds a limit. If the limit is time, it is set to one second."""
    return Hostile(name, code, stopped, None, printed, seconds=1.0 if stopped == "time" else 20.0)


def _ends(name: str, code: str, return_code: int, printed: str | None = None) -> Hostile:
    return Hostile(name, code, None, return_code, printed)


NETWORK = [
    _denied("TCP to the host's loopback", 'attempt(lambda: connect(socket.AF_INET, ("127.0.0.1", $PORT)))'),
    _denied("TCP to the host's loopback by IPv6", 'attempt(lambda: connect(socket.AF_INET6, ("::1", $PORT)))'),
    _denied("TCP to the internet", 'attempt(lambda: connect(socket.AF_INET, ("1.1.1.1", 443)))'),
    _denied("a cloud's metadata", 'attempt(lambda: connect(socket.AF_INET, ("169.254.169.254", 80)))'),
    _denied("UDP to the internet", 'attempt(lambda: connect(socket.AF_INET, ("8.8.8.8", 53), socket.SOCK_DGRAM))'),
    _denied("a name", 'attempt(lambda: socket.getaddrinfo("pypi.org", 443))'),
    _denied("HTTP", 'import urllib.request\nattempt(lambda: urllib.request.urlopen("http://127.0.0.1:$PORT"))'),
    _denied("an abstract Unix socket", r'attempt(lambda: connect(socket.AF_UNIX, "\0$ABSTRACT"))'),
    _denied("a Unix socket in a folder", 'attempt(lambda: connect(socket.AF_UNIX, "$FOLDER/socket"))'),
    _denied("Docker's socket", 'attempt(lambda: connect(socket.AF_UNIX, "/var/run/docker.sock"))'),
    _denied("a raw socket", "attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))"),
    _denied("packets", "attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))"),
    _denied("netlink", "attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))"),
    _denied("the hypervisor", "attempt(lambda: connect(socket.AF_VSOCK, (2, 1024)))"),
    _denied("its own loopback", "attempt(lambda: socket.create_server(('127.0.0.1', 0)))\n"
            "attempt(lambda: socket.create_server(('::1', 0), family=socket.AF_INET6))"),
    _denied("the kernel's cryptography", "attempt(lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0))"),
]  # fmt: skip

FILES = [
    _denied("writing a file outside", 'attempt(lambda: open("$FOLDER/canary", "w"))'),
    _denied("reading a file outside", 'attempt(lambda: open("$FOLDER/canary").read())'),
    _denied("writing by ..", 'attempt(lambda: open("../../../..$FOLDER/canary", "w"))'),
    _denied("writing by a symbolic link", 'os.symlink("$FOLDER/canary", "link")\nattempt(lambda: open("link", "w"))'),
    _denied("a hard link to the system's files", 'attempt(lambda: os.link("/usr/bin/env", "/tmp/env"))'),
    _denied("writing by process 1's root", 'attempt(lambda: open("/proc/1/root$FOLDER/canary", "w"))'),
    _denied("writing by process 1's folder", 'attempt(lambda: open("/proc/1/cwd/../../$FOLDER/canary", "w"))'),
    _denied("changing Python", 'attempt(lambda: open(os.__file__, "a"))'),
    _denied("installing into Python", 'attempt(lambda: open(os.path.join(sys.prefix, "x.pth"), "w"))'),
    _denied("changing the system", 'attempt(lambda: os.rename("/usr/bin/env", "/usr/bin/env2"))'),
    _denied("a file in the root folder", 'attempt(lambda: open("/escape", "w"))'),
    _denied("a file in /dev", 'attempt(lambda: open("/dev/escape", "w"))'),
    _denied("its own input", 'attempt(lambda: open("/input", "w"))'),
    _denied("a device", 'attempt(lambda: os.mknod("/tmp/disk", 0o600 | 0o060000, os.makedev(254, 0)))'),
    _denied("the disk", 'attempt(lambda: [open("/dev/" + name, "rb") for name in ("vda", "sda", "nvme0n1", "mem")])'),
    _denied("the kernel's log", 'attempt(lambda: open("/dev/kmsg").read(1))'),
    _denied("a terminal", 'attempt(lambda: open("/dev/tty", "w"))\nattempt(lambda: os.openpty())'),
    _denied(
        "writing to every folder",
        """
found = []
for folder in [each for top in ("/", "/etc", "/usr", "/proc", "/dev") for each, _, _ in os.walk(top)][:1500]:
    try:
        with open(folder + "/escape", "w"):
            found.append(folder)
    except OSError:
        pass
print("ESCAPED" if set(found) - {"/dev/shm", "/tmp", "/tmp/program"} else "denied", found)
""",
    ),
]

SECRETS = [
    _denied(
        "the environment of every process",
        """
seen = b"".join(open(f"/proc/{pid}/environ", "rb").read() for pid in os.listdir("/proc") if pid.isdigit()
                and os.access(f"/proc/{pid}/environ", os.R_OK))
print("ESCAPED" if b"$SECRET" in seen or "$SECRET" in str(os.environ) else "denied")
""",
    ),
    _denied("a process outside", 'attempt(lambda: open("/proc/$PID/environ").read())'),
    _denied("the home folder", 'attempt(lambda: os.listdir("$FOLDER/home"))'),
    _denied("a key", 'attempt(lambda: open("$FOLDER/home/.ssh/id_ed25519").read())'),
    _denied("root's home", 'attempt(lambda: open("/root/.bashrc").read())\nattempt(lambda: os.listdir("/home"))'),
    _denied("passwords", 'attempt(lambda: open("/etc/shadow").read())\nattempt(lambda: open("/etc/passwd").read())'),
    _denied("service credentials", 'attempt(lambda: os.listdir("/run"))\nattempt(lambda: os.listdir("/var"))'),
    _denied("the kernel's memory", 'attempt(lambda: open("/proc/kcore", "rb").read(1))'),
    _denied("inherited files", 'print("ESCAPED" if set(os.listdir("/proc/self/fd")) - set("0123") else "denied")'),
]

KERNEL = [
    _denied("a user namespace", "attempt(lambda: call('unshare', 0x10000000))"),
    _denied("a network namespace", "attempt(lambda: call('unshare', 0x40000000))"),
    _denied(
        "a clone in a user namespace",
        "attempt(lambda: call('syscall', number(56, 220), 0x10000000 | 17, 0, 0, 0, 0))",
    ),
    _denied("clone3", "attempt(lambda: call('syscall', 435, 0, 0))"),
    _denied("joining a namespace", "attempt(lambda: call('setns', os.open('/proc/1/ns/net', os.O_RDONLY), 0))"),
    _denied("a mount", "attempt(lambda: call('mount', b'x', b'/tmp', b'tmpfs', 0, None))"),
    _denied("mounting writable", "attempt(lambda: call('mount', None, b'/usr', None, 32 | 4096, None))"),
    _denied("unmounting", "attempt(lambda: call('umount2', b'/proc', 2))"),
    _denied("chroot", "attempt(lambda: os.chroot('/tmp'))"),
    _denied("becoming root", "attempt(lambda: os.setuid(0))\nattempt(lambda: os.setgroups([0]))"),
    _denied(
        "a set-uid program",
        "done = subprocess.run(['su', '-c', 'id'], capture_output=True, text=True)\n"
        "print('ESCAPED' if 'uid=0' in done.stdout else 'denied')",
    ),
    _denied("ptrace", "attempt(lambda: call('ptrace', 16, 1, 0, 0))"),
    _denied("reading a process's memory", "attempt(lambda: call('process_vm_readv', 1, None, 0, None, 0, 0))"),
    _denied("bpf", "attempt(lambda: call('syscall', number(321, 280), 0, 0, 0))"),
    _denied("io_uring", "attempt(lambda: call('syscall', 425, 8, ctypes.create_string_buffer(120)))"),
    _denied("keyrings", "attempt(lambda: call('syscall', number(250, 219), 0, -3, 1))"),
    _denied("performance counters", "attempt(lambda: call('syscall', number(298, 241), 0, 0, -1, -1, 0))"),
    _denied("userfaultfd", "attempt(lambda: call('syscall', number(323, 282), 1))"),
    _denied("a call that is not known yet", "attempt(lambda: call('syscall', 599, 0))"),
    _denied("a kernel module", "attempt(lambda: call('syscall', number(313, 273), 0, b'', 0))"),
    _denied("the clock", "attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, 0))"),
    _denied("the host's name", "attempt(lambda: socket.sethostname('escaped'))"),
    _denied("a reboot", "attempt(lambda: call('reboot', 0x01234567))"),
    _denied("sysrq", "attempt(lambda: put('/proc/sysrq-trigger', b'b'))"),
    _denied("a setting of the kernel", "attempt(lambda: put('/proc/sys/kernel/core_pattern', b'|/tmp/x'))"),
    _denied("a map of users", "attempt(lambda: put('/proc/self/uid_map', b'0 0 1'))"),
    _denied("escaping the out-of-memory killer", "attempt(lambda: put('/proc/self/oom_score_adj', b'-999'))"),
    _denied(
        "raising its limits",
        "for each in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):\n"
        "    attempt(lambda: resource.setrlimit(each, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))",
    ),
    _denied("priority", "attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))"),
    _denied("real time", "attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))"),
    _denied("typing into a terminal", "import fcntl\nattempt(lambda: fcntl.ioctl(0, 0x5412, b'x'))"),
]

IN_PROCESS_1 = """
count = lambda: len([name for name in os.listdir("/proc") if name.isdigit()])
def run_in_process_1(code):
    at = int(open("/proc/1/syscall").read().split()[-1], 16)
    with open("/proc/1/mem", "r+b", 0) as memory:
        memory.seek(at)
        memory.write(code)
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.1)  # an orphan by now: its end wakes process 1
        os._exit(0)
    os.wait()
"""
"""Runs machine code in process 1, which waits for the program's end and has the same user."""

PROCESSES = [
    _denied(
        "the limits and the filter of process 1",
        "status, limits = open('/proc/1/status').read(), open('/proc/1/limits').read()\n"
        "print('denied' if 'Seccomp:\\t2' in status and 'CapEff:\\t0000000000000000' in status\n"
        "      and limits == open('/proc/self/limits').read() else 'ESCAPED', status, limits)",
    ),
    Hostile(
        "processes of process 1",
        IN_PROCESS_1 + """
# fork() for as long as it succeeds, then pause(), and in every child pause()
code = bytes.fromhex("b839000000 0f05 85c0 7ff5 b822000000 0f05 ebf7")
if os.uname().machine == "x86_64":
    run_in_process_1(code)
    deadline = time.monotonic() + 10
    while count() < 64 and time.monotonic() < deadline: time.sleep(0.01)
    time.sleep(0.3)
    print(count(), "denied" if 60 < count() <= 64 else "ESCAPED", flush=True)
else:
    print("denied", flush=True)
time.sleep(60)
""",
        "time",
        None,
        seconds=3.0,
    ),
    Hostile(
        "breaking process 1",
        IN_PROCESS_1 + """
run_in_process_1(b"\\x0f\\x0b" * 64 if os.uname().machine == "x86_64" else bytes(64))
print("denied", flush=True)
time.sleep(60)
""",
        None,
        -signal.SIGILL,
    ),
    _denied("outliving us", "attempt(lambda: call('prctl', 1, 0))"),
    _denied(
        "a fork bomb", "attempt(lambda: [os.fork() or time.sleep(9) for _ in range(1000)])\nos.kill(-1, signal.SIGKILL)"
    ),
    _stopped("a fork bomb of all", "while True:\n    try:\n        os.fork()\n    except OSError: pass", "time"),
    _denied(
        "a thread bomb",
        "import threading\nthreading.stack_size(65536)\n"
        "attempt(lambda: [threading.Thread(target=time.sleep, args=(9,), daemon=True).start() for _ in range(1000)])\n"
        "sys.stdout.flush()\nos._exit(0)",
    ),
    _denied("zombies", "attempt(lambda: [os.fork() or os._exit(0) for _ in range(1000)])"),
    _ends(
        "a daemon that outlives it",
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        for each in (1, 15, 2): signal.signal(each, signal.SIG_IGN)\n"
        "        time.sleep(60)\n    os._exit(0)\nos.wait()\nprint('left')",
        0,
        "left",
    ),
    _ends("a daemon that closes its files", "if os.fork() == 0:\n    os.setsid()\n    os.closerange(0, 99)\n"
          "    while True: pass\nprint('left')", 0, "left"),
    _stopped(
        "ignoring signals",
        "for each in range(1, 65):\n    try: signal.signal(each, signal.SIG_IGN)\n    except Exception: pass\n"
        "print('deaf')\nwhile True: time.sleep(1)",
        "time",
        "deaf",
    ),
    _denied("killing everything", "attempt(lambda: os.kill(-1, signal.SIGKILL))"),
    _ends("killing process 1",
          "for each in signal.valid_signals(): os.kill(1, each)\ntime.sleep(0.1)\nprint('alone')", 0, "alone"),
    _denied("killing a process outside", "attempt(lambda: os.kill($PID, signal.SIGKILL))"),
    _ends("another program", "os.execv('/bin/sh', ['sh', '-c', 'echo shell; exit 3'])", 3, "shell"),
    _stopped("a shell's bomb", "os.execv('/bin/sh', ['sh', '-c', 'bomb() { bomb | bomb & }; bomb; sleep 60'])", "time"),
]  # fmt: skip

FILL = """
def fill(sender):
    sender.setblocking(False)
    try:
        while True: sender.send(bytes(90 << 10))
    except BlockingIOError:
        return sender
def connected(listener):
    client = socket.socket(socket.AF_UNIX)
    client.connect(listener.getsockname())
    return client
"""
"""Fills the buffer of a Unix socket."""

MEMORY = [
    _ends("a list", "x = []\nwhile True: x.append(bytes(1 << 20))", 1),
    _stopped("a power", "x = 10 ** (10 ** 10)", "time"),
    _stopped(
        "many processes",
        "for _ in range(8):\n    if os.fork() == 0: break\nx = bytearray(100 << 20)\ntime.sleep(60)",
        "memory",
    ),
    Hostile(
        "a name that looks like less memory",
        "call('prctl', 15, b'\\rVmRSS: -999999')\nfor _ in range(3):\n    if os.fork() == 0: break\n"
        "x = b'x' * (110 << 20)\ntime.sleep(60)",
        "memory",
        None,
        None,
        memory_mb=192,
    ),
    _ends("a name that is no text", "call('prctl', 15, b'\\xff\\xfe')\ntime.sleep(0.5)\nprint('named')", 0, "named"),
    _stopped("files and memory", "for path in ('x', '/dev/shm/x'): open(path, 'wb').write(bytes(60 << 20))\n"
             "x = b'x' * (180 << 20)\ntime.sleep(60)", "memory"),
    _denied("a full disk", "attempt(lambda: [open(f'x{i}', 'wb').write(bytes(1 << 20)) for i in range(100)])"),
    _denied("full shared memory",
            "os.chdir('/dev/shm')\nattempt(lambda: [open(f'{i}', 'wb').write(bytes(1 << 20)) for i in range(100)])"),
    _denied("a huge sparse file", "attempt(lambda: os.truncate(os.open('x', os.O_CREAT | os.O_RDWR), 1 << 40))"),
    Hostile(
        "empty files",
        "i = 0\nwhile True:\n    os.close(os.open(f'{i}', os.O_CREAT | os.O_WRONLY))\n    i += 1",
        "memory",
        None,
        None,
        memory_mb=128,
    ),
    _denied("memfd", "attempt(lambda: os.memfd_create('x'))"),
    _denied("System V memory", "attempt(lambda: call('shmget', 0, 1 << 20, 0o1600))"),
    _denied("System V messages", "attempt(lambda: call('msgget', 0, 0o1600))"),
    _denied("shared memory without a name", "import mmap\nattempt(lambda: mmap.mmap(-1, 1 << 20))"),
    _denied("shared zeros", "attempt(lambda: os.open('/dev/zero', os.O_RDWR))"),
    _stopped("sockets that nobody accepts", FILL + "keep = []\n"
             "while True:\n    listener = socket.socket(socket.AF_UNIX)\n    listener.bind('')\n"
             "    listener.listen(4096)\n    keep.append(listener)\n"
             "    for _ in range(4000): fill(connected(listener)).close()", "memory"),
    _stopped("full sockets of many processes", FILL + "keep = []\nfor _ in range(5): os.fork()\n"
             "try:\n    while True: keep += map(fill, socket.socketpair())\nexcept OSError: time.sleep(60)", "memory"),
    Hostile(
        "mappings",
        "libc.mmap.restype = ctypes.c_long\nat = call('mmap', None, 1 << 27, 0, 0x22, -1, 0)\n"
        "for page in range(0, 32_000, 2): call('mprotect', ctypes.c_void_p(at + 4096 * page), 4096, 1)\n"
        "for _ in range(50):\n    if os.fork() == 0: break\ntime.sleep(99)",
        "memory",
        None,
        None,
        seconds=90.0,
    ),
    _denied("larger buffers of sockets", "import socket\na, b = socket.socketpair()\n"
            "for name in (socket.SO_SNDBUF, socket.SO_RCVBUF, 32, 33):\n"
            "    attempt(lambda: a.setsockopt(socket.SOL_SOCKET, name, 1 << 24))"),
    _denied("larger pipes", "import fcntl\nattempt(lambda: fcntl.fcntl(os.pipe()[0], fcntl.F_SETPIPE_SZ, 1 << 20))"),
    _denied("rules of Landlock", "one = ctypes.create_string_buffer(bytes([1, *[0] * 15]))\n"
            "attempt(lambda: call('syscall', 444, one, 8, 0))\nattempt(lambda: call('syscall', 444, None, 0, 1))"),
    _denied("memory policies of a file",
            "import mmap\nfile = os.open('/dev/shm/x', os.O_CREAT | os.O_RDWR)\nos.truncate(file, 4096)\n"
            "x = mmap.mmap(file, 4096)\nat = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(x)))\n"
            "attempt(lambda: call('syscall', number(237, 235), at, 4096, 2, ctypes.byref(ctypes.c_long(1)), 64, 0))\n"
            "attempt(lambda: call('syscall', number(238, 237), 0, None, 0))"),
    _denied("further filters of system calls",
            "allow = ctypes.create_string_buffer(bytes([6, 0, 0, 0, 0, 0, 255, 127]))\n"
            "program = (ctypes.c_size_t * 2)(1, ctypes.addressof(allow))\n"
            "attempt(lambda: call('prctl', 22, 2, program))\n"
            "attempt(lambda: call('syscall', number(317, 277), 1, 0, program))"),
    Hostile(
        "names of mappings",
        "import mmap\nx = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(x)))\n"
        "attempt(lambda: call('prctl', 0x53564D41, 0, at, ctypes.c_size_t(4096), b'x'))",
        printed="denied PermissionError",  # some kernels have no such names
    ),
    _denied("sockets in flight",
            "a, b = socket.socketpair()\nattempt(lambda: socket.send_fds(a, [b'x'], [b.fileno()]))"),
    _denied("filters of sockets", "a, b = socket.socketpair()\n"
            "attempt(lambda: a.setsockopt(socket.SOL_SOCKET, 26, bytes(16)))"),
    _denied("many open files", "attempt(lambda: [os.pipe() for _ in range(1000)])"),
    _denied("locked memory", "import mmap\nx = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
            "attempt(lambda: call('mlock', ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(x))), 1 << 20))"),
]  # fmt: skip

NEIGHBOURS = [
    _denied("another core", "attempt(lambda: os.sched_setaffinity(0, range(os.cpu_count())))\n"
            "print(len(os.sched_getaffinity(0)))"),
    _denied("a core without neighbours", "attempt(lambda: call('prctl', 62, 1, 0, 0, 0))"),
    _denied("inotify", "attempt(lambda: call('inotify_init1', 0))"),
    _denied("dnotify", "import fcntl\nattempt(lambda: fcntl.fcntl(os.open('/usr', os.O_RDONLY), fcntl.F_NOTIFY, 2))"),
    _denied("a lock on a shared file", "import fcntl\nshared = open(os.__file__)\n"
            "for how in (fcntl.LOCK_EX, fcntl.LOCK_SH): attempt(lambda: fcntl.flock(shared, how))\n"
            "attempt(lambda: fcntl.lockf(shared, fcntl.LOCK_EX))\n"
            "attempt(lambda: fcntl.fcntl(shared, fcntl.F_OFD_SETLK, bytes(32)))"),
    _denied("a lease on a shared file",
            "import fcntl\nattempt(lambda: fcntl.fcntl(open(os.__file__), fcntl.F_SETLEASE, fcntl.F_RDLCK))"),
    _denied("the machine's asynchronous requests",
            "attempt(lambda: call('syscall', number(206, 0), 1 << 16, bytes(8)))"),
    _denied("flushing the machine's disks", "attempt(lambda: call('syncfs', os.open('/usr', os.O_RDONLY)))\n"
            "attempt(lambda: call('syscall', number(162, 81)))"),
    _denied("emptying the machine's cache",
            "attempt(lambda: os.posix_fadvise(os.open(os.__file__, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED))"),
]  # fmt: skip

OUTPUT = [
    _stopped("a flood of lines", "while True: print('x' * 99)", "output", "x" * 99),
    _stopped("a flood to stderr", "while True: print('x' * 99, file=sys.stderr)", "output"),
    _stopped("a flood without lines", "while True: os.write(1, b'x' * 65536)", "output", "x" * 65536),
    _stopped(
        "a flood of a child", "subprocess.Popen(['yes'])\nos.close(1)\nos.close(2)\ntime.sleep(60)", "output", "y\ny\n"
    ),
    _ends("bytes", "sys.stdout.buffer.write(bytes(range(256)))", 0, "\ufffd"),
    _ends("a long line", "print('x' * 1_000_000)", 0, "x" * 1_000_000),
    _ends("closed files", "os.closerange(0, 99)\nos._exit(5)", 5),
    _ends("a huge error", "raise ValueError('x' * 1_000_000)", 1),
]

TIME = [
    _stopped("a long sleep", "print('zzz')\ntime.sleep(1000)", "time", "zzz"),
    _stopped("a busy loop", "print('busy')\nwhile True: pass", "time", "busy"),
    _stopped("a busy loop in C", "sum(iter(int, 1))", "time"),
    _ends("waiting for input", "print(repr(sys.stdin.read()))", 0, "''"),
    _stopped("waiting for a child", "if os.fork() == 0: time.sleep(1000)\nos.wait()", "time"),
    Hostile(
        "CPU time of many threads",
        "import hashlib, threading\nx = bytes(1 << 26)\ndef burn():\n    while True: hashlib.sha256(x).digest()\n"
        "for _ in range(8): threading.Thread(target=burn).start()",
        "time",
        None,
        None,
        seconds=1.0,
    ),
]

ENDS = [
    _ends("abort", "os.abort()", -6),
    _ends("a segmentation fault", "ctypes.string_at(0)", -11),
    _ends("killing itself", "os.kill(os.getpid(), signal.SIGKILL)", -9),
    _ends("deleting itself", "os.remove('main.py')\nprint('gone')\nraise ValueError('no source')", 1, "gone"),
    _ends("recursion", "def f(): f()\nf()", 1),
    _ends("recursion without a limit", "sys.setrecursionlimit(10 ** 9)\nf = lambda: repr(x)\nx = []\n"
          "for _ in range(60_000): x = [x]\nf()", DEEP_IN_C),
    _ends("a status that looks like a limit's", "sys.exit(128 + signal.SIGXCPU)", -24),
    _ends("a large status", "sys.exit(2 ** 40 + 7)", 7),
]  # fmt: skip

HOSTILE = [*NETWORK, *FILES, *SECRETS, *KERNEL, *PROCESSES, *MEMORY, *NEIGHBOURS, *OUTPUT, *TIME, *ENDS]
