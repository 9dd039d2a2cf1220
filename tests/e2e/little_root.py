"""A root file system of its own for tests of images: a shell, a few programs, and what they are linked with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("sh", "cat", "ls", "mkdir", "rm", "id", "env", "chmod", "sleep", "ln", "touch", "stat", "chown", "mv")


def make(directory: Path, programs: tuple[str, ...] = PROGRAMS) -> Path:
    """Put them below the directory, which is made."""
    (directory / "bin").mkdir(parents=True)
    for name in programs:
        found = shutil.which(name, path="/usr/bin:/bin")
        assert found is not None, name
        shutil.copy(os.path.realpath(found), directory / "bin" / name)
        for library in _libraries(found):
            target = directory / library.lstrip("/")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(os.path.realpath(library), target)
    (directory / "etc").mkdir()
    (directory / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\nlone:x:1002:1002::/:/bin/sh\n"
    )
    (directory / "etc" / "group").write_text("root:x:0:\napp:x:1001:\nextra:x:1005:app,lone\n")
    (directory / "tmp").mkdir()
    (directory / "tmp").chmod(0o1777)
    return directory


def _libraries(program: str) -> list[str]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", said)
