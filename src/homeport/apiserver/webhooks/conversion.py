"""Conversion of custom resources by a webhook (``spec.conversion.strategy: Webhook``).

One call converts a whole list. What was converted lately is remembered by its revision, so that a hundred watchers of
one version cost one call an event, and calls for the same object at the same time become one. Upstream:
``apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go``.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from homeport.apiserver.encoding import encode
from homeport.apiserver.uids import new_uid
from homeport.apiserver.webhooks import endpoint
from homeport.apiserver.webhooks.client import CallError, WebhookClient
from homeport.apiserver.webhooks.conversion_metrics import CALL, INVALID, MALFORMED, PARTIAL, ConversionMetrics
from homeport.apiserver.webhooks.endpoint import Endpoint
from homeport.kube.errors import InternalError
from homeport.kube.meta import Object
from homeport.kube.wire import NOT_JSON
from homeport.store.encode import labels_of
from homeport.store.protocol import Key, Record

TIMEOUT = 30.0
"""Seconds that a call may take, as upstream."""
_REMEMBERED = 16 << 20
"""Bytes of converted objects that are remembered for each resource."""
_REVIEWS = ("v1", "v1beta1")
_KEPT_FROM_ANSWER = ("labels", "annotations")

Complete = Callable[[Object, bool], Object]
"""Brings what a webhook made into the form of its version's schema: with defaults if asked to."""
_Place = tuple[Key, int, str]


class ConversionWebhooks(NamedTuple):
    """How one server asks them."""

    client: WebhookClient
    metrics: ConversionMetrics


class ConversionError(InternalError):
    """The webhook did not convert; `failure` is the name by which that is counted."""

    def __init__(self, message: str, failure: str = CALL) -> None:
        super().__init__(message)
        self.failure = failure


