"""A pod that comes right behind its namespace waits for the account that every namespace gets.

Upstream asks again and again for a second and a half (``getServiceAccount`` of the ServiceAccount plug-in); here the
store tells.
"""

from __future__ import annotations

import asyncio

from homeport.apiserver.admission.service_account import DEFAULT_ACCOUNT
from homeport.apiserver.identity.accounts import ACCOUNTS
from homeport.store.protocol import Key, Store

_SECONDS = 2.0


async def wait_for(store: Store, namespace: str) -> None:
    """Return once the namespace has its default account; after two seconds without it, whoever needs it says so."""
    key = Key(ACCOUNTS, namespace, DEFAULT_ACCOUNT)
    if store.head(key) is not None or store.head(Key("/namespaces", "", namespace)) is None:
        return
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
