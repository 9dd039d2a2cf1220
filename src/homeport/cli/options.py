"""Options that several verbs share."""

from __future__ import annotations

import argparse

from homeport.datadir import DataDir, default_path


def add_data_dir(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """``argparse.SUPPRESS`` as the default leaves what an outer parser has found."""
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        default=default,
        help=f"where the platform keeps its state (default: $HOMEPORT_DATA_DIR or {default_path()})",
    )


def data_dir(args: argparse.Namespace) -> DataDir:
    return DataDir.at(args.data_dir)


def port(text: str) -> int:
    """A type of arguments: a port, or 0 for any free one."""
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)
