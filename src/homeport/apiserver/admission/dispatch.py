"""Asking webhooks: mutating ones in turn, validating ones all at once.

Upstream: ``apiserver/pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import ClassVar

from homeport.apiserver.admission.attributes import Attributes
from homeport.apiserver.admission.chain import Turns
from homeport.apiserver.admission.hooks import Asked, Configurations, Hook, hooks
from homeport.apiserver.admission.matching import GROUP, is_exempt
from homeport.apiserver.admission.metrics import (
    ADMIT,
    CALLING,
    INTERNAL,
    NO_ERROR,
    VALIDATE,
    AdmissionMetrics,
    Step,
)
from homeport.apiserver.admission.objects import redone
from homeport.apiserver.admission.plugin import refusal
from homeport.apiserver.admission.review import MalformedAnswer, Verdict, denial, question, verdict
from homeport.apiserver.context import Api
from homeport.apiserver.encoding import encode
from homeport.apiserver.resources import Served
from homeport.apiserver.uids import new_uid
from homeport.apiserver.versions import converted, object_of
from homeport.apiserver.webhooks.client import CallError, WebhookClient
from homeport.kube.errors import ApiError, BadRequest, InternalError, NotFound, ServiceUnavailable, Timeout
from homeport.kube.meta import Object
from homeport.kube.patch import json_patch
from homeport.store.protocol import Key

log = logging.getLogger(__name__)

MUTATING = f"{GROUP}/mutatingwebhookconfigurations"
VALIDATING = f"{GROUP}/validatingwebhookconfigurations"
TOGETHER_SECONDS = 34.0
"""What all webhooks of a request have together (upstream: ``requestTimeoutUpperBound``)."""


class _FailedCall(Exception):
    """The webhook could not be asked, or did not answer in a way that can be used: its failurePolicy decides."""

    def __init__(self, why: str, code: int = ServiceUnavailable.code) -> None:
        """`code` is the HTTP status that metrics give."""
        super().__init__(why)
        self.code = code


class _Denied(Exception):
    """The webhook does not allow the request."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class Webhooks:
    """The stage of admission that asks webhooks."""

    mutating: ClassVar = "MutatingAdmissionWebhook"
    validating: ClassVar = "ValidatingAdmissionWebhook"

    def __init__(self, api: Api, client: WebhookClient, metrics: AdmissionMetrics) -> None:
        self._api = api
        self._metrics = metrics
        self._client = client
        self._mutating: Configurations[Hook] = Configurations(hooks, api.registry)
        self._validating: Configurations[Hook] = Configurations(hooks, api.registry)
        for resource, configurations in ((MUTATING, self._mutating), (VALIDATING, self._validating)):
            configurations.load(api.store, resource)
            api.followers[resource] = configurations.follow

    def asks(self, step: Step) -> bool:
        return bool(self._mutating if step == ADMIT else self._validating)

    # -- mutating

    async def mutate(self, attributes: Attributes, plugins: Turns) -> None:
        """Ask the mutating webhooks in turn. If one changes the object, the plug-ins see it once more, and then those
        webhooks that wish to (``reinvocationPolicy: IfNeeded``) and saw an earlier state; that is the last round."""
        if not self._mutating or is_exempt(attributes):
            return
        asked = self._mutating.about(attributes)
        if not asked:
            return
        called, again, changed = await self._round(attributes, asked, 0, None)
        if not changed:
            return
        before = attributes.object
        plugins.mutate(attributes)
        if attributes.object != before:
            again = called
        if again:
            await self._round(attributes, asked, 1, again)

    async def _round(
        self, attributes: Attributes, asked: tuple[Asked[Hook], ...], number: int, only: frozenset[Hook] | None
    ) -> tuple[frozenset[Hook], frozenset[Hook], bool]:
        """One turn for each webhook (of `only`): those that may be asked again, those of them that saw an earlier state
        than the last, and whether the object changed."""
        called: set[Hook] = set()
        again: frozenset[Hook] = frozenset()
        changed = False
        for index, (hook, served) in enumerate(asked):
            if (only is not None and hook not in only) or not await self._wants(hook, served, attributes, ADMIT):
                continue
            mutated = False
            try:
                with self._counted(hook, _MUTATING, attributes):
                    mutated = await self._mutate(hook, served, attributes)
            except _FailedCall as error:
                self._failed(hook, _MUTATING, attributes, error, number, index)
            if mutated:
                again = frozenset(called)
                changed = True
            if hook.reinvoked:
                called.add(hook)
            _note(attributes, f"mutation.webhook.{_ADMISSION}", number, index, hook, {"mutated": mutated})
        return frozenset(called), again, changed

    async def _mutate(self, hook: Hook, served: Served, attributes: Attributes) -> bool:
        """Ask one webhook; whether it changed the object. Raises ApiError, _FailedCall."""
        answer = await self._ask(hook, served, attributes, mutating=True)
        if not answer.patch:
            return False
        if attributes.object is None:
            raise _internal(
                f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for this '
                "operation"
            )
        before = await _in_version(attributes, attributes.object, served)
        try:
            patched = json_patch(before, answer.patch)
        except ApiError as error:
            raise _internal(f'admission webhook "{hook.name}" sent a patch that does not apply: {error}') from error
        if patched == before:
            return False
        after = await self._accepted(hook, attributes, before, patched, served)
        changed = after != attributes.object
        attributes.object, attributes.rough = after, True
        return changed

    async def _accepted(
        self, hook: Hook, attributes: Attributes, before: Object, patched: Object, served: Served
    ) -> Object:
        """The patched object, of the request's version again, with defaults. Raises InternalError for what is no object
        of the kind any more."""
        if any(patched.get(key) != before.get(key) for key in ("apiVersion", "kind")):
            raise _internal(f'admission webhook "{hook.name}" changed apiVersion or kind of the object')
        if not isinstance(patched.get("metadata", {}), dict):
            raise _internal(f'admission webhook "{hook.name}" made metadata something else than an object')
        if attributes.has_own_kind:
            return patched
        patched.setdefault("metadata", {})
        back = await converted(patched, served, attributes.served)
        return redone(attributes.served, back, attributes.old)

    async def settle(self, attributes: Attributes) -> None:
        """Webhooks have their second round in `mutate`."""

    # -- validating

    async def validate(self, attributes: Attributes) -> None:
        if not self._validating or is_exempt(attributes):
            return
        asked = self._validating.about(attributes)
        if not asked:
            return
        wanted = [
            (index, hook, served)
            for index, (hook, served) in enumerate(asked)
            if await self._wants(hook, served, attributes, VALIDATE)
        ]
        if not wanted:
            return
        calls = (self._validate(hook, served, attributes, index) for index, hook, served in wanted)
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _validate(self, hook: Hook, served: Served, attributes: Attributes, index: int) -> None:
        try:
            with self._counted(hook, _VALIDATING, attributes):
                await self._ask(hook, served, attributes, mutating=False)
        except _FailedCall as error:
            self._failed(hook, _VALIDATING, attributes, error, 0, index)

    # -- both

    async def _wants(self, hook: Hook, served: Served, attributes: Attributes, step: Step) -> bool:
        """Whether selectors and conditions choose the request. Raises NotFound, Forbidden."""
        if not hook.matcher.selects(attributes, self._namespace(hook, attributes)):
            return False
        if not hook.conditions:
            return True
        from homeport.apiserver.admission import expressions  # CEL is for servers with such webhooks only

        scene = await expressions.scene(self._api, attributes, served)
        try:
            return await expressions.unhurried(
                scene,
                partial(
                    expressions.counted,
                    conditions=expressions.conditions(hook.conditions),
                    metrics=self._metrics,
                    name=hook.name,
                    kind="webhook",
                    step=step,
                    operation=attributes.operation,
                ),
            )
        except expressions.Undecided as error:
            if hook.ignores_failure:
                log.warning("match conditions of webhook %s: %s (failing open)", hook.name, error)
                return False
            raise refusal(attributes, str(error)) from error

    @contextmanager
    def _counted(self, hook: Hook, type: str, attributes: Attributes) -> Iterator[None]:
        """Counts what comes of asking a webhook. Raises ApiError in the place of _Denied."""
        begin, operation = perf_counter(), attributes.operation
        code, rejected = 200, False
        try:
            yield
        except _FailedCall as error:
            code, rejected = error.code, not hook.ignores_failure
            if rejected:
                self._metrics.webhook_refused(hook.name, type, operation, CALLING, code)
            raise
        except _Denied as denied:
            code, rejected = denied.error.to_status()["code"], True
            self._metrics.webhook_refused(hook.name, type, operation, NO_ERROR, code)
            raise denied.error from None
        except ApiError:
            code, rejected = 0, True
            self._metrics.webhook_refused(hook.name, type, operation, INTERNAL, code)
            raise
        finally:
            seconds = perf_counter() - begin
            self._metrics.webhook_asked(hook.name, type, operation, seconds, code, rejected=rejected)

    def _namespace(self, hook: Hook, attributes: Attributes) -> Object | None:
        if hook.matcher.namespaces.everything or not attributes.namespace:
            return None
        found = namespace_object(self._api, attributes.namespace)
        if found is None and attributes.served.key != NAMESPACES:
            raise NotFound.of("", "namespaces", attributes.namespace)
        return found

    async def _ask(self, hook: Hook, served: Served, attributes: Attributes, *, mutating: bool) -> Verdict:
        """The answer of a webhook that allows the request. Raises _Denied if it does not, ApiError, _FailedCall."""
        if attributes.dry_run and not hook.dry_runs:
            raise BadRequest(f'admission webhook "{hook.name}" does not support dry run')
        if hook.endpoint is None:
            raise _FailedCall(f"could not get REST client: {hook.problem}", BadRequest.code)
        if not hook.review:
            words = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
            raise _FailedCall(words, BadRequest.code)
        seconds = min(hook.timeout, _left(attributes))
        uid = new_uid()
        obj, old = [
            None if state is None else await _in_version(attributes, state, served)
            for state in (attributes.object, attributes.old)
        ]
        body = question(attributes, served, uid, hook.review, obj, old)
        try:
            raw = await self._client.post(hook.endpoint, body, seconds)
        except CallError as error:
            raise _FailedCall(f"failed to call webhook: {error}", error.code) from error
        try:
            answer = verdict(raw, uid, hook.review, mutating=mutating)
        except MalformedAnswer as error:
            raise _FailedCall(f"received invalid webhook response: {error}") from error
        for key, value in answer.annotations.items():
            attributes.annotations.setdefault(f"{hook.name}/{key}", value)
        attributes.warnings += answer.warnings
        if not answer.allowed:
            raise _Denied(denial(hook.name, answer.status))
        return answer

    def _failed(
        self, hook: Hook, type: str, attributes: Attributes, error: _FailedCall, number: int, index: int
    ) -> None:
        """Let the request go on if the webhook's failurePolicy says so; raises InternalError if not."""
        message = f'failed calling webhook "{hook.name}": {error}'
        if not hook.ignores_failure:
            log.warning("%s (failing closed)", message)
            raise _internal(message)
        log.warning("%s (failing open)", message)
        self._metrics.webhook_failed_open(hook.name, type)
        kind = "mutation" if type == _MUTATING else "validating"
        annotation = f"failed-open.{kind}.webhook.{_ADMISSION}/round_{number}_index_{index}"
        attributes.annotations.setdefault(annotation, hook.name)


