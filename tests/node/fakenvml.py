"""A driver's library as :mod:`homeport.node.nvml` calls it, without a driver."""

from __future__ import annotations

from typing import Any

OK, UNINITIALIZED, LOST = 0, 1, 15
_ERRORS = {UNINITIALIZED: b"Uninitialized", LOST: b"GPU is lost"}


class FakeNvml:
    """`count` GPUs, whose device files are ``/dev/nvidia<minor>`` in reverse order, as happens. `lost` don't answer."""

    def __init__(self, count: int, *, lost: tuple[int, ...] = (), broken: bool = False) -> None:
        self.count = count
        self.lost = lost
        self.broken = broken
        self.is_open = False

    def nvmlInit_v2(self) -> int:
        self.is_open = not self.broken
        return LOST if self.broken else OK

    def nvmlShutdown(self) -> int:
        self.is_open = False
        return OK

    def nvmlErrorString(self, code: int) -> bytes:
        return _ERRORS[code]

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        if not self.is_open:
            return UNINITIALIZED
        count.contents.value = self.count
        return OK

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        if index.value in self.lost:
            return LOST
        handle.contents.value = 0x1000 + index.value
        return OK

    def nvmlDeviceGetMinorNumber(self, handle: Any, minor: Any) -> int:
        minor.contents.value = self.count - 1 - (handle.value - 0x1000)
        return OK

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory.contents.total = 80 << 30
        return OK

    def nvmlDeviceGetUUID(self, handle: Any, buffer: Any, length: Any) -> int:
        buffer.value = f"GPU-{handle.value - 0x1000}"[: length.value - 1].encode()
        return OK

    def nvmlDeviceGetName(self, handle: Any, buffer: Any, length: Any) -> int:
        buffer.value = b"NVIDIA Test 80GB"
        return OK
