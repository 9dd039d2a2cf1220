"""``jsonpatch.escapeKey('a/b')``: a key as a part of a JSON pointer (Kubernetes 1.32, mutating admission policies)."""

from __future__ import annotations

from homeport.kube.cel.functions import Library

LIBRARY = Library()


@LIBRARY.function("jsonpatch.escapeKey(string): string", cost=lambda text: len(text) // 10)
def _escape_key(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")
