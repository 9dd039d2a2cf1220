"""Rules of webhooks that take part in admission (upstream: ``admissionregistration/validation``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from homeport.kube import field, names
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

REVIEW_VERSIONS = ("v1", "v1beta1")
"""Versions of AdmissionReview of which a webhook has to understand one."""
_NO_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_MAX_CONDITIONS = 64
_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?[^?#]*(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
"""Scheme, authority, query and fragment (RFC 3986, appendix B)."""
_URL_FORM = "; desired format: https://host[/path]"


def validate_webhooks(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Of a ValidatingWebhookConfiguration or a MutatingWebhookConfiguration.

    What an older server let through may stay: where the stored object already breaks the rule about side effects or
    versions, an update may, too.
    """
    before = (old or {}).get("webhooks") or ()
    strict_effects = all(hook.get("sideEffects") in _NO_SIDE_EFFECTS for hook in before)
    strict_versions = all(_is_understood(hook.get("admissionReviewVersions") or ()) for hook in before)
    for index, hook in enumerate(new.get("webhooks") or ()):
        path = f"webhooks[{index}]"
        yield from _name(f"{path}.name", hook.get("name", ""))
        for place, rule in enumerate(hook.get("rules") or ()):
            yield from rule_with_operations(f"{path}.rules[{place}]", rule)
        effects = hook.get("sideEffects")
        if strict_effects and effects not in _NO_SIDE_EFFECTS:
            yield field.not_supported(f"{path}.sideEffects", effects, _NO_SIDE_EFFECTS)
        timeout = hook.get("timeoutSeconds", 10)
        if not 1 <= timeout <= 30:
            words = "the timeout value must be between 1 and 30 seconds"
            yield field.invalid(f"{path}.timeoutSeconds", timeout, words)
        yield from rules.label_selector(f"{path}.namespaceSelector", hook.get("namespaceSelector"))
        yield from rules.label_selector(f"{path}.objectSelector", hook.get("objectSelector"))
        yield from client_config(f"{path}.clientConfig", hook.get("clientConfig") or {})
        yield from match_conditions(f"{path}.matchConditions", hook.get("matchConditions") or ())
        yield from _versions(
            f"{path}.admissionReviewVersions", hook.get("admissionReviewVersions") or (), strict_versions
        )
    yield from rules.distinct("webhooks", new.get("webhooks") or ())


def _name(path: str, name: str) -> Iterator[FieldError]:
    """Upstream: ``IsFullyQualifiedName``."""
    if not name:
        yield field.required(path)
        return
    wrong = names.dns1123_subdomain(name)
    if wrong:
        yield field.invalid(path, name, ",".join(wrong))
    elif name.count(".") < 2:
        yield field.invalid(path, name, "should be a domain with at least three segments separated by dots")


def _is_understood(versions: Sequence[str]) -> bool:
    return any(version in REVIEW_VERSIONS for version in versions)


def _versions(path: str, versions: Sequence[str], strict: bool) -> Iterator[FieldError]:
    if not versions:
        yield field.required(path, f"must specify one of {', '.join(REVIEW_VERSIONS)}")
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield field.invalid(f"{path}[{index}]", version, "duplicate version")
        else:
            yield from rules.checked(f"{path}[{index}]", version, names.dns1035_label)
    if strict and not _is_understood(versions):
        yield field.invalid(path, list(versions), f"must include at least one of {', '.join(REVIEW_VERSIONS)}")


def rule_with_operations(path: str, rule: Object) -> Iterator[FieldError]:
    """A rule of a webhook or of a policy."""
    yield from _wildcard(f"{path}.operations", rule.get("operations") or (), "operations")
    yield from _wildcard(f"{path}.apiGroups", rule.get("apiGroups") or (), "API groups")
    versions = rule.get("apiVersions") or ()
    yield from _wildcard(f"{path}.apiVersions", versions, "API versions")
    for index, version in enumerate(versions):
        if not version:
            yield field.required(f"{path}.apiVersions[{index}]")
    yield from _resources(f"{path}.resources", rule.get("resources") or ())


