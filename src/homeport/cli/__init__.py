"""The ``homeport`` command: one module per verb.

Each verb module has ``add_parser(subparsers)`` and ``main(args) -> int``. Modules are imported when their verb is asked
for, so that ``homeport status`` does not pay for what ``homeport up`` needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from homeport import __version__
from homeport.kube.errors import ApiError, HomeportError

VERBS: dict[str, str] = {
    "up": "start the platform",
    "down": "stop the platform and its pods",
    "status": "say what runs",
    "kubeconfig": "print how kubectl reaches the platform",
    "run": "run a Python program or manifests, follow the logs, exit with the job's result",
    "logs": "show the logs of a job's replicas together",
    "history": "say what a job has been through",
    "why": "say why a job waits for its pods to be placed",
    "queue": "list, make, open and close queues",
    "jobs": "list, run, suspend and resume Volcano jobs",
    "demo": "train TensorFlow on four replicas, from nothing",
    "images": "list images, build, load, export or remove them",
    "build": "build an image from a Dockerfile",
    "controllers": "run training controllers against any cluster",
    "scheduler": "run the gang scheduler on any cluster, or replay what it has decided",
    "backup": "save all objects in one file",
    "restore": "put the objects of a backup back",
    "doctor": "say what this machine can and can't do, and why",
}

PASSES_ON = ("run", "jobs")
"""Verbs that give what comes after ``--`` to a program: ``args.passed_on``."""
MIXES = ("scheduler",)
"""Verbs with a positional argument that may be left out after another: options may stand between the two."""
_MODULES = {"jobs": "vcjobs"}
"""Where verbs are that are not in a module of their name."""

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line: some verbs have more flags than fit on a screen."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser(verb: str | None) -> Parser:
    parser = Parser(
        prog="homeport",
        description="Kubeflow on this machine: Kubernetes API server, node and Kubeflow's controllers in one process.",
        epilog="homeport VERB --help says more about one verb.",
    )
    parser.add_argument("--version", action="version", version=f"homeport {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        if name == verb:
            _module(name).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    return parser


def _mixed(verb: str, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """What `arguments` of a verb say with options between positional arguments, which argparse can't read at once: it
    gives all of them their values when it meets the first."""
    subparsers = Parser(prog="homeport").add_subparsers()
    _module(verb).add_parser(subparsers)
    args, unknown = subparsers.choices[verb].parse_known_intermixed_args(arguments)
    args.verb = verb
    return args, unknown


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"homeport.cli.{_MODULES.get(verb, verb)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status. Errors that are the user's to solve end in one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in arguments if not word.startswith("-")), None)
    parser = _parser(verb if verb in VERBS else None)
    passed_on: list[str] = []
    if verb in PASSES_ON and "--" in arguments:
        at = arguments.index("--")
        arguments, passed_on = arguments[:at], arguments[at + 1 :]
    args, unknown = parser.parse_known_args(arguments)
    if unknown and args.verb in MIXES:
        args, unknown = _mixed(args.verb, arguments[arguments.index(args.verb) + 1 :])
    args.passed_on = passed_on
    if unknown:
        parser.prog = f"homeport {args.verb}"
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        code: int = _module(args.verb).main(args)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`homeport status | head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except ApiError as error:
        print(f"homeport: the API server refused ({error.reason}): {error.message}", file=sys.stderr)
        return EXIT_FAILURE
    except HomeportError as error:
        print(f"homeport: {error}", file=sys.stderr)
        return EXIT_FAILURE
    return code
