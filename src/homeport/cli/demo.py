"""``homeport demo``: the first example, from nothing to a trained network."""

from __future__ import annotations

import argparse
import time
from typing import Any

from homeport import examples
from homeport.cli import manifests, options, run
from homeport.cli.terminal import BOLD, DIM, GREEN, Terminal, duration

_RESULT = "test accuracy "


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="train TensorFlow on four replicas, from nothing",
        description="Run the first example: a TFJob with one parameter server and three workers that learns "
        "handwritten digits. Starts a platform if none runs, and stops it again. The first time TensorFlow is "
        "downloaded (about 600 MB); after that training starts within seconds.",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the platform running if this command had to start it"
    )
    parser.add_argument("--timeout", type=run.seconds, metavar="TIME", help="stop following after TIME (90, 5m, 2h)")
    options.add_data_dir(parser)


def main(args: argparse.Namespace) -> int:
    begin = time.monotonic()
    terminal = Terminal()
    example = examples.directory() / examples.FIRST
    terminal.note(f"Running {example}", DIM)
    order = run.Order(manifests.read([str(example)]), None, timeout=args.timeout, again="homeport demo")
    result = run.on_this_machine(order, options.data_dir(args), terminal, keep=args.keep)
    accuracy = next((line[len(_RESULT) :] for line in result.lines.values() if line.startswith(_RESULT)), "")
    if result.code == 0:
        learned = f"It reads handwritten digits now: test accuracy {accuracy}" if accuracy else "It has been trained"
        terminal.print()
        terminal.print(terminal.paint(learned, BOLD, GREEN))
        terminal.note(f"{duration(time.monotonic() - begin)} in all. Next: homeport up, then kubectl apply -f …", DIM)
    return result.code