def _wildcard(path: str, values: Sequence[str], what: str) -> Iterator[FieldError]:
    if not values:
        yield field.required(path)
    elif len(values) > 1 and "*" in values:
        yield field.invalid(path, list(values), f"if '*' is present, must not specify other {what}")


def _resources(path: str, resources: Sequence[str]) -> Iterator[FieldError]:
    """A wildcard must not stand beside what it covers."""
    if not resources:
        yield field.required(path)
    every_subresource: set[str] = set()
    of_every_resource: set[str] = set()
    for index, text in enumerate(resources):
        at = f"{path}[{index}]"
        if not text:
            yield field.required(at)
            continue
        resource, slash, subresource = text.partition("/")
        if not slash:
            continue
        if resource in every_subresource:
            yield field.invalid(at, text, f"if '{resource}/*' is present, must not specify {text}")
        if subresource in of_every_resource:
            yield field.invalid(at, text, f"if '*/{subresource}' is present, must not specify {text}")
        if subresource == "*":
            every_subresource.add(resource)
        if resource == "*":
            of_every_resource.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        yield field.invalid(path, list(resources), "if '*/*' is present, must not specify other resources")
    if "*" in resources and any(text and text != "*" and "/" not in text for text in resources):
        words = "if '*' is present, must not specify other resources without subresources"
        yield field.invalid(path, list(resources), words)


def client_config(path: str, config: Object) -> Iterator[FieldError]:
    """How to reach a webhook (upstream: ``apiserver/pkg/util/webhook/validation.go``)."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        yield field.required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from webhook_url(f"{path}.url", url)
    else:
        yield from webhook_service(f"{path}.service", service)


def webhook_url(path: str, url: str) -> Iterator[FieldError]:
    parts = _URL.fullmatch(url)
    if parts is None:
        yield field.required(path, f"url must be a valid URL{_URL_FORM}")
        return
    scheme, authority, query, fragment = (part or "" for part in parts.groups())
    if scheme.lower() != "https":
        yield field.invalid(path, scheme, "'https' is the only allowed URL scheme" + _URL_FORM)
    user, _, host = authority.rpartition("@")
    if not host:
        yield field.invalid(path, host, "host must be specified" + _URL_FORM)
    if user:
        yield field.invalid(path, user.partition(":")[0], "user information is not permitted in the URL")
    if fragment:
        yield field.invalid(path, fragment, "fragments are not permitted in the URL")
    if query:
        yield field.invalid(path, query, "query parameters are not permitted in the URL")


def webhook_service(path: str, service: Any) -> Iterator[FieldError]:
    if not service.get("name"):
        yield field.required(f"{path}.name", "service name is required")
    if not service.get("namespace"):
        yield field.required(f"{path}.namespace", "service namespace is required")
    port = service.get("port", 443)
    for message in names.port_number(port):
        yield field.invalid(f"{path}.port", port, f"port is not valid: {message}")
    where = service.get("path")
    if where in (None, "", "/"):
        return
    if not where.startswith("/"):
        yield field.invalid(f"{path}.path", where, "must start with a '/'")
        return
    steps = where[1:].removesuffix("/").split("/")
    for index, step in enumerate(steps):
        if not step:
            yield field.invalid(f"{path}.path", where, f"segment[{index}] may not be empty")
        else:
            for message in names.dns1123_subdomain(step):
                yield field.invalid(f"{path}.path", where, f"segment[{index}]: {message}")


def match_conditions(path: str, conditions: Sequence[Object]) -> Iterator[FieldError]:
    """Names and presence; what the expressions mean is the business of who evaluates them."""
    if len(conditions) > _MAX_CONDITIONS:
        yield field.too_many(path, len(conditions), _MAX_CONDITIONS)
    for index, condition in enumerate(conditions):
        at = f"{path}[{index}]"
        if not condition.get("expression", "").strip():
            yield field.required(f"{at}.expression")
        yield from rules.needed(f"{at}.name", condition.get("name"), names.qualified_name)
    yield from rules.distinct(path, conditions)
