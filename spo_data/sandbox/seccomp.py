"""The system calls that a model's program may not make: a filter for `bwrap --seccomp`.

The filter denies calls that the namespaces leave open and Python does not need: memory that no process's size shows
(shared anonymous mappings, memfd, System V memory, message queues, io_uring, Landlock, memory policies, more filters,
larger buffers of sockets and pipes, sockets sent through sockets), access to other processes or the machine (ptrace,
keyrings, mounts, namespaces, all sockets but Unix ones), what slows or hinders a neighbour's program (another core than
its own, locks on shared files, inotify, flushing the machine's disks and caches), and every call newer than this list.
"""

import errno
import functools
import os
import socket

from spo_data.sandbox.interpreter import SandboxError

_HIDDEN_MEMORY = (
    *("shmget", "shmat", "shmctl", "semget", "msgget", "mq_open", "memfd_secret"),
    *("userfaultfd", "remap_file_pages", "vmsplice", "process_madvise", "map_shadow_stack", "swapon", "swapoff"),
    # The kernel keeps a file's memory policies, one for each page if wanted, for as long as the file exists.
    *("mbind", "set_mempolicy", "set_mempolicy_home_node"),
)
_OTHER_PROCESSES = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_mrelease"),
    *("add_key", "request_key", "keyctl", "perf_event_open", "bpf", "lookup_dcookie", "move_pages", "migrate_pages"),
)
_MACHINE = (
    *("mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree", "move_mount", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "name_to_handle_at", "open_by_handle_at", "fanotify_init"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "acct", "syslog"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "nfsservctl"),
    *("iopl", "ioperm", "modify_ldt", "quotactl", "quotactl_fd", "vhangup", "personality"),
)
_NEIGHBOURS = (
    *("sched_setaffinity", "inotify_init", "inotify_init1", "inotify_add_watch", "sync", "syncfs"),
    # Files in flight are one pool for all processes of a user, and buffers of sockets in flight belong to no process.
    *("sendmsg", "sendmmsg"),
)
_FALL_BACK = (
    *("io_setup", "memfd_create", "clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    # Rules of Landlock and further filters of calls are memory of the kernel that no size shows.
    *("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"),
)
"""Libraries work without these if the kernel reports that they do not exist."""

_NEWEST = 453
"""The newest call known here; later ones do not exist for programs. From here on, all architectures share numbers."""

_UNKNOWN = -1
_RECENT = {
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "memfd_secret": 447,
    "process_mrelease": 448,
    "set_mempolicy_home_node": 450,
    "map_shadow_stack": 453,
}

_CLONE_NEW = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
_MAP_KIND, _MAP_SHARED_ANONYMOUS = 0x2F, 0x21
_MADV_PAGEOUT = 21
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FADV_DONTNEED = 4
_DENIED_PROCESS_COMMANDS = (1, 62, 22, 0x53564D41)
"""PR_SET_PDEATHSIG, PR_SCHED_CORE, PR_SET_SECCOMP and PR_SET_VMA, which gives mappings names."""
_DENIED_OPTIONS = (socket.SO_SNDBUF, socket.SO_RCVBUF, 32, 33, 26, 50, 51, 52)
"""Options of any socket: its buffers (32 and 33 are SO_SNDBUFFORCE and SO_RCVBUFFORCE) and its filters (BPF)."""
_DENIED_FILE_COMMANDS = (1031, 1024, 1026, 37, 38)
"""F_SETPIPE_SZ, F_SETLEASE, F_NOTIFY, F_OFD_SETLK and F_OFD_SETLKW."""
_LOW_WORD = 0xFFFFFFFF
"""The kernel reads an int from 32 bits of the register."""


@functools.cache
def system_call_filter() -> bytes:
    """Return the filter as a BPF program for the kernel; raises SandboxError if libseccomp is missing."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise SandboxError(
            f"the filter of system calls cannot be made ({error}): apt install libseccomp2, pip install pyseccomp"
        ) from error
    denied, absent = seccomp.ERRNO(errno.EPERM), seccomp.ERRNO(errno.ENOSYS)
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in (*_HIDDEN_MEMORY, *_OTHER_PROCESSES, *_MACHINE, *_NEIGHBOURS):
        if (number := _find_number(name)) != _UNKNOWN:
            rules.add_rule(denied, number)
    for name in _FALL_BACK:
        rules.add_rule(absent, _find_number(name))
    for number in range(_NEWEST + 1, 600):
        rules.add_rule(absent, number)
    for bit in range(32):
        if _CLONE_NEW & (1 << bit):
            rules.add_rule(denied, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, 1 << bit, 1 << bit))
    rules.add_rule(denied, "mmap", seccomp.Arg(3, seccomp.MASKED_EQ, _MAP_KIND, _MAP_SHARED_ANONYMOUS))
    rules.add_rule(denied, "madvise", seccomp.Arg(2, seccomp.MASKED_EQ, _LOW_WORD, _MADV_PAGEOUT))
    for number in (_TIOCSTI, _TIOCLINUX):
        rules.add_rule(denied, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, _LOW_WORD, number))
    no_family, no_locks = seccomp.ERRNO(errno.EAFNOSUPPORT), seccomp.ERRNO(errno.ENOLCK)
    for call in ("socket", "socketpair"):
        rules.add_rule(no_family, call, seccomp.Arg(0, seccomp.NE, socket.AF_UNIX))
    for option in _DENIED_OPTIONS:
        level = seccomp.Arg(1, seccomp.MASKED_EQ, _LOW_WORD, socket.SOL_SOCKET)
        rules.add_rule(denied, "setsockopt", level, seccomp.Arg(2, seccomp.MASKED_EQ, _LOW_WORD, option))
    for command in _DENIED_FILE_COMMANDS:
        rules.add_rule(denied, "fcntl", seccomp.Arg(1, seccomp.MASKED_EQ, _LOW_WORD, command))
    rules.add_rule(no_locks, "flock")
    rules.add_rule(denied, "fadvise64", seccomp.Arg(3, seccomp.MASKED_EQ, _LOW_WORD, _FADV_DONTNEED))
    for command in _DENIED_PROCESS_COMMANDS:
        rules.add_rule(denied, "prctl", seccomp.Arg(0, seccomp.MASKED_EQ, _LOW_WORD, command))
    file = os.memfd_create("filter")
    try:
        with os.fdopen(os.dup(file), "wb") as stream:
            rules.export_bpf(stream)
        return os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)


def _find_number(name: str) -> int:
    """Return the call's number on this machine; if this libseccomp does not know the call, the one in _RECENT."""
    import pyseccomp as seccomp

    number = int(seccomp.resolve_syscall(seccomp.system_arch(), name))
    return _RECENT.get(name, number) if number == _UNKNOWN else number
