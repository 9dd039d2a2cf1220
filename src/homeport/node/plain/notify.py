"""System calls of a process that another one answers (seccomp's user notification), and what that one needs for it.

A filter has to be installed by the process that is to be looked after, which needs no rights but gives up gaining any
(no_new_privs). Structures and numbers: include/uapi/linux/seccomp.h; see seccomp_unotify(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from typing import NamedTuple

from homeport.node.sandbox import linux, processes

_NUMBERS = {
    "x86_64": (317, 0xC000003E, {"bind": 49, "connect": 42, "sendto": 44, "uname": 63}),
    "aarch64": (277, 0xC00000B7, {"bind": 200, "connect": 203, "sendto": 206, "uname": 160}),
}
"""By machine: the call ``seccomp``, what the kernel calls the architecture, and the calls that are looked after."""
_IO_URING_SETUP, _PIDFD_GETFD = 425, 438
_SET_MODE_FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 1, 1 << 3, 1 << 5
_ALLOW, _NOTIFY, _REFUSE = 0x7FFF0000, 0x7FC00000, 0x00050000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE = 1
_CALL = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_libc = ctypes.CDLL(None, use_errno=True)


class Call(NamedTuple):
    """A system call that waits for its answer."""

    id: int
    pid: int
    name: str
    arguments: tuple[int, ...]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def _instructions(architecture: int, numbers: dict[str, int]) -> list[tuple[int, int, int, int]]:
    """Datagrams that name no receiver are sent without anybody's being asked; rings of requests, which no filter sees,
    are not to be had."""
    ending = [
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * 4),  # sendto's address, both halves of the pointer
        (_EQUAL, 0, 2, 0),
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * 4 + 4),
        (_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, _NOTIFY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    asked = [number for name, number in numbers.items() if name != "sendto"]
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for number, verdict in (*((n, _NOTIFY) for n in asked), (_IO_URING_SETUP, _REFUSE | errno.ENOSYS)):
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)]
    code.append((_EQUAL, 0, len(ending) - 1, numbers["sendto"]))
    return code + ending


def install() -> int:
    """Have this process's calls, and those of all that it starts, answered by whoever has the descriptor that is
    returned. Raises OSError where the kernel can't, or where somebody answers them already."""
    machine = os.uname().machine
    if machine not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"not known on {machine}")
    seccomp, architecture, numbers = _NUMBERS[machine]
    text = b"".join(struct.pack("=HBBI", *one) for one in _instructions(architecture, numbers))
    held = ctypes.create_string_buffer(text, len(text))
    program = _Program(len(text) // 8, ctypes.addressof(held))
    linux.set_no_new_privileges()
    for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):
        listener: int = _libc.syscall(seccomp, _SET_MODE_FILTER, flags, ctypes.byref(program))
        if listener >= 0:
            return listener
        if (number := ctypes.get_errno()) != errno.EINVAL:
            break
    raise OSError(number, os.strerror(number))


def receive(listener: int) -> Call:
    """The next call. Raises OSError; ENOENT if its process has ended meanwhile."""
    data = bytearray(_CALL.size)
    fcntl.ioctl(listener, _RECEIVE, data)
    number, pid, _flags, call, _architecture, _at, *arguments = _CALL.unpack(data)
    names = {value: name for name, value in _NUMBERS[os.uname().machine][2].items()}
    return Call(number, pid, names.get(call, str(call)), tuple(arguments))


def answer(listener: int, call: Call, error: int = 0, value: int = 0) -> None:
    """Let the call have returned that, or failed with that error. Nothing if its process has gone."""
    _send(listener, _ANSWER.pack(call.id, value, -error, 0))


def let_go(listener: int, call: Call) -> None:
    """Let the kernel carry the call out as it is."""
    _send(listener, _ANSWER.pack(call.id, 0, 0, _CONTINUE))


def _send(listener: int, data: bytes) -> None:
    try:
        fcntl.ioctl(listener, _SEND, bytearray(data))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
            raise


def is_waiting(listener: int, call: Call) -> bool:
    """Whether the call still waits, so that its process id is nobody else's yet."""
    try:
        fcntl.ioctl(listener, _IS_VALID, struct.pack("=Q", call.id))
    except OSError:
        return False
    return True


def socket_of(call: Call, number: int) -> socket.socket:
    """A further descriptor of the socket that the process knows by that number. Raises OSError."""
    found = _descriptor_of(_process_of(call.pid), number)
    try:
        return socket.socket(fileno=found)
    except OSError:
        os.close(found)
        raise


def _descriptor_of(pid: int, number: int) -> int:
    pidfd = os.pidfd_open(pid)
    try:
        found: int = _libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
    finally:
        os.close(pidfd)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def _process_of(thread: int) -> int:
    """Who calls is a thread, and descriptors of processes are had by their first."""
    with open(f"/proc/{thread}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("Tgid:"):
                return int(line.split()[1])
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def read(call: Call, address: int, size: int) -> bytes:
    """That much of the process's memory. Raises OSError."""
    with open(f"/proc/{call.pid}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), size, _place(address))


def write(listener: int, call: Call, address: int, data: bytes) -> None:
    """Raises OSError; ESRCH if the process has gone: what has its id now is another one, whose memory stays as it
    is."""
    with open(f"/proc/{call.pid}/mem", "r+b", buffering=0) as memory:
        if not is_waiting(listener, call):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        os.pwrite(memory.fileno(), data, _place(address))


def _place(address: int) -> int:
    """Raises OSError for an address that no process has, and that would be no number of a place in a file."""
    if address >> 63:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return address


def can_watch() -> bool:
    """Whether the kernel hands system calls over, and the descriptors and the memory of those that make them: tried
    with a process that ends at once."""
    if not processes.IS_LINUX:
        return False
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(install())
            theirs.send(b"y")
            ours.close()
            theirs.recv(1)  # till it has been looked at
        finally:
            os._exit(0)
    number = theirs.fileno()
    theirs.close()
    try:
        with ours:
            if not ours.recv(1):
                return False
            descriptor = _descriptor_of(pid, number)
            os.close(descriptor)
            os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        os.waitpid(pid, 0)
    return True
