"""A server on a fresh memory store, and a caller that speaks to it in process as the administrator."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test files share api_testing.py

from api_testing import Caller, Clock, make_server, with_default_namespace

from homeport.store.memory import MemoryStore

if TYPE_CHECKING:
    from oidc_testing import Provider


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def api(clock: Clock) -> AsyncIterator[Caller]:
    store = MemoryStore()
    server = make_server(store, clock)
    yield await with_default_namespace(Caller(server, store, clock))
    await server.close()
    await store.close()


@pytest.fixture(scope="session")
def shared_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    from oidc_testing import Provider  # few tests need it

    provider = Provider(tmp_path_factory.mktemp("provider"))
    yield provider
    provider.close()


@pytest.fixture
def provider(shared_provider: Provider) -> Provider:
    """With a key of its own."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    shared_provider.keys = {"one": rsa.generate_private_key(65537, 2048)}
    shared_provider.asked.clear()
    shared_provider.fetched.clear()
    shared_provider.broken = False
    return shared_provider
