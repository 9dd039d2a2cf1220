"""``homeport demo``: the first example, from nothing to a trained network."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import homeport
from homeport.cli import manifests, options, run
from homeport.cli.terminal import BOLD, DIM, GREEN, Terminal, duration
from homeport.kube.errors import Permanent

EXAMPLE = "01-tfjob.yaml"
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
    example = examples() / EXAMPLE
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


def examples() -> Path:
    """The directory of the examples: of the checkout that this runs from, else of the installed package."""
    package = Path(homeport.__file__).parent
    for place in (package.parents[1] / "examples", package / "_examples"):
        if (place / EXAMPLE).is_file():
            return place
    raise Permanent(f"the examples are missing: neither in {package / '_examples'} nor in a checkout. Install again.")
