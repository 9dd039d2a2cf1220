"""Which NVIDIA GPUs the machine has, as the driver's own library (NVML) tells.

The library comes with the driver; nothing has to be installed. It is asked once, at the node's start, and let go again:
as long as it is open it keeps every GPU awake.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

_log = logging.getLogger(__name__)
_NAMES = ("libnvidia-ml.so.1", "/usr/local/nvidia/lib64/libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1")
"""Where the library is: with the others, or where clouds and WSL put the driver."""
_TEXT_BYTES = 96
Library: TypeAlias = Any
"""A loaded library, or what has functions of the same names that take the same arguments."""


@dataclass(frozen=True, slots=True)
class Gpu:
    uuid: str
    minor: int
    """The number of its device file, ``/dev/nvidia<minor>``."""
    name: str
    """The product, such as ``NVIDIA H200``."""
    memory: int
    """Bytes."""

    @property
    def path(self) -> str:
        return f"/dev/nvidia{self.minor}"


class NvmlError(Exception):
    """The driver refused; the text says what."""


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def load() -> Library | None:
    """The driver's library; None on a machine without."""
    for name in _NAMES:
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(name)
            library.nvmlErrorString.restype = ctypes.c_char_p
            return library
    return None


def discover(find: Callable[[], Library | None] = load) -> tuple[Gpu, ...]:
    """All GPUs, in the driver's order. One that can't be asked is left out, with a line in the log; raises NvmlError if
    the driver itself doesn't answer."""
    library = find()
    if library is None:
        return ()
    with _opened(library):
        count = ctypes.c_uint()
        _call(library, "nvmlDeviceGetCount_v2", ctypes.pointer(count))
        found = []
        for index in range(count.value):
            try:
                found.append(_describe(library, index))
            except NvmlError as error:
                _log.warning("GPU %d is left out: %s", index, error)
        return tuple(found)


@contextlib.contextmanager
def _opened(library: Library) -> Iterator[None]:
    _call(library, "nvmlInit_v2")
    try:
        yield
    finally:
        with contextlib.suppress(NvmlError):
            _call(library, "nvmlShutdown")


def _describe(library: Library, index: int) -> Gpu:
    handle = ctypes.c_void_p()
    _call(library, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.pointer(handle))
    minor, memory = ctypes.c_uint(), _Memory()
    _call(library, "nvmlDeviceGetMinorNumber", handle, ctypes.pointer(minor))
    _call(library, "nvmlDeviceGetMemoryInfo", handle, ctypes.pointer(memory))
    return Gpu(
        uuid=_text(library, "nvmlDeviceGetUUID", handle),
        minor=minor.value,
        name=_text(library, "nvmlDeviceGetName", handle),
        memory=memory.total,
    )


def _text(library: Library, function: str, handle: ctypes.c_void_p) -> str:
    buffer = ctypes.create_string_buffer(_TEXT_BYTES)
    _call(library, function, handle, buffer, ctypes.c_uint(_TEXT_BYTES))
    return buffer.value.decode(errors="replace")


def _call(library: Library, function: str, *arguments: Any) -> None:
    """Raises NvmlError."""
    try:
        code = getattr(library, function)(*arguments)
    except AttributeError:
        raise NvmlError(f"the driver is too old: its library has no {function}") from None
    if code:
        raise NvmlError(f"{function}: {_words(library, code)}")


def _words(library: Library, code: int) -> str:
    try:
        return bytes(library.nvmlErrorString(code)).decode(errors="replace")
    except (AttributeError, TypeError):
        return f"error {code}"
