"""A pod that comes right behind its namespace waits for the account that every namespace gets.

Upstream asks again and again for a second and a half (``getServiceAccount`` of the ServiceAccount plug-in); here the
store tells.
"""

from __future__ import annotations

import asyncio

from homeport.apiserver.admission.service_account import DEFAULT_ACCOUNT
from homeport.apiserver.context import Api, Call
from homeport.apiserver.identity.accounts import ACCOUNTS, PODS
from homeport.store.protocol import Key

_SECONDS = 2.0


async def wait_for(api: Api, call: Call) -> None:
    """Return once the namespace of a pod that is about to be created has its default account; after two seconds without
    it, whoever needs it says so."""
    store, namespace = api.store, call.namespace
    key = Key(ACCOUNTS, namespace, DEFAULT_ACCOUNT)
    if store.head(key) is not None or call.info.subresource:
        return
    if call.info.name and store.head(Key(PODS, namespace, call.info.name)) is not None:
        return  # a patch of a pod that is there
    place = store.head(Key("/namespaces", "", namespace))
    if place is None or api.terminating(place):
        return  # which admission says
    changes = store.watch(ACCOUNTS, namespace)
    try:
        async with asyncio.timeout(_SECONDS):
            async for event in changes:
                if event.record.key == key:
                    return
    except TimeoutError:
        return
    finally:
        changes.close()
