"""Overlays of directories, as the kernel wants to be asked for them."""

from __future__ import annotations

import os


def escape(path: str) -> str:
    """As overlay's options want it: colons part layers, commas part options."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def joined(layers: list[str]) -> str:
    """As the option ``lowerdir``, the topmost first; what is below the working directory by its relative path."""
    here = f"{os.getcwd()}/"
    return ":".join(escape(path.removeprefix(here)) for path in layers)
