"""Rules of nodes (upstream: ``ValidateNode``)."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube import field, meta, names, quantity
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object


def validate_node(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    seen = set()
    for index, taint in enumerate(spec.get("taints") or ()):
        at = f"spec.taints[{index}]"
        yield from rules.checked(f"{at}.key", taint.get("key", ""), names.qualified_name)
        yield from rules.checked(f"{at}.value", taint.get("value") or "", names.label_value)
        pair = (taint.get("key"), taint.get("effect"))
        if pair in seen:
            yield field.duplicate(at, taint)
        seen.add(pair)
    for kind in ("capacity", "allocatable"):
        for name, amount in (meta.status(new).get(kind) or {}).items():
            if quantity.parse(amount) < 0:
                yield field.invalid(f"status.{kind}[{name}]", amount, rules.NOT_NEGATIVE)
    if old is not None:
        before = meta.spec(old)
        for name in ("podCIDR", "providerID"):
            if before.get(name) and spec.get(name) != before[name]:
                words = "node updates may not change " + name + ' except from "" to valid'
                yield field.forbidden(f"spec.{name}", words)