_ADMISSION = "admission.k8s.io"
_MUTATING, _VALIDATING = "admit", "validating"
"""What metrics call the two kinds of webhooks."""
NAMESPACES = "/namespaces"


def namespace_object(api: Api, name: str) -> Object | None:
    """The namespace as it is stored."""
    record = api.store.head(Key(NAMESPACES, "", name))
    served = api.registry.find("", "v1", "namespaces")
    return object_of(served, record) if record is not None and served is not None else None


async def _in_version(attributes: Attributes, obj: Object, served: Served) -> Object:
    """A state of the object in the version that a webhook is asked in; the kind of a subresource is the same in all."""
    if attributes.has_own_kind:
        return obj
    return await converted(obj, attributes.served, served)


def _left(attributes: Attributes) -> float:
    """Seconds that the webhooks of this request still have. Raises Timeout."""
    now = asyncio.get_running_loop().time()
    if not attributes.deadline:
        attributes.deadline = now + TOGETHER_SECONDS
    left = attributes.deadline - now
    if left <= 0:
        raise Timeout("Timeout: request did not complete within requested timeout", retry_after=0)
    return left


def _note(attributes: Attributes, annotation: str, number: int, index: int, hook: Hook, facts: dict[str, bool]) -> None:
    text = encode({"configuration": hook.configuration, "webhook": hook.name, **facts}).decode()
    attributes.annotations.setdefault(f"{annotation}/round_{number}_index_{index}", text)


def _internal(message: str) -> InternalError:
    return InternalError(f"Internal error occurred: {message}", details={"causes": [{"message": message}]})
