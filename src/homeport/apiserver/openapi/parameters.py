"""Parameters of operations: shared objects, each written once."""

from __future__ import annotations

from typing import Any


def _query(name: str, type: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": type, "uniqueItems": True}}


def _path(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "uniqueItems": True}
    return {"name": name, "in": "path", "description": description, "required": True, "schema": schema}


_NAMES: dict[str, dict[str, Any]] = {}


def name(kind: str) -> dict[str, Any]:
    return _NAMES.setdefault(kind, _path("name", f"name of the {kind}"))


NAMESPACE = _path("namespace", "object name and auth scope, such as for teams and projects")
PRETTY = _query("pretty", "string", "Accepted and of no effect.")
DRY_RUN = _query("dryRun", "string", "All: go through every stage but storing.")
FORCE = _query("force", "boolean", "Apply: take fields from other managers.")
WRITE = (
    DRY_RUN,
    _query("fieldManager", "string", "Who makes the change."),
    _query("fieldValidation", "string", "What to do with unknown and duplicate fields: Ignore, Warn or Strict."),
)
DELETE = (
    DRY_RUN,
    _query("gracePeriodSeconds", "integer", "Seconds that the object gets to end; 0 ends it at once."),
    _query("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    _query("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
)
LIST_BUT_WATCH = (
    _query("labelSelector", "string", "Restricts the objects by their labels."),
    _query("fieldSelector", "string", "Restricts the objects by their fields."),
    _query("limit", "integer", "The most objects to return in one answer."),
    _query("continue", "string", "Token of the answer before, to get the next ones."),
    _query("resourceVersion", "string", "The version to list at or to watch from."),
    _query("resourceVersionMatch", "string", "How resourceVersion applies to a list."),
    _query("sendInitialEvents", "boolean", "Begin a watch with the present objects and a bookmark after them."),
    _query("timeoutSeconds", "integer", "Ends a watch after so many seconds."),
)
LIST = (
    *LIST_BUT_WATCH,
    _query("watch", "boolean", "Watch for changes instead of listing."),
    _query("allowWatchBookmarks", "boolean", "Ask for BOOKMARK events."),
)
LOG = (
    _query("container", "string", "The container to read; not needed if there is one only."),
    _query("follow", "boolean", "Go on as lines come."),
    _query("limitBytes", "integer", "The most bytes to send."),
    _query("previous", "boolean", "The log of the container's run before."),
    _query("sinceSeconds", "integer", "Lines of the last so many seconds only."),
    _query("sinceTime", "string", "Lines from that moment on only."),
    _query("tailLines", "integer", "The last so many lines only."),
    _query("timestamps", "boolean", "Begin each line with its time."),
)

_STREAMS = (
    _query("container", "string", "The container; not needed if there is one only."),
    _query("stdin", "boolean", "Send standard input."),
    _query("stdout", "boolean", "Receive standard output."),
    _query("stderr", "boolean", "Receive standard error."),
    _query("tty", "boolean", "Have a terminal."),
)
CONNECT = {
    "exec": (_query("command", "string", "The command, one parameter for each of its words."), *_STREAMS),
    "attach": _STREAMS,
    "portforward": (_query("ports", "integer", "The ports, for a WebSocket client."),),
    "proxy": (),
}
"""Subresources that pass the connection on, and what they are asked with."""
