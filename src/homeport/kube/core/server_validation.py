"""Rules of certificate requests, flow control and API services.

Upstream: ``pkg/apis/certificates/validation``, ``pkg/apis/flowcontrol/validation`` and kube-aggregator's validation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

from homeport.kube import der, field, meta, names
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_IMMUTABLE = "field is immutable"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_MIN_SECONDS = 600
_DECISIONS = ("Approved", "Denied")
_MAX_SIGNER = 571
_LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
_VERBS = frozenset({"get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy"})
_PATH_VERBS = frozenset({"get", "head", "post", "put", "delete", "patch", "options"})
_EXEMPT, _CATCH_ALL = "exempt", "catch-all"


def validate_request(new: Object, old: Object | None) -> Iterator[FieldError]:
    """A certificate request; once made, only its conditions and certificate change."""
    spec = meta.spec(new)
    if old is None:
        yield from _pkcs10("spec.request", spec.get("request") or "")
        if not spec.get("usages"):
            yield field.required("spec.usages")
        usages = spec.get("usages") or ()
        for index, usage in enumerate(usages):
            if usage in usages[:index]:
                yield field.duplicate(f"spec.usages[{index}]", usage)
        yield from _signer("spec.signerName", spec.get("signerName") or "")
        seconds = spec.get("expirationSeconds")
        if seconds is not None and seconds < _MIN_SECONDS:
            words = f"may not specify a duration less than {_MIN_SECONDS} seconds (10 minutes)"
            yield field.invalid("spec.expirationSeconds", seconds, words)
    elif meta.spec(old) != spec:
        yield field.invalid("spec", "", _IMMUTABLE)
    yield from _conditions(new, old)
    certificate, before = meta.status(new).get("certificate"), meta.status(old or {}).get("certificate")
    if certificate != before and certificate:
        if before:
            yield field.forbidden("status.certificate", "updates may not modify certificate content")
        elif _CERTIFICATE not in _decoded(certificate):
            words = "must contain at least one CERTIFICATE PEM block"
            yield field.invalid("status.certificate", "<certificate data>", words)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _pkcs10(path: str, text: str) -> Iterator[FieldError]:
    found = _decoded(text)
    if not found:
        yield field.required(path)
        return
    try:
        der.parse_request(der.unwrap(found, "CERTIFICATE REQUEST"))
    except der.BadCertificate as error:
        yield field.invalid(path, text, str(error))


def _signer(path: str, name: str) -> Iterator[FieldError]:
    """``example.com/name``."""
    if not name:
        yield field.required(path)
        return
    domain, slash, rest = name.partition("/")
    if not slash or not domain or not rest or "/" in rest:
        yield field.invalid(
            path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        )
        return
    yield from rules.checked(path, domain, names.dns1123_subdomain)
    for step in rest.split("."):
        for message in names.dns1123_subdomain(step):
            yield field.invalid(path, rest, f'validating label "{step}": {message}')
    if "." not in domain:
        yield field.invalid(path, domain, "should be a domain with at least two segments separated by dots")
    if name == _LEGACY_SIGNER:
        yield field.invalid(path, name, "the legacy signerName is not allowed via this API version")
    if len(name) > _MAX_SIGNER:
        yield field.too_long(path, _MAX_SIGNER)


def _conditions(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Approved and Denied exclude each other, are never taken back, and are always True."""
    found = meta.status(new).get("conditions") or ()
    seen: set[str] = set()
    for index, condition in enumerate(found):
        kind, state = condition.get("type") or "", condition.get("status")
        at = f"status.conditions[{index}]"
        if not kind:
            yield field.required(f"{at}.type")
        if kind in (*_DECISIONS, "Failed") and state != "True":
            yield field.not_supported(f"{at}.status", state, ("True",))
        elif state not in ("True", "False", "Unknown"):
            yield field.not_supported(f"{at}.status", state, ("True", "False", "Unknown"))
        if kind in _DECISIONS and seen & (set(_DECISIONS) - {kind}):
            other = "Denied" if kind == "Approved" else "Approved"
            yield field.invalid(f"{at}.type", kind, f"{other} and {kind} conditions are mutually exclusive")
        if kind in seen:
            yield field.duplicate(f"{at}.type", kind)
        seen.add(kind)
    for condition in meta.status(old or {}).get("conditions") or ():
        if condition.get("type") in (*_DECISIONS, "Failed") and condition.get("type") not in seen:
            words = f'updates may not remove a condition of type "{condition["type"]}"'
            yield field.forbidden("status.conditions", words)


