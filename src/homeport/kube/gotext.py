"""JSON values as Go prints them, for errors and events that show one."""

from __future__ import annotations

from typing import Any

from homeport.kube.field import quote

_TYPES: dict[type, str] = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}


def plain(value: Any) -> str:
    """As ``%+v`` has it: ``map[spec:map[replicas:3]]``."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{plain(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(plain, value))}]"
    return "<nil>" if value is None else value if isinstance(value, str) else quote(value)


def type_of(value: Any) -> str:
    """As ``%T`` has it."""
    return _TYPES.get(type(value), "<nil>")


def label_selector(selector: dict[str, Any] | None) -> str:
    """A ``*metav1.LabelSelector`` as ``%v`` has it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    listed = "".join(_requirement(one) for one in selector.get("matchExpressions") or ())
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{listed}}},}}"
    )


def _requirement(one: dict[str, Any]) -> str:
    values = " ".join(one.get("values") or ())
    return f"LabelSelectorRequirement{{Key:{one['key']},Operator:{one['operator']},Values:[{values}],}},"
