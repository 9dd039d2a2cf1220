"""``homeport restore``: the objects of a backup in the place of the present ones, also while the platform runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from homeport.cli import options


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "restore",
        help="put the objects of a backup back",
        description="Put the objects of a backup in the place of the present ones, all at once: what has changed "
        "since is as it was, what was created since is gone. The platform may run or not. The state from before is "
        "kept, as a backup.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="a file that `homeport backup` has written")
    options.add_data_dir(parser)


def main(args: argparse.Namespace) -> int:
    from homeport import backups

    done = backups.put_back(options.data_dir(args), args.file.expanduser().absolute())
    objects = f"{done.objects} object{'s' if done.objects != 1 else ''}"
    print(f"restored {objects}: {done.written} written, {done.removed} removed, the others are as they were")
    if done.kept is not None:
        print(f"The state from before is kept in {done.kept}")
    return 0
