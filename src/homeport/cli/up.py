"""``homeport up``: start the platform, in the foreground or (``-d``) in the background."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from homeport.cli import options, serving
from homeport.datadir import DataDir, Taken
from homeport.kube.errors import HomeportError, Permanent
from homeport.settings import DEFAULTS, ApiSettings

Report: TypeAlias = Callable[[Literal["line", "ready", "error"], str], None]


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "up",
        help="start the platform",
        description="Start the platform and stay in the foreground until Ctrl-C. Pods outlive it: a later "
        "`homeport up` picks them up again, `homeport down` ends them.",
    )
    options.add_data_dir(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="run in the background; return once it is ready")
    parser.add_argument(
        "--port", type=_port, metavar="N", help="serve the API on this port (default: 6443 or a free one)"
    )
    serving.add_arguments(parser)
    parser.add_argument("--report-fd", type=int, help=argparse.SUPPRESS)


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def main(args: argparse.Namespace) -> int:
    directory = options.data_dir(args)
    settings = serving.settings_of(args)
    if args.detach:
        return start_detached(directory, port=args.port, settings=settings, show=print)
    if args.report_fd is None:
        return _serve(directory, args.port, settings, _to_terminal)
    with os.fdopen(args.report_fd, "w", buffering=1) as pipe:

        def to_parent(kind: Literal["line", "ready", "error"], text: str) -> None:
            # The parent may have been interrupted; the platform goes on without it.
            with contextlib.suppress(BrokenPipeError, ValueError):
                print(json.dumps([kind, text]), file=pipe)
                if kind != "line":
                    pipe.close()

        return _serve(directory, args.port, settings, to_parent)


def start_detached(
    directory: DataDir, *, show: Callable[[str], None], port: int | None = None, settings: ApiSettings = DEFAULTS
) -> int:
    """Start a platform in the background. 0 once it is ready; 1, with the reason on stderr, if it can't start."""
    directory.create()
    if directory.is_running():
        raise Taken(directory.path, directory.endpoint())
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "homeport", "up", "--data-dir", str(directory.path), "--report-fd", str(writer)]
    if port is not None:
        command += ["--port", str(port)]
    command += serving.arguments(settings)
    try:
        with directory.log.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writer,), start_new_session=True
            )
    except OSError as error:
        os.close(reader)
        raise Permanent(f"{directory.log} can't be written: {error.strerror}") from error
    finally:
        os.close(writer)
    with os.fdopen(reader) as pipe:
        for line in pipe:
            kind, text = json.loads(line)
            if kind == "error":
                print(f"homeport: {text}", file=sys.stderr)
                return process.wait() or 1
            show(text)
            if kind == "ready":
                return 0
    code = process.wait()
    print(
        f"homeport: the platform ended (exit status {code}) before it was ready; see {directory.log}", file=sys.stderr
    )
    return code or 1


def _to_terminal(kind: Literal["line", "ready", "error"], text: str) -> None:
    print(
        f"homeport: {text}" if kind == "error" else text, file=sys.stderr if kind == "error" else sys.stdout, flush=True
    )


def _serve(directory: DataDir, port: int | None, settings: ApiSettings, report: Report) -> int:
    begin = time.monotonic()
    try:
        # The platform is most of what there is to import: only this verb pays for it.
        from homeport.platform import running

        running.log_to(directory)
        return running.run(directory, port=port, settings=settings, report=report, begin=begin)
    except HomeportError as error:
        report("error", str(error))
        return 1
    except OSError as error:
        # A part met a full or broken disk while it started.
        place = error.filename or directory.path
        report("error", f"{place}: {(error.strerror or str(error)).lower()}. Make room, or choose another --data-dir.")
        return 1
