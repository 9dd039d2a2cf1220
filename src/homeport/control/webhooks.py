"""The hooks of components (:class:`homeport.kube.admission.Hook`) as webhooks, for a cluster with another API server.

`configurations` says to that server which objects each hook is about; `Answering` answers its questions, and is served
by whatever serves HTTPS in the process with the controllers. Homeport's own server asks hooks itself.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from homeport.clock import utc_now
from homeport.control.informer import Informers
from homeport.kube import meta
from homeport.kube.admission import Hook, Operation, Refusal, World
from homeport.kube.kind import Kind, Resource
from homeport.kube.meta import Object
from homeport.kube.patch import difference
from homeport.kube.wire import NOT_JSON, Request, Response

_log = logging.getLogger(__name__)
_GROUP = "admissionregistration.k8s.io/v1"
_REVIEW = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
Verb = Literal["mutate", "validate"]


def path(verb: Verb, hook: Hook) -> str:
    """Where `Answering` takes the questions about a hook."""
    return f"/{verb}/{hook.name}"


def configurations(hooks: Sequence[Hook], title: str, client_config: Callable[[str], Object]) -> tuple[Object, Object]:
    """The MutatingWebhookConfiguration and the ValidatingWebhookConfiguration of that name. `client_config` says how a
    path of the webhooks' server is reached (``url`` or ``service``, and ``caBundle``)."""
    mutating = [_webhook("mutate", hook, client_config) for hook in hooks if hook.mutate is not None]
    validating = [_webhook("validate", hook, client_config) for hook in hooks if hook.validate or hook.remove]
    return _configuration("Mutating", title, mutating), _configuration("Validating", title, validating)


def _configuration(sort: str, title: str, webhooks: list[Object]) -> Object:
    kind = f"{sort}WebhookConfiguration"
    return {"apiVersion": _GROUP, "kind": kind, "metadata": {"name": title}, "webhooks": webhooks}


def _webhook(verb: Verb, hook: Hook, client_config: Callable[[str], Object]) -> Object:
    resource = hook.resource
    rule = {
        "operations": [one for one in hook.operations if _has_say(hook, verb, one)],
        "apiGroups": [resource.group],
        "apiVersions": [resource.version],
        "resources": [resource.plural],
        "scope": "Namespaced" if resource.namespaced else "Cluster",
    }
    return {
        "name": hook.name,
        "clientConfig": client_config(path(verb, hook)),
        "rules": [rule],
        "objectSelector": hook.selector or {},
        "namespaceSelector": hook.namespaces or {},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }


def _has_say(hook: Hook, verb: Verb, operation: Operation) -> bool:
    if verb == "mutate":
        return operation != "DELETE"
    return (hook.remove if operation == "DELETE" else hook.validate) is not None


def of_kinds(kinds: Iterable[Kind]) -> tuple[Hook, ...]:
    """The rules of kinds that are no built-in ones, for a server that has only their definitions. Homeport's own goes
    by the kinds themselves."""
    return tuple(_of_kind(kind) for kind in kinds if kind.has_own_rules and not kind.builtin)