class WebhookConverter:
    """Converts one resource's objects. Made anew when its definition changes, so that nothing remembered is stale."""

    def __init__(
        self,
        webhooks: ConversionWebhooks,
        definition: str,
        kind: str,
        conversion: Mapping[str, Any],
        complete: Mapping[str, Complete],
    ) -> None:
        """`conversion` is that of the definition of that name; `complete` is by ``apiVersion``."""
        webhook = conversion.get("webhook") or {}
        self._client, self._metrics = webhooks
        self._definition = definition
        self._kind = kind
        self._complete = complete
        self._review = next((each for each in webhook.get("conversionReviewVersions") or () if each in _REVIEWS), "")
        self._endpoint: Endpoint | None = None
        self._problem = ""
        try:
            self._endpoint = endpoint.parse(webhook.get("clientConfig") or {})
        except ValueError as error:
            self._problem = str(error)
        self._remembered: OrderedDict[_Place, Record] = OrderedDict()
        self._size = 0
        self._pending: dict[_Place, asyncio.Future[Record]] = {}

    async def convert(self, objects: Sequence[Object], api_version: str, *, defaults: bool = True) -> Sequence[Object]:
        """`objects` in `api_version`. Raises InternalError."""
        others = [obj for obj in objects if obj["apiVersion"] != api_version]
        if not others:
            return objects
        made = iter(await self._call(others, api_version, defaults))
        return [next(made) if obj["apiVersion"] != api_version else obj for obj in objects]

    async def show(self, records: Sequence[Record], api_version: str) -> Sequence[Record]:
        """`records` in `api_version`. Raises InternalError."""
        head = f'{{"apiVersion":"{api_version}",'.encode()
        if all(record.value.startswith(head) for record in records):
            return records
        shown: list[Record | asyncio.Future[Record]] = []
        missing: list[tuple[_Place, Record]] = []
        for record in records:
            place = (record.key, record.revision, api_version)
            known: Record | asyncio.Future[Record] | None = record if record.value.startswith(head) else None
            known = known or self._remembered.get(place) or self._pending.get(place)
            if known is None:
                known = self._pending[place] = asyncio.get_running_loop().create_future()
                missing.append((place, record))
            shown.append(known)
        if missing:
            # On its own: others may wait for it when this request is given up.
            task = asyncio.get_running_loop().create_task(self._fill(missing, api_version))
            await asyncio.shield(task)
        return [await asyncio.shield(each) if isinstance(each, asyncio.Future) else each for each in shown]

    async def _fill(self, missing: Sequence[tuple[_Place, Record]], api_version: str) -> None:
        """Convert what nobody has converted, and tell those who wait for it."""
        failure: InternalError | None = None
        made: Sequence[Object] = ()
        try:
            made = await self._call([msgspec.json.decode(record.value) for _, record in missing], api_version)
        except InternalError as error:
            failure = error
        finally:
            for index, (place, record) in enumerate(missing):
                waiting = self._pending.pop(place)
                if index < len(made):
                    fresh = Record(record.key, record.revision, encode(made[index]), labels_of(made[index]))
                    self._remember(place, fresh)
                    waiting.set_result(fresh)
                else:
                    waiting.set_exception(failure or InternalError("the conversion was interrupted"))
                    waiting.exception()  # seen, even if nobody waits any more

    def _remember(self, place: _Place, record: Record) -> None:
        self._remembered[place] = record
        self._size += len(record.value)
        while self._size > _REMEMBERED:
            _, oldest = self._remembered.popitem(last=False)
            self._size -= len(oldest.value)

    async def _call(self, objects: Sequence[Object], api_version: str, defaults: bool = True) -> list[Object]:
        """Ask the webhook, and count it. Raises ConversionError."""
        begin = time.perf_counter()
        failure = CALL
        try:
            made = await self._answer(objects, api_version, defaults)
            failure = ""
        except ConversionError as error:
            failure = error.failure
            raise
        finally:
            before, after = (version.rpartition("/")[2] for version in (objects[0]["apiVersion"], api_version))
            self._metrics.asked(self._definition, before, after, time.perf_counter() - begin, failure)
        return made

    async def _answer(self, objects: Sequence[Object], api_version: str, defaults: bool) -> list[Object]:
        where = f"{objects[0]['apiVersion']}, Kind={self._kind}"
        if self._endpoint is None:
            raise _failed(where, self._problem)
        if not self._review:
            raise ConversionError("no supported conversion review versions")
        uid = new_uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"apiextensions.k8s.io/{self._review}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
        }
        try:
            raw = await self._client.post(self._endpoint, encode(review), TIMEOUT)
            answer = msgspec.json.decode(raw)
        except (CallError, *NOT_JSON) as error:
            raise _failed(where, str(error)) from error
        made = self._objects(answer, uid, where)
        if len(made) != len(objects):
            words = f"conversion webhook for {where} returned {len(made)} objects, expected {len(objects)}"
            raise ConversionError(words, PARTIAL)
        return [
            self._checked(index, before, after, api_version, where, defaults)
            for index, (before, after) in enumerate(zip(objects, made, strict=True))
        ]

    def _objects(self, answer: Any, uid: str, where: str) -> list[Any]:
        """The objects of a ConversionReview. Raises ConversionError."""
        response = answer.get("response") if isinstance(answer, dict) else None
        if not isinstance(response, dict):
            raise _failed(where, "no response provided", MALFORMED)
        if self._review == "v1":
            wanted, got = "apiextensions.k8s.io/v1, Kind=ConversionReview", _kind_of(answer)
            if got != wanted:
                raise _failed(where, f"expected webhook response of {wanted}, got {got}", MALFORMED)
            if response.get("uid") != uid:
                raise _failed(where, f'expected response.uid="{uid}", got "{response.get("uid", "")}"', MALFORMED)
        result = response.get("result")
        result = result if isinstance(result, dict) else {}
        if result.get("status") != "Success":
            status = result.get("status", "")
            words = result.get("message") or f"response.result.status was '{status}', not 'Success'"
            raise _failed(where, str(words), MALFORMED)
        made = response.get("convertedObjects")
        return made if isinstance(made, list) else []

    def _checked(self, index: int, before: Object, after: Any, api_version: str, where: str, defaults: bool) -> Object:
        """A converted object with the metadata that it had: only labels and annotations may change."""

        def wrong(why: str) -> ConversionError:
            head = f"conversion webhook for {where} returned invalid converted object at index {index}"
            return ConversionError(f"{head}: {why}", INVALID)

        if not isinstance(after, dict) or not isinstance(after.get("metadata"), dict):
            raise wrong("missing metadata in converted object")
        if after.get("apiVersion") != api_version:
            got = after.get("apiVersion", "")
            raise wrong(f"invalid groupVersion (expected {api_version}, received {got})")
        if after.get("kind") != self._kind:
            raise wrong(f"invalid kind (expected {self._kind}, received {after.get('kind', '')})")
        metadata, told = before["metadata"], after["metadata"]
        for key, what in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
            if (metadata.get(key) or "") != (told.get(key) or ""):
                raise wrong(f"must have the same {what}: {metadata.get(key, '')} != {told.get(key, '')}")
        kept = {key: value for key, value in metadata.items() if key not in _KEPT_FROM_ANSWER}
        for key in _KEPT_FROM_ANSWER:
            value = told.get(key)
            if value is None or value == {}:
                continue
            if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
                raise wrong(f"metadata.{key} has to be an object of strings")
            kept[key] = value
        head = {"apiVersion": api_version, "kind": self._kind, "metadata": kept}
        obj = {**head, **{key: value for key, value in after.items() if key not in head}}
        complete = self._complete.get(api_version)
        return obj if complete is None else complete(obj, defaults)


def _kind_of(answer: Mapping[str, Any]) -> str:
    return f"{answer.get('apiVersion', '')}, Kind={answer.get('kind', '')}"


def _failed(where: str, why: str, failure: str = CALL) -> ConversionError:
    return ConversionError(f"conversion webhook for {where} failed: {why}", failure)
