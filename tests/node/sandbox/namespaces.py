"""Runs a function in a network namespace of its own, as root and as an ordinary user."""

from __future__ import annotations

import codecs
import os
import subprocess
import traceback
from collections.abc import Callable

import pytest

from homeport.node.sandbox import idmap, linux

USER = 54321
_MISSING = 77


def run(function: Callable[[], None], *, as_user: bool) -> None:
    """Calls `function` in a child process, which is root of a new network namespace with a loopback that is up. Fails
    with what it raises; skips where the machine refuses namespaces or nftables."""
    for codec in ("ascii", "idna"):
        codecs.lookup(codec)  # the user may be unable to read the interpreter's files
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        code, text = 1, ""
        try:
            try:
                if as_user and os.geteuid() == 0:
                    os.setgroups([])
                    os.setresgid(USER, USER, USER)
                    os.setresuid(USER, USER, USER)
                    linux.set_dumpable()
                if os.geteuid() != 0:
                    idmap.enter(lambda: False)
                linux.unshare(linux.CLONE_NEWNET)
                subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            except OSError as error:
                code, text = _MISSING, str(error)
            else:
                function()
                code = 0
        except BaseException:
            text = traceback.format_exc()
        finally:
            os.write(send, text.encode()[:60_000])
            os._exit(code)
    os.close(send)
    with os.fdopen(receive, "rb") as file:
        text = file.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == _MISSING:
        pytest.skip(f"this machine has no network namespaces: {text}")
    assert code == 0, text
