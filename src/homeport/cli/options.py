"""Options that several verbs share."""

from __future__ import annotations

import argparse

from homeport.datadir import DataDir, default_path


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help=f"where the platform keeps its state (default: $HOMEPORT_DATA_DIR or {default_path()})",
    )


def data_dir(args: argparse.Namespace) -> DataDir:
    return DataDir.at(args.data_dir)
