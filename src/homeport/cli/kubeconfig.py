"""``homeport kubeconfig``: how kubectl and every other client reach the platform."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from homeport.cli import options
from homeport.kube.errors import Permanent


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "kubeconfig",
        help="print how kubectl reaches the platform",
        description="Print the platform's kubeconfig. It holds an administrator's credentials: keep it to yourself.",
    )
    options.add_data_dir(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--path", action="store_true", help="print the file's path instead of its content")
    group.add_argument(
        "--merge",
        nargs="?",
        const="~/.kube/config",
        metavar="FILE",
        help="add the platform to FILE (default ~/.kube/config) and make it the current context",
    )


def main(args: argparse.Namespace) -> int:
    directory = options.data_dir(args)
    if not directory.kubeconfig.exists():
        raise Permanent(f"no platform has been started on {directory.path} yet: start one with `homeport up`")
    if args.path:
        print(directory.kubeconfig)
    elif args.merge:
        from homeport.client import kubeconfig

        target = Path(args.merge).expanduser()
        mine = kubeconfig.read(directory.kubeconfig)
        others = kubeconfig.read(target) if target.exists() else {}
        kubeconfig.write(target, kubeconfig.merge(others, mine))
        print(f"{target}: the current context is now {mine['current-context']}", file=sys.stderr)
    else:
        sys.stdout.write(directory.kubeconfig.read_text())
    return 0
