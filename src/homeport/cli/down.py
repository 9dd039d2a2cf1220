"""``homeport down``: stop the platform, then its pods."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from typing import Any

from homeport.cli import options
from homeport.datadir import DataDir
from homeport.kube.errors import Permanent

GRACE = 10.0
"""Seconds that pods get to end by themselves."""


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "down",
        help="stop the platform and its pods",
        description="Stop the platform and end its pods. Objects, logs and volumes stay for the next `homeport up`.",
    )
    options.add_data_dir(parser)
    parser.add_argument("--keep-pods", action="store_true", help="leave pods running, for the next `homeport up`")


def main(args: argparse.Namespace) -> int:
    directory = options.data_dir(args)
    if not directory.path.exists():
        print(f"nothing has been started on {directory.path}")
        return 0
    stopped = stop(directory)
    ended = 0 if args.keep_pods else end_pods(directory)
    if not stopped and not ended:
        print(f"nothing runs on {directory.path}")
    else:
        print("stopped" + (f"; ended {ended} pod{'s' if ended != 1 else ''}" if ended else ""))
    return 0


def stop(directory: DataDir) -> bool:
    """Stop the platform that runs on `directory` and wait for its end; False if none runs. Its pods go on."""
    if not directory.is_running():
        return False
    endpoint = directory.endpoint()
    if endpoint is None:
        raise Permanent(f"a platform is just starting on {directory.path}: try again in a moment")
    os.kill(endpoint.pid, signal.SIGTERM)
    directory.wait_until_free()
    return True


def end_pods(directory: DataDir) -> int:
    """End what still runs of the node: pods (politely first) and its helpers. The number of pods ended."""
    from homeport.node import choice, sharedmemory
    from homeport.node.runtime import SandboxError

    async def end() -> int:
        runtime = choice.recorded(directory.node)
        running = sum(sandbox.alive for sandbox in await runtime.adopt())
        if running:
            print(f"ending {running} pod{'s' if running != 1 else ''}, within {GRACE:.0f} s", flush=True)
        await runtime.shut_down(GRACE)
        sharedmemory.forget(directory.node / "pods")
        return running

    lock = directory.lock()
    try:
        return asyncio.run(end())
    except SandboxError as error:
        raise Permanent(f"pods could not be ended: {error}") from error
    finally:
        lock.close()
