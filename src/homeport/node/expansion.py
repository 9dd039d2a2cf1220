"""``$(NAME)`` in a container's command, arguments and environment, as the kubelet expands it."""

from __future__ import annotations

from collections.abc import Mapping


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace each ``$(NAME)`` that `values` knows; an unknown one stays as it is, and ``$$`` stands for one ``$``.

    The rules are those of Kubernetes' expansion library: no nesting, a ``$`` before anything else stays.
    """
    if "$" not in text:
        return text
    parts: list[str] = []
    position = 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0 or dollar + 1 == len(text):
            parts.append(text[position:])
            return "".join(parts)
        parts.append(text[position:dollar])
        follower = text[dollar + 1]
        if follower == "$":
            parts.append("$")
            position = dollar + 2
            continue
        close = text.find(")", dollar + 2) if follower == "(" else -1
        if close < 0:
            parts.append(text[dollar : dollar + 2])
            position = dollar + 2
            continue
        name = text[dollar + 2 : close]
        parts.append(values.get(name, text[dollar : close + 1]))
        position = close + 1
