"""Which images' directories containers have mounted now, whoever's containers they are: asked of the kernel."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_FORMS = ("lowerdir=", "lowerdir+=")


def mounted() -> Counter[str]:
    """How many containers see a directory through an overlay or a bind mount, by path or, where the mount names it so,
    by its last name alone. Containers of other users can't be seen, and have no images of this one."""
    uses: Counter[str] = Counter()
    seen: set[str] = set()
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        if not name.isdecimal():
            continue
        try:
            namespace = os.readlink(f"/proc/{name}/ns/mnt")
            if namespace in seen:
                continue
            text = Path(f"/proc/{name}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            continue  # it has ended, or is somebody else's
        seen.add(namespace)
        uses.update(set(directories(text)))
    return uses


def directories(mountinfo: str) -> Iterator[str]:
    """What overlays lie over and what is mounted at another place, from the text of /proc/PID/mountinfo."""
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if not dash or len(fields) < 5 or len(types) < 3:
            continue
        if types[0] == "overlay":
            for option in types[2].split(","):
                form = next((form for form in _FORMS if option.startswith(form)), None)
                if form is not None:
                    for path in _unescaped(option.removeprefix(form)).replace("\\:", "\0").split(":"):
                        yield path.replace("\0", ":").replace("\\,", ",").replace("\\\\", "\\")
        elif fields[3] != "/":
            yield _unescaped(fields[3])


def _unescaped(text: str) -> str:
    """Without the octal escapes of proc(5)."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def count(uses: Counter[str], place: Path) -> int:
    """How many containers have something of the directory. Of a layer, mounts tell the last name only."""
    whole, name = str(place), place.name
    return max(
        (n for path, n in uses.items() if f"{path}/".startswith(f"{whole}/") or path.split("/")[0] == name), default=0
    )