# -- flow control


def validate_schema(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    precedence = spec.get("matchingPrecedence", 1000)
    if not 1 <= precedence <= 10000:
        words = "must be a value between 1 and 10000" if precedence > 0 else "must be a positive value"
        yield field.invalid("spec.matchingPrecedence", precedence, words)
    elif precedence == 1 and meta.name(new) != _EXEMPT:
        words = "only the schema named 'exempt' may have matchingPrecedence 1"
        yield field.invalid("spec.matchingPrecedence", precedence, words)
    level = (spec.get("priorityLevelConfiguration") or {}).get("name") or ""
    yield from rules.needed("spec.priorityLevelConfiguration.name", level, names.dns1123_subdomain)
    for index, rule in enumerate(spec.get("rules") or ()):
        yield from _flow_rule(f"spec.rules[{index}]", rule)


def _flow_rule(path: str, rule: Object) -> Iterator[FieldError]:
    subjects = rule.get("subjects") or ()
    if not subjects:
        yield field.required(f"{path}.subjects", "subjects must contain at least one value")
    for index, subject in enumerate(subjects):
        yield from _subject(f"{path}.subjects[{index}]", subject)
    resources, paths = rule.get("resourceRules") or (), rule.get("nonResourceRules") or ()
    if not resources and not paths:
        yield field.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for index, item in enumerate(resources):
        at = f"{path}.resourceRules[{index}]"
        yield from _verbs(f"{at}.verbs", item.get("verbs") or (), _VERBS)
        for name, what in (("apiGroups", "api groups"), ("resources", "resources")):
            yield from _wildcard(
                f"{at}.{name}", item.get(name) or (), f"resource rules must supply at least one {what[:-1]}"
            )
        if not item.get("namespaces") and not item.get("clusterScope"):
            words = "resource rules that are not cluster scoped must supply at least one namespace"
            yield field.required(f"{at}.namespaces", words)
        for place, namespace in enumerate(item.get("namespaces") or ()):
            if namespace != "*":
                yield from rules.checked(f"{at}.namespaces[{place}]", namespace, names.dns1123_label)
    for index, item in enumerate(paths):
        at = f"{path}.nonResourceRules[{index}]"
        yield from _verbs(f"{at}.verbs", item.get("verbs") or (), _PATH_VERBS)
        urls = item.get("nonResourceURLs") or ()
        if not urls:
            yield field.required(f"{at}.nonResourceURLs", "nonResourceURLs must contain at least one value")
        for place, url in enumerate(urls):
            if url != "*" and not url.startswith("/"):
                yield field.invalid(f"{at}.nonResourceURLs[{place}]", url, "must start with slash")


def _verbs(path: str, verbs: Sequence[str], known: frozenset[str]) -> Iterator[FieldError]:
    if not verbs:
        yield field.required(path, "verbs must contain at least one value")
    elif "*" in verbs:
        if len(verbs) > 1:
            yield field.invalid(path, list(verbs), "if '*' is present, must not specify other verbs")
    elif not set(verbs) <= known:
        yield field.not_supported(path, list(verbs), sorted(known))


def _wildcard(path: str, values: Sequence[str], words: str) -> Iterator[FieldError]:
    if not values:
        yield field.required(path, words)
    elif len(values) > 1 and "*" in values:
        yield field.invalid(path, list(values), "if '*' is present, must not specify other values")


def _subject(path: str, subject: Object) -> Iterator[FieldError]:
    parts = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}
    kind = subject.get("kind")
    if kind not in parts:
        yield field.not_supported(f"{path}.kind", kind, sorted(parts))
        return
    for other, name in parts.items():
        if other != kind and subject.get(name) is not None:
            words = f"{name} is forbidden when subject kind is not '{other}'"
            yield field.forbidden(f"{path}.{name}", words)
    part = subject.get(parts[kind])
    if part is None:
        yield field.required(f"{path}.{parts[kind]}", f"{parts[kind]} is required when subject kind is '{kind}'")
        return
    yield from rules.needed(f"{path}.{parts[kind]}.name", part.get("name"))
    if kind == "ServiceAccount":
        yield from rules.needed(f"{path}.serviceAccount.namespace", part.get("namespace"), names.dns1123_label)