def _of_kind(kind: Kind) -> Hook:
    def mutate(obj: Object, world: World) -> Object:
        return kind.prepare(obj, world.get(kind.resource, meta.namespace(obj), meta.name(obj)))

    def validate(new: Object, old: Object | None, world: World) -> None:
        errors = [str(error) for error in kind.validate(new, old)]
        if errors:
            raise Refusal(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")

    return Hook(
        name=f"{kind.singular or kind.kind.lower()}.{kind.resource.version}.{kind.resource.group}",
        resource=kind.resource,
        operations=("CREATE", "UPDATE"),
        mutate=mutate,
        validate=validate,
        reads=(kind.resource,),
    )


class CachedWorld:
    """What informers have seen, of what `hooks` read."""

    def __init__(self, informers: Informers, hooks: Sequence[Hook], now: Callable[[], datetime] = utc_now) -> None:
        self.now = now
        self._caches = {resource: informers.get(resource).cache for hook in hooks for resource in hook.reads}
        self._within = {resource: cache.index(_place) for resource, cache in self._caches.items()}

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self._caches[resource].get(namespace, name)

    def find(self, resource: Resource, namespace: str, prefix: str = "") -> Iterator[Object]:
        present = self._within[resource].get(namespace)
        yield from sorted((obj for obj in present if meta.name(obj).startswith(prefix)), key=meta.name)


def _place(obj: Object) -> tuple[str]:
    return (meta.namespace(obj),)


class Answering:
    """Answers AdmissionReviews: ``await answering.handle(request)`` (:data:`homeport.kube.wire.Handler`)."""

    def __init__(self, hooks: Sequence[Hook], world: World) -> None:
        self._hooks: dict[str, tuple[Verb, Hook]] = {}
        self._world = world
        for hook in hooks:
            if hook.mutate is not None:
                self._hooks[path("mutate", hook)] = ("mutate", hook)
            if hook.validate is not None or hook.remove is not None:
                self._hooks[path("validate", hook)] = ("validate", hook)

    async def handle(self, request: Request) -> Response:
        """An answer to every question that is one; 404, 405 or 400 to everything else."""
        found = self._hooks.get(request.path)
        if found is None:
            return _plain(404, "no such webhook")
        if request.method != "POST":
            return _plain(405, "an AdmissionReview is sent by POST")
        try:
            review = msgspec.json.decode(request.body)
        except NOT_JSON as error:
            return _plain(400, f"the body is not JSON: {error}")
        asked = review.get("request") if isinstance(review, dict) else None
        if not isinstance(asked, dict) or not isinstance(asked.get(_about(asked)), dict):
            return _plain(400, "the body is no AdmissionReview with an object")
        answer = {**_REVIEW, "response": self._answer(*found, asked)}
        return Response(200, {"content-type": "application/json"}, msgspec.json.encode(answer))

    def _answer(self, verb: Verb, hook: Hook, asked: dict[str, Any]) -> Object:
        verdict: Object = {"uid": asked.get("uid", ""), "allowed": True}
        key = _about(asked)
        obj = _with_namespace(asked[key], asked.get("namespace"))
        try:
            if verb == "validate":
                warnings: list[str] = []
                if key == "oldObject" and hook.remove is not None:
                    warnings += hook.remove(obj, self._world) or ()
                elif key == "object" and hook.validate is not None:
                    warnings += hook.validate(obj, asked.get("oldObject"), self._world) or ()
                if warnings:
                    verdict["warnings"] = warnings
            elif hook.mutate is not None and key == "object":
                operations = difference(asked["object"], hook.mutate(obj, self._world))
                if operations:
                    verdict["patchType"] = "JSONPatch"
                    verdict["patch"] = b64encode(msgspec.json.encode(operations)).decode()
        except Refusal as refusal:
            status = {"code": 403, "reason": "Forbidden", "message": str(refusal)}
            return {**verdict, "allowed": False, "status": status}
        except Exception as error:
            _log.exception("%s failed on %s %s", hook.name, hook.resource.kind, meta.name(obj))
            status = {"code": 500, "message": f"{type(error).__name__}: {error}"}
            return {**verdict, "allowed": False, "status": status}
        return verdict


def _about(asked: dict[str, Any]) -> str:
    """Which of a request's two objects is judged: what is deleted has no new state."""
    return "oldObject" if asked.get("operation") == "DELETE" else "object"


def _with_namespace(obj: Object, namespace: str | None) -> Object:
    """A new object may leave out where it is going to be."""
    metadata = obj.get("metadata")
    if not namespace or not isinstance(metadata, dict) or metadata.get("namespace"):
        return obj
    return {**obj, "metadata": {**metadata, "namespace": namespace}}


def _plain(status: int, text: str) -> Response:
    return Response(status, {"content-type": "text/plain; charset=utf-8"}, f"{text}\n".encode())
