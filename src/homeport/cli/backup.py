"""``homeport backup``: all objects in one file, also while the platform runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from homeport.cli import options


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "backup",
        help="save all objects in one file",
        description="Save all objects, as they are at one moment, in one file. The platform may run or not. The file "
        "has every Secret in it: keep it to yourself.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    options.add_data_dir(parser)


def main(args: argparse.Namespace) -> int:
    from homeport import backups

    made = backups.make(options.data_dir(args), args.file.expanduser().absolute(), replace=args.force)
    objects = f"{made.objects} object{'s' if made.objects != 1 else ''}"
    print(f"{args.file}: {objects}, as of resource version {made.revision}")
    return 0
