"""The in-process transport: a request is a function call, without sockets, TLS or credentials."""

from __future__ import annotations

from homeport.kube.wire import Handler, Request, Response, User


class LocalTransport:
    """Calls `handler` (the API server's ``handle``) as `user`."""

    remote = False

    def __init__(self, handler: Handler, user: User) -> None:
        self._handler = handler
        self._user = user

    async def send(self, request: Request) -> Response:
        return await self._handler(
            Request(
                method=request.method,
                path=request.path,
                query=request.query,
                headers=request.headers,
                body=request.body,
                user=self._user,
            )
        )

    async def close(self) -> None:
        return None
