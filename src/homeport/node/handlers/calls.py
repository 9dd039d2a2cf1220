"""Carrying out the handler of a probe or of a lifecycle hook."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from homeport.node.expansion import expand
from homeport.node.handlers import command, grpc, http1, http2
from homeport.node.handlers.target import LONGEST_OUTPUT, Result, Target, Unanswerable, explain, joined
from homeport.node.runtime import SandboxError, StartError

VERSION = "1.35"
"""Of Kubernetes: what a server sees of who asks."""
_MOST_REDIRECTS = 10
_REFUSED = "HTTP probe failed with statuscode"
_PATH = "/%:?=&#[]@!$'()*+,;~"


async def probe(target: Target, handler: Mapping[str, Any], seconds: float) -> Result:
    """Carry out a probe's handler, within that time. Raises Unanswerable if it can't be."""
    if action := handler.get("exec"):
        return await _exec(target, action.get("command") or (), seconds)
    if action := handler.get("httpGet"):
        return await _http(target, action, seconds, f"kube-probe/{VERSION}")
    if action := handler.get("tcpSocket"):
        return await _tcp(target, action, seconds)
    if action := handler.get("grpc"):
        return await grpc.check(
            target,
            target.address,
            target.port(action.get("port") or 0),
            action.get("service") or "",
            seconds,
            tls=action.get("mode") == "TLS",
            agent=f"kube-probe/{VERSION}",
        )
    raise Unanswerable(f"missing probe handler for {target.container}")


async def run_hook(target: Target, handler: Mapping[str, Any], title: str) -> str:
    """Carry out a lifecycle hook: why it failed, or nothing. It takes as long as it takes. `title` is the pod's.

    What a command wrote is not told: an event is read by more people than a container's log.
    """
    try:
        if action := handler.get("exec"):
            words = action.get("command") or ()
            code, _ = await command.run(target, words, None)
            failed = f'Exec lifecycle hook ({_listed(words)}) for Container "{target.container}" in Pod "{title}"'
            return f"{failed} failed: command exited with {code}" if code else ""
        if action := handler.get("httpGet"):
            result = await _http(target, action, None, f"kube-lifecycle/{VERSION}")
            # Any answer is an answer: only who can't be asked has failed.
            answered = result.success or result.text.startswith(_REFUSED)
            return "" if answered else f"HTTP lifecycle hook: {result.text}"
        if action := handler.get("sleep"):
            await asyncio.sleep(float(action.get("seconds") or 0))
            return ""
    except (StartError, SandboxError, ConnectionError, Unanswerable) as error:
        return str(error)
    return f"Invalid handler: {', '.join(handler) or 'empty'}"


def _listed(words: Sequence[str]) -> str:
    return f"[{' '.join(words)}]"


async def _exec(target: Target, words: Sequence[str], seconds: float) -> Result:
    # The variables that the manifest gives a value: others are not known by now, as upstream has it.
    static = {v["name"]: v.get("value") or "" for v in target.spec.get("env") or () if not v.get("valueFrom")}
    words = [expand(word, static) for word in words]
    try:
        code, output = await command.run(target, words, seconds)
    except TimeoutError:
        return Result(False, f"command timed out: {json.dumps(' '.join(words))} timed out after {seconds:g}s")
    except StartError as error:
        return Result(False, f"OCI runtime exec failed: {error}")
    except (SandboxError, ConnectionError) as error:
        # The container is about to end: that is no news of its health.
        raise Unanswerable(str(error)) from None
    return Result(code == 0, output)


async def _tcp(target: Target, action: Mapping[str, Any], seconds: float) -> Result:
    host, port = action.get("host") or target.address, target.port(action.get("port") or 0)
    where = joined(host, port)
    try:
        async with asyncio.timeout(seconds):
            (await target.dial(host, port)).close()
    except TimeoutError:
        return Result(False, f"dial tcp {where}: i/o timeout")
    except OSError as error:
        return Result(False, explain(error, f"dial tcp {where}: connect"))
    return Result(True)


async def _http(target: Target, action: Mapping[str, Any], seconds: float | None, agent: str) -> Result:
    host, port = action.get("host") or target.address, target.port(action.get("port") or 0)
    scheme = str(action.get("scheme") or "HTTP").lower()
    path = str(action.get("path") or "/")
    url = f"{scheme}://{joined(host, port)}{'' if path.startswith('/') else '/'}{quote(path, safe=_PATH)}"
    headers = _headers(action.get("httpHeaders") or (), agent)
    newer = action.get("protocol") == "HTTP2"
    try:
        async with asyncio.timeout(seconds):
            return await _follow(target, url, headers, newer=newer)
    except TimeoutError:
        text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Result(False, f'Get "{url}": {text}')
    except ssl.SSLError as error:
        return Result(False, f'Get "{url}": tls: {error.reason or error}')
    except OSError as error:
        return Result(False, explain(error, f'Get "{url}": dial tcp {joined(host, port)}: connect'))
    except (http1.Malformed, ValueError) as error:
        return Result(False, f'Get "{url}": {error}')


def _headers(wanted: Sequence[Mapping[str, Any]], agent: str) -> list[tuple[str, str]]:
    """The headers of the manifest, with those that every client sends; an empty Accept means none."""
    own = [(str(h.get("name") or ""), str(h.get("value") or "")) for h in wanted]
    given = {name.lower() for name, _ in own}
    own = [(name, value) for name, value in own if not (name.lower() == "accept" and not value)]
    more = [(name, value) for name, value in (("User-Agent", agent), ("Accept", "*/*")) if name.lower() not in given]
    return [*own, *more]


async def _follow(target: Target, url: str, headers: Sequence[tuple[str, str]], *, newer: bool) -> Result:
    """Redirects are followed as long as they lead to the same host."""
    first = urlsplit(url).hostname
    for _ in range(_MOST_REDIRECTS):
        status, location, body = await _get(target, url, headers, newer=newer)
        if 300 <= status < 400 and location:
            url = urljoin(url, location)
            if urlsplit(url).hostname == first and urlsplit(url).scheme in ("http", "https"):
                continue
        if 200 <= status < 300:
            return Result(True, body)
        if 300 <= status < 400:
            return Result(True, f"Probe terminated redirects, Response body: {body}", warning=True)
        return Result(False, f"{_REFUSED}: {status}")
    raise http1.Malformed("stopped after 10 redirects")


async def _get(target: Target, url: str, headers: Sequence[tuple[str, str]], *, newer: bool) -> tuple[int, str, str]:
    """(status, where it redirects to, the body's beginning)."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    context = http1.unverified() if secure else None
    if context is not None:
        context.set_alpn_protocols(["h2"] if newer else ["http/1.1"])
    reader, writer = await http1.streams(await target.dial(host, port), host, context)
    try:
        named = {name.lower(): value for name, value in headers}
        authority = named.get("host") or parts.netloc
        if newer:
            lower = [(name.lower(), value) for name, value in headers if name.lower() not in ("host", "connection")]
            pseudo = [(":method", "GET"), (":scheme", parts.scheme), (":path", path), (":authority", authority)]
            found = await http2.exchange(reader, writer, [*pseudo, *lower])
            status = found.headers.get(":status", "")
            if not status.isdigit():
                raise http1.Malformed("the answer has no status")
            return int(status), found.headers.get("location", ""), _text(found.body)
        rest = [(name, value) for name, value in headers if name.lower() not in ("host", "connection")]
        head = http1.request("GET", path, [("Host", authority), *rest, ("Connection", "close")])
        answer = await http1.exchange(reader, writer, head)
        return answer.status, answer.headers.get("location", ""), _text(answer.body)
    finally:
        writer.close()


def _text(body: bytes) -> str:
    return body[:LONGEST_OUTPUT].decode(errors="replace")
