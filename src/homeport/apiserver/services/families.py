"""Which IP families a service has, where the cluster has one (upstream: ``initIPFamilyFields``). Pure."""

from __future__ import annotations

from typing import Any

from homeport.kube import field
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_CONFIGURED = "IPv4"
_POLICY = "spec.ipFamilyPolicy"


def family_of(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def with_families(spec: Object, before: Object | None) -> tuple[Object, list[FieldError]]:
    """`spec` of a service that has cluster IPs or none on purpose, with its IP families and their policy; and what is
    wrong with them. `before` is the spec that it replaces."""
    if before is not None and _is_unchanged_preference(spec, before):
        return spec, []
    policy = spec.get("ipFamilyPolicy") or _policy(spec, before)
    addresses, families = list(spec.get("clusterIPs") or ()), list(spec.get("ipFamilies") or ())
    errors: list[FieldError] = []
    if before is not None:
        addresses, families = _reduced(policy, addresses, families, before, errors)
    if policy == "SingleStack":
        if len(addresses) == 2:
            words = "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"
            errors.append(field.invalid(_POLICY, policy, words))
        if len(families) == 2:
            words = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
            errors.append(field.invalid(_POLICY, policy, words))
    for index, address in enumerate(addresses):
        if address == "None":
            break
        if index >= len(families):
            family = family_of(address)
            if family != _CONFIGURED:
                words = f"{family} is not configured on this cluster"
                errors.append(field.invalid(f"spec.clusterIPs[{index}]", addresses, words))
            else:
                families.append(family)
    if not errors:
        errors += _settle(spec, policy, families)
    changes: dict[str, Any] = {"ipFamilyPolicy": policy, "ipFamilies": families}
    if addresses:
        changes["clusterIPs"] = addresses
    if all(spec.get(key) == value for key, value in changes.items()):
        return spec, errors
    return {**spec, **changes}, errors


def _settle(spec: Object, policy: str, families: list[str]) -> list[FieldError]:
    """Complete `families` in place."""
    if spec.get("clusterIP") == "None" and not spec.get("selector"):
        # Whoever writes the endpoints of such a service may know addresses of families that the cluster lacks.
        if not families:
            families.append(_CONFIGURED)
        if len(families) < 2 and policy != "SingleStack":
            families.append("IPv6" if families[0] == "IPv4" else "IPv4")
        return []
    errors = []
    if policy == "RequireDualStack":
        words = "this cluster is not configured for dual-stack services"
        errors.append(field.invalid(_POLICY, policy, words))
    for index, family in enumerate(families):
        if family != _CONFIGURED:
            errors.append(field.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    if not errors and not families:
        families.append(_CONFIGURED)
    return errors


def _policy(spec: Object, before: Object | None) -> str:
    if before is not None and before.get("ipFamilyPolicy"):
        return str(before["ipFamilyPolicy"])
    return "RequireDualStack" if spec.get("clusterIP") == "None" and not spec.get("selector") else "SingleStack"


def _reduced(
    policy: str, addresses: list[str], families: list[str], before: Object, errors: list[FieldError]
) -> tuple[list[str], list[str]]:
    old_addresses, old_families = before.get("clusterIPs") or [], before.get("ipFamilies") or []
    if policy == "SingleStack":
        # What is the same as before was not asked for anew, and the policy was.
        return (
            addresses[:1] if addresses == old_addresses else addresses,
            families[:1] if families == old_families else families,
        )
    if addresses and len(addresses) < len(old_addresses):
        words = "must be 'SingleStack' to release the secondary cluster IP"
        errors.append(field.invalid(_POLICY, policy, words))
    if families and len(families) < len(old_families):
        words = "must be 'SingleStack' to release the secondary IP family"
        errors.append(field.invalid(_POLICY, policy, words))
    return addresses, families


def _is_unchanged_preference(spec: Object, before: Object) -> bool:
    """A preference for two families stays with what there was when it was made."""
    return (
        spec.get("ipFamilyPolicy") == "PreferDualStack"
        and before.get("ipFamilyPolicy") in (None, "PreferDualStack")
        and spec.get("type") == before.get("type") != "ExternalName"
        and (spec.get("clusterIPs") or []) == (before.get("clusterIPs") or [])
        and (spec.get("ipFamilies") or []) == (before.get("ipFamilies") or [])
    )
