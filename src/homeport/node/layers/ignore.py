"""``.dockerignore``: which files of a context are left out. Pure.

The rules are those of Docker's documentation ("Dockerignore files"): lines as for Go's ``filepath.Match``, ``**`` for
any number of directories, ``!`` for exceptions, and the last line that matches decides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable


def read(text: str) -> list[str]:
    """The lines that say something."""
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


class Ignore:
    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for line in lines:
            exception = line.startswith("!")
            pattern = posixpath.normpath(line[1:].strip() if exception else line).lstrip("/")
            if pattern not in ("", "."):
                self._rules.append((not exception, re.compile(expression(pattern))))

    @property
    def brings_back(self) -> bool:
        """Whether something in a directory that is left out may be wanted after all."""
        return any(not out for out, _ in self._rules)

    def leaves_out(self, path: str) -> bool:
        """`path` is relative to the context, without a slash at either end."""
        if not self._rules:
            return False
        parts = path.split("/")
        # A rule for a directory holds for all that is in it.
        prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        result = False
        for out, pattern in self._rules:
            if any(pattern.fullmatch(prefix) for prefix in prefixes):
                result = out
        return result


def expression(pattern: str) -> str:
    """A pattern as a regular expression for a whole path."""
    result, index = "", 0
    while index < len(pattern):
        character = pattern[index]
        if pattern.startswith("**/", index):
            result += "(?:.*/)?"
            index += 3
            continue
        if pattern.startswith("**", index):
            result += ".*"
            index += 2
            continue
        if character == "*":
            result += "[^/]*"
        elif character == "?":
            result += "[^/]"
        elif character == "[" and (end := pattern.find("]", index + 2)) > 0:
            inside = pattern[index + 1 : end].replace("\\", "\\\\")
            result += f"[{'^' + inside[1:] if inside.startswith('^') else inside}]"
            index = end
        elif character == "\\" and index + 1 < len(pattern):
            index += 1
            result += re.escape(pattern[index])
        else:
            result += re.escape(character)
        index += 1
    return result
