"""A webhook server with a certificate of its own authority."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test files share the *_testing.py

from webhook_testing import Authority, WebhookServer


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("webhook-ca"))


@pytest.fixture
async def hook(authority: Authority) -> AsyncIterator[WebhookServer]:
    async with WebhookServer(authority) as server:
        yield server
