"""HTTP/1.1 on the event loop: one client's connection, its requests and their answers.

What is read off the bytes is the business of :mod:`~homeport.apiserver.transport.parser`. Requests of one connection
are answered in order; pipelined ones wait in a bounded queue. There are two ways to an answer:

* *at once*: the server has it without waiting for anything. It is written at the end of the event loop's turn
  (:mod:`~homeport.apiserver.transport.turn`);
* in a task, which answers what is in the queue and ends.

Both write the same. The first is taken only where nothing of the connection waits, neither an earlier request that
needs a task nor bytes that the peer does not read.

A streamed answer is written with backpressure, and its iterator is closed as soon as the peer goes away. Headers or a
body that do not arrive in time are refused with 408.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

from homeport.apiserver.answers import status_response
from homeport.apiserver.transport.duplex import Tunnel
from homeport.apiserver.transport.head import head_of
from homeport.apiserver.transport.outflow import Outflow
from homeport.apiserver.transport.parser import Message, Parser
from homeport.apiserver.transport.timer import Timer
from homeport.kube.wire import Request, Response, Upgrade

if TYPE_CHECKING:
    from homeport.apiserver.transport.http import HttpServer

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self._outflow: Outflow = None  # type: ignore[assignment]  # as well
        self._parser: Parser = None  # type: ignore[assignment]  # as well
        self._timer = Timer(self._loop, self._expire)
        # Messages waiting for their answers.
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        # A body that has begun and not ended: when it has to end, in the loop's time; 0 for none.
        self._body_ends = 0.0
        self._task: asyncio.Task[None] | None = None
        self._in_turn = False
        """Whether the queue is looked at at the end of this turn of the loop."""
        # What the transport says.
        self._paused_reading = False
        self._unread = 0
        """What waited for the peer when it was last looked at."""
        self._refused = False
        self._closing = False
        self._lost = False
        self._tunnel: Tunnel | None = None

    # -- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        self._outflow = Outflow(self._transport, self._server.turn)
        secured = transport.get_extra_info("ssl_object")
        peer = transport.get_extra_info("peername")
        # A unix socket's peer has no address.
        source = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self._parser = Parser(self._limits, secured.getpeercert(True) if secured is not None else None, source)
        self._server.connections.add(self)
        # A peer that connects and says nothing counts as one that is slow with its headers.
        self._timer.arm(self._limits.header_seconds)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._server.forget(self)
        self._end_body()
        self._timer.cancel()
        self._outflow.lose()
        if self._tunnel is not None:
            self._tunnel.lose()
        if self._task is not None:
            self._task.cancel()
        self._queue.clear()
        self._parser.close()

    def pause_writing(self) -> None:
        self._outflow.pause()
        if self._tunnel is None and not self._outflow.streaming:
            self._unread = self._transport.get_write_buffer_size()
            self._timer.arm(self._limits.unread_seconds)

    def resume_writing(self) -> None:
        if self._tunnel is None and not self._parser.in_message:
            self._timer.arm(self._limits.idle_seconds)
        self._outflow.resume()

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.feed(data)
            return
        parser = self._parser
        had_begun = parser.in_message
        messages = parser.feed(data)
        if self._body_ends and (messages or not parser.in_body):
            self._end_body()
        for message in messages:
            self._receive(message)
        if parser.in_message:
            if parser.in_body:
                self._await_body()
            elif messages or not had_begun:
                self._timer.arm(self._limits.header_seconds)
            if parser.continue_wanted and not self._is_busy:
                self._write_continue()

    def _await_body(self) -> None:
        """A body has begun, or goes on."""
        now = self._loop.time()
        if not self._body_ends:
            self._body_ends = now + self._limits.whole_body_seconds
        self._timer.arm(max(min(self._limits.body_seconds, self._body_ends - now), 0.001))
        self._server.unfinished.hold(self.give_up_body, self._parser.body_size)

    def _end_body(self) -> None:
        self._body_ends = 0.0
        self._server.unfinished.release(self.give_up_body)

    def give_up_body(self) -> None:
        """Refuse the request whose body has not ended: others need the place."""
        self._body_ends = 0.0
        self._receive(
            self._parser.refuse(429, "too many requests have a body that does not end, please try again later")
        )

    def eof_received(self) -> bool | None:
        if self._tunnel is None:
            self.answer()
            self._outflow.flush()
            return None  # closes the transport once what is buffered is written
        self._tunnel.feed_eof()
        # TLS has no half-closed connections.
        return self._transport.get_extra_info("ssl_object") is None

    # -- answering

    @property
    def _is_busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._task is not None or self._in_turn

    def _receive(self, message: Message) -> None:
        if message.rest is not None:
            self._tunnel = Tunnel(self._transport, self._outflow.drain)
            self._tunnel.feed(message.rest)
        if message.request is None:
            self._refused = True
        else:
            self._queued_bytes += len(message.request.body)
        self._queue.append(message)
        if not self._is_busy:
            if message.request is not None and message.request.method == "GET":
                self._in_turn = True
                self._server.turn.answer(self)
            else:
                self._begin_task()
        elif not self._paused_reading and (
            len(self._queue) >= self._limits.queued or self._queued_bytes > self._limits.body_bytes
        ):
            self._paused_reading = True
            self._transport.pause_reading()

    def answer(self) -> None:
        """Answer what can be answered at once, and have a task answer the rest."""
        if not self._in_turn or self._lost:
            return
        self._in_turn = False
        try:
            while self._queue:
                if not self._answer_at_once(self._queue[0]):
                    self._begin_task()
                    return
                self._taken(self._queue.popleft())
        except Exception:
            log.exception("an answer could not be written")
            self._transport.abort()
            return
        self._rest()

    def _answer_at_once(self, message: Message) -> bool:
        """Whether the message has its answer."""
        request = message.request
        if request is None or not message.keep_alive or self._outflow.paused or self._closing:
            return False
        response = self._server.at_once(request, message.memory)
        if response is None:
            return False
        if not isinstance(response.body, bytes):  # it is large, and packed on its way
            message.response = response
            return False
        self._put(response, response.body, request, keep_alive=True)
        return True

    def _taken(self, message: Message) -> None:
        """A message is no longer in the queue."""
        if message.request is not None:
            self._queued_bytes -= len(message.request.body)
        if self._paused_reading and len(self._queue) < self._limits.queued // 2:
            self._paused_reading = False
            self._transport.resume_reading()

    def _rest(self) -> None:
        """Everything that has come has its answer."""
        if self._parser.continue_wanted:
            self._write_continue()
        if not self._parser.in_message and not self._outflow.paused:
            self._timer.arm(self._limits.idle_seconds)

    def _begin_task(self) -> None:
        self._task = self._loop.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        keep_alive = True
        try:
            if self._outflow.paused:
                await self._outflow.drain()  # of what was answered at once
            while self._queue and keep_alive:
                message = self._queue.popleft()
                keep_alive = await self._answer(message)
                self._taken(message)
        except asyncio.CancelledError:
            if not self._closing:
                raise  # the client has gone
            keep_alive = False
        except ConnectionError:
            keep_alive = False
        except Exception:
            # The handler turns its own errors into answers: this is a fault in writing one.
            log.exception("an answer could not be written")
            keep_alive = False
            self._transport.abort()
        finally:
            self._task = None
        if self._lost:
            return
        if self._closing or not keep_alive:
            self._finish()
        else:
            self._rest()

    def _finish(self) -> None:
        """Close once everything is written; linger if the peer may still be sending what we refused."""
        self._outflow.flush()
        if self._refused and not self._closing:
            self._queue.clear()
            if self._paused_reading:
                self._paused_reading = False
                self._transport.resume_reading()
            with suppress(NotImplementedError, OSError):
                if self._transport.can_write_eof():
                    self._transport.write_eof()
            self._timer.arm(self._limits.linger_seconds)
        else:
            self._close()

    def _close(self) -> None:
        """Close once what there is is written."""
        self._outflow.flush()
        self._transport.close()

    async def _answer(self, message: Message) -> bool:
        """Write one answer; True if the connection can serve another request."""
        request, response = message.request, message.response
        if response is None:
            assert request is not None, "a refusal has its answer"
            response = await self._server.handler(request)
        tunnel = self._tunnel if message.rest is not None else None
        if response.upgrade is not None:
            if tunnel is not None:
                await self._switch_protocols(response, response.upgrade, tunnel)
                return False
            response = status_response(400, "the request does not ask for an upgrade that its connection allows")
        elif tunnel is not None:
            # What follows is not HTTP, and no other protocol either.
            self._refused = True
            tunnel.discard()
        keep_alive = message.keep_alive and not self._closing
        body = response.body
        if isinstance(body, bytes):
            self._put(response, body, request, keep_alive=keep_alive)
            if self._outflow.paused:
                await self._outflow.drain()
        else:
            await self._stream(response, body, request, keep_alive=keep_alive)
        return keep_alive

    # -- writing

    def _head(self, response: Response, *, keep_alive: bool) -> list[bytes]:
        head = head_of(response, self._server.date())
        if not keep_alive:
            head.append(b"connection: close\r\n")
        return head

    def _write_continue(self) -> None:
        self._parser.continue_wanted = False
        self._outflow.send(_CONTINUE)

    def _put(self, response: Response, body: bytes, request: Request | None, *, keep_alive: bool) -> None:
        """Write an answer whose `body` is here."""
        head = self._head(response, keep_alive=keep_alive)
        if has_no_body(response):
            head.append(b"\r\n")
            body = b""
        else:
            head.append(b"content-length: %d\r\n\r\n" % len(body))
            if request is not None and request.method == "HEAD":
                body = b""
        self._outflow.put(head, body)

    async def _stream(
        self, response: Response, body: AsyncIterator[bytes], request: Request | None, *, keep_alive: bool
    ) -> None:
        head = self._head(response, keep_alive=keep_alive)
        chunked = "content-length" not in response.headers
        bodiless = has_no_body(response)
        if chunked and not bodiless:
            head.append(b"transfer-encoding: chunked\r\n")
        head.append(b"\r\n")
        bodiless = bodiless or (request is not None and request.method == "HEAD")
        await self._outflow.stream(head, body, chunked=chunked, bodiless=bodiless)

    async def _switch_protocols(self, response: Response, upgrade: Upgrade, tunnel: Tunnel) -> None:
        """Leave HTTP until the new protocol's conversation has ended."""
        self._outflow.send(b"".join((*self._head(response, keep_alive=True), b"\r\n")))
        self._outflow.streaming = True
        try:
            await upgrade(tunnel)
        finally:
            self._outflow.streaming = False

    # -- time

    def _expire(self) -> None:
        """What had to happen by the deadline has not."""
        if self._tunnel is not None and self._tunnel.idle_seconds >= self._limits.tunnel_idle_seconds:
            self._transport.abort()
        elif self._outflow.paused and not self._outflow.streaming:
            self._judge_reader()
        elif self._is_busy:
            self._timer.arm(self._limits.idle_seconds)  # an answer is on its way: it takes the time it takes
        elif self._parser.in_message:
            self._receive(self._parser.refuse(408, "the request did not arrive in time"))
        else:
            self._close()

    def _judge_reader(self) -> None:
        """An answer takes the time it takes, as long as the peer reads of it."""
        before, self._unread = self._unread, self._transport.get_write_buffer_size()
        if self._unread < before:
            self._timer.arm(self._limits.unread_seconds)
        else:
            self._transport.abort()

    # -- shutdown

    def shut_down(self) -> None:
        """Answer what was received, end streams, close."""
        self._closing = self._outflow.closing = True
        if self._in_turn:
            self._in_turn = False
            self._begin_task()
        elif self._task is None:
            self._close()
        elif self._outflow.streaming:
            self._task.cancel()

    def abort(self) -> None:
        self._transport.abort()


def has_no_body(response: Response) -> bool:
    """Whether an answer of this status never has a body, nor a length."""
    return response.status in (204, 304) or response.status < 200
