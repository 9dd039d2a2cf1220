"""Static bearer tokens: made once per data directory, kept in a file that only its owner reads."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from homeport.apiserver.authn import AUTHENTICATED_GROUP, Authenticated, Identified, token_digest
from homeport.apiserver.authz import MASTERS
from homeport.files import write_atomically
from homeport.kube.wire import User

ADMIN = User("kubernetes-admin", (MASTERS, AUTHENTICATED_GROUP))


class StaticTokens:
    """Users by token. Tokens are compared by digest, so that the time it takes tells nothing about them."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = {token_digest(token): Identified(user, until=math.inf) for token, user in users.items()}

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> Authenticated:
        return self.recall_token(token, audiences)

    def recall_token(self, token: str, audiences: Sequence[str]) -> Authenticated:
        return self._users.get(token_digest(token))


def ensure(path: Path) -> str:
    """The token in the file at `path`; a new random one is written there, mode 0600, if there is none."""
    try:
        token = path.read_text().strip()
        if token:
            return token
    except FileNotFoundError:
        pass
    token = secrets.token_urlsafe(32)
    write_atomically(path, f"{token}\n")
    return token