def validate_level(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec, name = meta.spec(new), meta.name(new)
    kind = spec.get("type")
    if name == _EXEMPT and kind != "Exempt":
        yield field.invalid("spec.type", kind, "must be 'Exempt' if the name is 'exempt'")
    if name != _EXEMPT and kind == "Exempt":
        yield field.invalid("spec.type", kind, "must be 'Limited' if the name is not 'exempt'")
    limited = spec.get("limited")
    if kind == "Exempt" and limited is not None:
        yield field.forbidden("spec.limited", "must be nil if the type is not Limited")
    if kind == "Limited":
        if spec.get("exempt") is not None:
            yield field.forbidden("spec.exempt", "must be nil if the type is Limited")
        if limited is None:
            yield field.required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from _limited("spec.limited", limited)


def _limited(path: str, found: Object) -> Iterator[FieldError]:
    yield from rules.not_negative(f"{path}.nominalConcurrencyShares", found.get("nominalConcurrencyShares"))
    lendable, borrowing = found.get("lendablePercent"), found.get("borrowingLimitPercent")
    if lendable is not None and not 0 <= lendable <= 100:
        yield field.invalid(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive")
    if borrowing is not None and borrowing < 0:
        yield field.invalid(f"{path}.borrowingLimitPercent", borrowing, "if specified, must be a non-negative integer")
    response = found.get("limitResponse") or {}
    kind, queuing = response.get("type"), response.get("queuing")
    at = f"{path}.limitResponse"
    if not kind:
        yield field.required(f"{at}.type")
    elif kind == "Reject" and queuing is not None:
        yield field.forbidden(f"{at}.queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif kind == "Queue" and queuing is None:
        yield field.required(f"{at}.queuing", "must not be empty if limited.limitResponse.type is Limited")
    elif kind == "Queue" and queuing is not None:
        queues, hand, length = (queuing.get(name, 0) for name in ("queues", "handSize", "queueLengthLimit"))
        for name, value in (("queues", queues), ("handSize", hand), ("queueLengthLimit", length)):
            if value <= 0:
                yield field.invalid(f"{at}.queuing.{name}", value, "must be positive")
        if hand > queues > 0:
            words = f"should not be greater than queues ({queues})"
            yield field.invalid(f"{at}.queuing.handSize", hand, words)


# -- API services


def validate_api_service(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    group, version = spec.get("group") or "", spec.get("version") or ""
    wanted = f"{version}.{group}"
    if meta.name(new) != wanted:
        yield field.invalid("metadata.name", meta.name(new), f'must be `spec.version+"."+spec.group`: "{wanted}"')
    if group:
        yield from rules.checked("spec.group", group, names.dns1123_subdomain)
    yield from rules.needed("spec.version", version, names.dns1035_label)
    for name, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(name, 0)
        if not 0 < value <= most:
            yield field.invalid(f"spec.{name}", value, f"must be positive and less than {most}")
    service = spec.get("service")
    if service is None:
        if spec.get("caBundle"):
            yield field.invalid("spec.caBundle", "<omitted>", "local APIServices may not have a caBundle")
        if spec.get("insecureSkipTLSVerify"):
            yield field.invalid(
                "spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify"
            )
        return
    for name in ("namespace", "name"):
        if not service.get(name):
            yield field.required(f"spec.service.{name}")
    yield from rules.port("spec.service.port", service.get("port", 443))
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        words = "may not be true if caBundle is present"
        yield field.invalid("spec.insecureSkipTLSVerify", True, words)
