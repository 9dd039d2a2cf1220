"""What ``python SCRIPT``, ``python -m MODULE`` and ``python -c CODE`` do after their start, done by an interpreter that
has been started before: the same modules, paths, arguments and tracebacks, and nothing random that another one has too.
"""

from __future__ import annotations

import builtins
import ctypes
import mmap
import os
import runpy
import struct
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import BuiltinImporter, SourceFileLoader
from types import ModuleType, TracebackType
from typing import Any

_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_OWN = "homeport"


def run(argv: list[str], options: int) -> None:
    """Run the program of a command line whose first `options` arguments are the interpreter's own. Ends as the
    interpreter would: returns, or raises SystemExit."""
    rest = argv[1 + options :]
    sys.orig_argv[:] = argv
    main = _fresh_main()
    _forget_own()
    renew()
    if rest[0] == "-m":
        sys.argv[:] = ["-m", *rest[2:]]
        sys.path[0] = os.getcwd()
        _finish(lambda: runpy._run_module_as_main(rest[1]), 2)  # type: ignore[attr-defined]
    elif rest[0] == "-c":
        sys.argv[:] = ["-c", *rest[2:]]
        sys.path[0] = ""
        _finish(lambda: exec(compile(rest[1] + "\n", "<string>", "exec"), main.__dict__), 2)
    else:
        sys.argv[:] = rest
        _run_script(rest[0], main)


def _run_script(path: str, main: ModuleType) -> None:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        print(f"{sys.orig_argv[0]}: can't open file {path!r}: {_reason(error)}", file=sys.stderr)
        sys.exit(2)
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    main.__file__ = path
    main.__dict__["__cached__"] = None
    main.__loader__ = SourceFileLoader("__main__", path)
    _finish(lambda: exec(compile(source, path, "exec"), main.__dict__), 2)


def _reason(error: OSError) -> str:
    return f"[Errno {error.errno}] {error.strerror}"


def _finish(program: Callable[[], object], frames: int) -> None:
    """Run it, and tell of what it does not catch as the interpreter does: without the `frames` of this module."""
    try:
        program()
    except SystemExit:
        raise
    except BaseException as error:
        trace: TracebackType | None = error.__traceback__
        for _ in range(frames):
            trace = trace.tb_next if trace is not None else None
        error.__traceback__ = trace
        sys.excepthook(type(error), error, trace)
        if isinstance(error, KeyboardInterrupt):
            _end_by_interrupt()
        sys.exit(1)


def _end_by_interrupt() -> None:
    """An interpreter that nobody kept from it ends by the signal; as process 1, which no default handler ends, with
    the code that stands for it."""
    import signal

    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    sys.exit(128 + signal.SIGINT)


def _fresh_main() -> ModuleType:
    """``__main__`` as a program finds it. The module itself stays: other modules may have it."""
    main = sys.modules["__main__"]
    annotated = "__annotations__" in main.__dict__  # depends on the version
    main.__dict__.clear()
    main.__dict__.update(
        __name__="__main__",
        __doc__=None,
        __package__=None,
        __loader__=BuiltinImporter,
        __spec__=None,
        __builtins__=builtins,
    )
    if annotated:
        main.__annotations__ = {}
    return main


def _forget_own() -> None:
    for name in [name for name in sys.modules if name == _OWN or name.startswith(f"{_OWN}.")]:
        del sys.modules[name]
    sys.path[:] = [path for path in sys.path if not path.startswith("/run/homeport-warm")]
    for path in [path for path in sys.path_importer_cache if path.startswith("/run/homeport-warm")]:
        del sys.path_importer_cache[path]


def renew() -> None:
    """Make anew what no two processes may have in common. Hashes of texts are the interpreter's for good."""
    modules = sys.modules
    if "random" in modules:
        modules["random"].seed()
    if (numpy := modules.get("numpy.random")) is not None:
        numpy.seed()
    if (torch := modules.get("torch")) is not None:
        # Those of accelerators come with the first use of one.
        torch.default_generator.seed()
    if (tempfile := modules.get("tempfile")) is not None:
        # It goes by the pid, which is 1 here and there.
        tempfile.__dict__["_name_sequence"] = None
    if (process := modules.get("multiprocessing.process")) is not None:
        current: Any = process.current_process()
        current._config["authkey"] = process.AuthenticationString(os.urandom(32))
    if (uuid := modules.get("uuid")) is not None:
        uuid.__dict__["_last_timestamp"] = None


def show_arguments(argv: list[str], env: Mapping[str, str]) -> None:
    """Have /proc show these in place of what the interpreter was started with, where the kernel allows that."""
    shown = b"".join(os.fsencode(text) + b"\0" for text in argv)
    variables = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in env.items())
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    # Numbered from 1 as in proc_pid_stat(5); what is left begins with the third.
    start_code, end_code, start_stack = (int(fields[number - 3]) for number in range(26, 29))
    start_data, end_data, start_brk = (int(fields[number - 3]) for number in range(45, 48))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sbrk.restype = ctypes.c_void_p
    # Private: the kernel shows no other memory here.
    page = mmap.mmap(-1, len(shown) + len(variables) or 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page.write(shown + variables)
    place = ctypes.addressof(ctypes.c_char.from_buffer(page))
    _KEPT.append(page)
    layout = struct.pack(
        "=11QQII",
        start_code,
        end_code,
        start_data,
        end_data,
        start_brk,
        libc.sbrk(0),
        start_stack,
        place,
        place + len(shown),
        place + len(shown),
        place + len(shown) + len(variables),
        0,
        0,
        0xFFFFFFFF,
    )
    # Refused by kernels that are built without checkpoint and restore: then the old ones are shown.
    libc.prctl(_PR_SET_MM, ctypes.c_ulong(_PR_SET_MM_MAP), layout, ctypes.c_ulong(len(layout)), ctypes.c_ulong(0))


_KEPT: list[object] = []
"""Memory that the kernel reads from."""
