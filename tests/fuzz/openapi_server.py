"""A server for clients in other processes: one object of every kind, and the token ``t``. Prints its port."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "apiserver"))

from api_testing import ADMIN, Caller, Clock, make_server, with_default_namespace
from samples import sample

from homeport.apiserver.authn import BearerTokens
from homeport.apiserver.tokens import StaticTokens
from homeport.apiserver.transport.http import serve
from homeport.kube import core
from homeport.store.memory import MemoryStore


async def main() -> None:
    store, clock = MemoryStore(), Clock()
    api = make_server(store, clock, authenticators=[BearerTokens([StaticTokens({"t": ADMIN})], ())])
    caller = await with_default_namespace(Caller(api, store, clock))
    for kind in core.KINDS:
        await caller.post(kind.resource.path(namespace="default"), sample(kind))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    await serve(api, listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
