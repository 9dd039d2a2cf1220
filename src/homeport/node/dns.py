"""The names that the cluster's DNS answers: services and pods. Pure, and kept up to date piece by piece.

The names are those of the Kubernetes DNS specification. While services have no addresses of their own, every service is
answered like a headless one: with the addresses of its pods.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.environment import DOMAIN, hostname


class PodFacts(msgspec.Struct, frozen=True):
    """What matters to DNS about a pod that has an address and has not ended."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    address: str
    ready: bool
    hostname: str = ""
    """Only if the pod asks for a name below a service."""
    subdomain: str = ""


class ServiceFacts(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    selector: tuple[tuple[str, str], ...]
    publish_not_ready: bool
    address: str = ""
    """Of a service that has no selector and an address of its own, as the API server's has."""


def pod_facts(pod: Object, address: str, ready: bool) -> PodFacts:
    subdomain = str(meta.spec(pod).get("subdomain") or "")
    return PodFacts(
        namespace=meta.namespace(pod),
        labels=tuple(sorted(meta.labels(pod).items())),
        address=address,
        ready=ready and not meta.is_deleting(pod),
        hostname=hostname(pod, "") if subdomain and meta.spec(pod).get("hostname") else "",
        subdomain=subdomain,
    )


def service_facts(service: Object) -> ServiceFacts | None:
    """None for a service whose addresses do not follow from its pods."""
    spec = meta.spec(service)
    selector = spec.get("selector") or {}
    address = str(spec.get("clusterIP") or "")
    if spec.get("type") == "ExternalName" or (not selector and address in ("", "None")):
        return None
    return ServiceFacts(
        namespace=meta.namespace(service),
        name=meta.name(service),
        selector=tuple(sorted(selector.items())),
        publish_not_ready=bool(spec.get("publishNotReadyAddresses")),
        address="" if selector else address,
    )


_Label = tuple[str, str, str]
"""Namespace, key, value."""


class _Service(msgspec.Struct):
    facts: ServiceFacts
    indexed: _Label
    pods: set[str] = msgspec.field(default_factory=set)
    names: set[str] = msgspec.field(default_factory=set)


class Records:
    """Names and their addresses. Each change touches only the services that it concerns."""

    def __init__(self) -> None:
        self._pods: dict[str, PodFacts] = {}
        self._by_label: dict[_Label, set[str]] = {}
        """Uids of the pods that carry a label."""
        self._services: dict[tuple[str, str], _Service] = {}
        self._watching: dict[_Label, set[tuple[str, str]]] = {}
        """Services by the one label of their selectors under which they are filed."""
        self._records: dict[str, tuple[str, ...]] = {}
        self._fixed: set[tuple[str, str]] = set()
        """Services that are answered with an address of their own."""
        self._revision = 0

    def snapshot(self) -> Mapping[str, tuple[str, ...]]:
        """Full name, without the final dot -> addresses."""
        return dict(self._records)

    def _put(self, name: str, addresses: tuple[str, ...]) -> None:
        if self._records.get(name) != addresses:
            self._records[name] = addresses
            self._revision += 1

    def _drop(self, name: str) -> None:
        if self._records.pop(name, None) is not None:
            self._revision += 1

    def set_pod(self, uid: str, facts: PodFacts | None) -> bool:
        """Note what is known of a pod; None: it has ended, or has no address yet. Says whether any answer changed."""
        old = self._pods.get(uid)
        if old == facts:
            return False
        concerned: set[tuple[str, str]] = set()
        before = self._revision
        if old is not None:
            del self._pods[uid]
            for label in _labels(old):
                self._by_label[label].discard(uid)
                if not self._by_label[label]:
                    del self._by_label[label]
                concerned |= self._watching.get(label, set())
            if facts is None or facts.address != old.address or facts.namespace != old.namespace:
                self._drop(_pod_name(old))
        if facts is not None:
            self._pods[uid] = facts
            for label in _labels(facts):
                self._by_label.setdefault(label, set()).add(uid)
                concerned |= self._watching.get(label, set())
            self._put(_pod_name(facts), (facts.address,))
        for key in concerned:
            service = self._services[key]
            if facts is not None and set(service.facts.selector) <= set(facts.labels):
                service.pods.add(uid)
            elif uid in service.pods:
                service.pods.discard(uid)
            else:
                continue
            self._answer(service)
        return self._revision != before

    def set_service(self, namespace: str, name: str, facts: ServiceFacts | None) -> bool:
        """Note what is known of a service; None: it is gone. Says whether any answer changed."""
        key, first = (namespace, name), self._revision
        fixed = facts.address if facts is not None else ""
        if fixed:
            self._set_selecting(key, None)
            self._fixed.add(key)
            self._put(_service_name(namespace, name), (fixed,))
        else:
            if key in self._fixed:
                self._fixed.discard(key)
                self._drop(_service_name(namespace, name))
            self._set_selecting(key, facts)
        return self._revision != first

    def _set_selecting(self, key: tuple[str, str], facts: ServiceFacts | None) -> None:
        """Note a service that is answered with its pods' addresses."""
        namespace = key[0]
        old = self._services.pop(key, None)
        if old is not None and old.facts == facts:
            self._services[key] = old
            return
        if old is not None:
            self._watching[old.indexed].discard(key)
            if not self._watching[old.indexed]:
                del self._watching[old.indexed]
        if facts is None:
            for record in old.names if old is not None else ():
                self._drop(record)
        else:
            labels = [(namespace, *pair) for pair in facts.selector]
            # Filed under its rarest label: a change of a pod then looks at few services.
            service = _Service(facts, min(labels, key=lambda label: len(self._watching.get(label, ()))))
            # What it answered so far goes or stays by comparison, so that an answer that stays is no change.
            service.names = old.names if old is not None else set()
            self._services[key] = service
            self._watching.setdefault(service.indexed, set()).add(key)
            candidates = min((self._by_label.get(label, set()) for label in labels), key=len)
            wanted = set(facts.selector)
            service.pods = {uid for uid in candidates if wanted <= set(self._pods[uid].labels)}
            self._answer(service)

    def _answer(self, service: _Service) -> None:
        facts = service.facts
        base = _service_name(facts.namespace, facts.name)
        answers: dict[str, list[str]] = {}
        for uid in service.pods:
            pod = self._pods[uid]
            if not pod.ready and not facts.publish_not_ready:
                continue
            answers.setdefault(base, []).append(pod.address)
            if pod.hostname and pod.subdomain == facts.name:
                answers.setdefault(f"{pod.hostname}.{base}", []).append(pod.address)
        for name in service.names - answers.keys():
            self._drop(name)
        for name, addresses in answers.items():
            self._put(name, tuple(sorted(addresses)))
        service.names = set(answers)


def _labels(facts: PodFacts) -> list[_Label]:
    return [(facts.namespace, key, value) for key, value in facts.labels]


def _service_name(namespace: str, name: str) -> str:
    return f"{name}.{namespace}.svc.{DOMAIN}"


def _pod_name(facts: PodFacts) -> str:
    return f"{facts.address.replace('.', '-').replace(':', '-')}.{facts.namespace}.pod.{DOMAIN}"
