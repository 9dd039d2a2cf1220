"""The webhooks of the stored configurations, ready for use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from homeport.apiserver.admission.attributes import Attributes
from homeport.apiserver.admission.matching import Matcher
from homeport.apiserver.admission.review import VERSIONS
from homeport.apiserver.resources import Registry, Served
from homeport.apiserver.webhooks import endpoint
from homeport.apiserver.webhooks.endpoint import Endpoint
from homeport.kube.errors import ApiError
from homeport.kube.meta import Object
from homeport.store.protocol import Record, Store

log = logging.getLogger(__name__)


class Matching(Protocol):
    """What has rules: a webhook or a policy."""

    @property
    def matcher(self) -> Matcher: ...


T = TypeVar("T", bound=Matching)


class Hook(msgspec.Struct, frozen=True, eq=False):
    """One webhook of a configuration."""

    configuration: str
    name: str
    endpoint: Endpoint | None
    problem: str
    """Why there is no endpoint."""
    matcher: Matcher
    ignores_failure: bool
    dry_runs: bool
    """Whether it may be asked in a dry run."""
    timeout: float
    reinvoked: bool
    review: str
    """The version of AdmissionReview that it gets; empty if it understands none of this server's."""
    conditions: tuple[str, ...]
    """Expressions that have to be true."""


def hooks(configuration: Object) -> tuple[Hook, ...]:
    """The webhooks of a Mutating- or ValidatingWebhookConfiguration. Raises ApiError for a malformed selector."""
    name = configuration["metadata"]["name"]
    return tuple(_hook(name, webhook) for webhook in configuration.get("webhooks") or ())


def _hook(configuration: str, webhook: Mapping[str, Any]) -> Hook:
    problem = ""
    try:
        where = endpoint.parse(webhook.get("clientConfig") or {})
    except ValueError as error:
        where, problem = None, str(error)
    understood = webhook.get("admissionReviewVersions") or ()
    seconds = webhook.get("timeoutSeconds")
    return Hook(
        configuration,
        str(webhook.get("name") or ""),
        where,
        problem,
        Matcher.of(webhook),
        webhook.get("failurePolicy") == "Ignore",
        webhook.get("sideEffects") in ("None", "NoneOnDryRun"),
        float(seconds if isinstance(seconds, int) and 1 <= seconds <= 30 else 10),
        webhook.get("reinvocationPolicy") == "IfNeeded",
        next((version for version in understood if version in VERSIONS), ""),
        tuple(str(each.get("expression")) for each in webhook.get("matchConditions") or ()),
    )


class Asked(NamedTuple, Generic[T]):
    """Something whose rules are about a request, and the version of the resource that it is asked in."""

    what: T
    served: Served


class Configurations(Generic[T]):
    """What the stored objects of one kind say, in the order of their names. Kept in step by `follow`."""

    def __init__(self, parse: Callable[[Object], tuple[T, ...]], registry: Registry) -> None:
        """`parse` says what one object has; it raises ApiError."""
        self._parse = parse
        self._registry = registry
        self._parts: dict[str, tuple[int, tuple[T, ...]]] = {}
        self._all: tuple[T, ...] = ()
        self._found: dict[tuple[str, Served, str, bool], tuple[Asked[T], ...]] = {}
        self._by_name = False
        self._generation = -1

    def load(self, store: Store, resource: str) -> None:
        """Take over what is stored."""
        for record in store.scan(resource)[0]:
            self.follow(record, deleted=False)

    def follow(self, record: Record, *, deleted: bool) -> None:
        """An object was written or removed."""
        name = record.key.name
        known = self._parts.get(name)
        if known is not None and known[0] > record.revision:
            return
        parts: tuple[T, ...] = ()
        if not deleted:
            try:
                parts = self._parse(msgspec.json.decode(record.value))
            except ApiError as error:
                # Validation keeps such objects out; one from an older release must not keep the server from starting.
                log.error("%s %s is left out: %s", record.key.resource, name, error.message)
        if deleted:
            self._parts.pop(name, None)
        else:
            self._parts[name] = (record.revision, parts)
        self._all = tuple(part for key in sorted(self._parts) for part in self._parts[key][1])
        self._by_name = any(part.matcher.by_name for part in self._all)
        self._found.clear()

    def __bool__(self) -> bool:
        return bool(self._all)

    def about(self, attributes: Attributes) -> tuple[Asked[T], ...]:
        """All whose rules are about the request; selectors have not been looked at."""
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._found.clear()
        if self._by_name:
            return self._look(attributes)
        key = (attributes.operation, attributes.served, attributes.subresource, bool(attributes.namespace))
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._look(attributes)
        return found

    def _look(self, attributes: Attributes) -> tuple[Asked[T], ...]:
        matched = ((part, part.matcher.version(attributes, self._registry)) for part in self._all)
        return tuple(Asked(part, served) for part, served in matched if served is not None)
