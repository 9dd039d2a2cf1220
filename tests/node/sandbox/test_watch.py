"""How a container's memory is counted where no cgroup does it."""

from __future__ import annotations

import os

from homeport.node.sandbox import watch
from homeport.node.sandbox.loop import Loop

MIB = 1 << 20


def test_what_is_shared_counts_once() -> None:
    block = bytearray(os.urandom(1) * (32 * MIB))
    pids = []
    wait, go = os.pipe()
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(wait, 1)
            os._exit(0)
        pids.append(pid)
    try:
        own = os.getpid()
        assert {int(path.rpartition("/")[2]) for path in watch.family(own)} >= {own, *pids}
        whole, once = watch.memory_of(own, 1 << 50), watch.memory_of(own, 0)
        assert once > len(block)
        assert whole - once > 2 * len(block)
    finally:
        os.close(wait)
        os.close(go)
        for pid in pids:
            os.waitpid(pid, 0)


def test_a_process_that_has_ended_has_no_memory() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    assert watch.memory_of(pid, 0) == 0


def test_the_end_comes_once() -> None:
    loop = Loop()
    heard: list[str] = []

    def exceeded() -> None:
        heard.append("too much")
        loop.after(0.3, stop)

    def stop() -> None:
        loop.is_running = False

    modest = watch.Watch(loop, os.getpid(), 1 << 50, lambda: heard.append("never"))
    watch.Watch(loop, os.getpid(), 1, exceeded)
    loop.run()
    modest.cancel()
    loop.close()
    assert heard == ["too much"]
