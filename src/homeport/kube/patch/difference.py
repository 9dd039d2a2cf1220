"""What a JSON patch has to say to make one object of another."""

from __future__ import annotations

from typing import Any

from homeport.kube.meta import Object
from homeport.kube.patch.json_patch import equal


def difference(old: Object, new: Object) -> list[dict[str, Any]]:
    """RFC 6902 operations that turn `old` into `new`. Lists that differ are replaced whole."""
    operations: list[dict[str, Any]] = []
    _compare(old, new, "", operations)
    return operations


def _compare(old: Object, new: Object, path: str, operations: list[dict[str, Any]]) -> None:
    for key, value in old.items():
        at = f"{path}/{_escaped(key)}"
        if key not in new:
            operations.append({"op": "remove", "path": at})
        elif isinstance(value, dict) and isinstance(new[key], dict):
            _compare(value, new[key], at, operations)
        elif not equal(value, new[key]):
            operations.append({"op": "replace", "path": at, "value": new[key]})
    for key, value in new.items():
        if key not in old:
            operations.append({"op": "add", "path": f"{path}/{_escaped(key)}", "value": value})


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
