"""Small files of JSON that are replaced as a whole: whoever reads one sees the old content or the new.

Not written through to the disk: they are about processes, and those do not outlive a crash of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os

SUFFIX = ".new"
"""Of a file that is being written, or that a killed writer has left."""


def write(path: str, value: object) -> None:
    """Raises OSError and leaves the old file alone. One writer at a time."""
    temporary = f"{path}{SUFFIX}"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
