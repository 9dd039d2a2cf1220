"""Probes as a state machine: when which one is due, and what their results mean for the container. Pure.

The rules are the kubelet's (``prober.worker``): until the startup probe has succeeded the others wait; a verdict
changes after as many equal results in a row as the thresholds say; after a failed liveness or startup probe that one
rests, since the container is about to be restarted; of a pod that is being deleted only readiness is of interest.

Times are seconds of a monotonic clock, whichever the caller has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from homeport.node.pod import Member
from homeport.node.view import Health

Kind: TypeAlias = Literal["startup", "readiness", "liveness"]
KINDS: tuple[Kind, ...] = ("startup", "readiness", "liveness")


class ProbeSpec(msgspec.Struct, frozen=True):
    """One probe of a container. Times are in seconds."""

    kind: Kind
    handler: Mapping[str, Any]
    """What is done: the member that is set of ``exec``, ``httpGet``, ``tcpSocket`` and ``grpc``."""
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int


def specs_of(member: Member) -> tuple[ProbeSpec, ...]:
    """The probes of a container, those that nobody carries out left out."""
    return tuple(_spec(kind, member.spec[f"{kind}Probe"]) for kind in KINDS if member.has_probe(f"{kind}Probe"))


def _spec(kind: Kind, probe: Mapping[str, Any]) -> ProbeSpec:
    return ProbeSpec(
        kind=kind,
        handler={name: probe[name] for name in ("exec", "httpGet", "tcpSocket", "grpc") if probe.get(name) is not None},
        initial_delay=float(probe.get("initialDelaySeconds") or 0),
        period=float(probe.get("periodSeconds") or 10),
        timeout=float(probe.get("timeoutSeconds") or 1),
        success_threshold=int(probe.get("successThreshold") or 1),
        failure_threshold=int(probe.get("failureThreshold") or 3),
    )


class Track(msgspec.Struct, frozen=True):
    """What is known by one probe of one attempt."""

    due: float
    """When the probe runs next."""
    verdict: bool | None = None
    """What has been decided; None until the first time."""
    last: bool | None = None
    run: int = 0
    """How many results in a row were like `last`."""
    busy: bool = False
    """It runs now."""
    rests: bool = False
    """It has failed for good: nothing more is asked until the next attempt."""


class Watch(msgspec.Struct, frozen=True):
    """All probes of one attempt at a container."""

    attempt: int
    specs: Mapping[Kind, ProbeSpec]
    tracks: Mapping[Kind, Track]
    began: float
    """When the attempt started."""

    @property
    def started(self) -> bool:
        track = self.tracks.get("startup")
        return track is None or track.verdict is True

    @property
    def health(self) -> Health:
        failed: Literal["", "liveness", "startup"] = ""
        if _is_bad(self.tracks.get("startup")):
            failed = "startup"
        elif _is_bad(self.tracks.get("liveness")):
            failed = "liveness"
        readiness = self.tracks.get("readiness")
        ready = self.started and (readiness is None or readiness.verdict is True)
        return Health(self.attempt, started=self.started, ready=ready, failed=failed)


def _is_bad(track: Track | None) -> bool:
    return track is not None and track.verdict is False


def watch(
    specs: tuple[ProbeSpec, ...], attempt: int, began: float, *, started: bool = False, ready: bool = False
) -> Watch:
    """Begin to look after an attempt that started at `began`. `started` and `ready` are what was known of it before,
    as after a restart of the node: neither is taken back without a reason."""
    known = {"startup": started or None, "readiness": ready or None, "liveness": None}
    tracks = {spec.kind: Track(began + spec.initial_delay, verdict=known[spec.kind]) for spec in specs}
    return Watch(attempt, {spec.kind: spec for spec in specs}, tracks, began)


def plan(state: Watch, now: float, *, deleting: bool) -> tuple[Watch, tuple[Kind, ...], float | None]:
    """(the state with those begun, the probes to run now, when to plan again if nothing happens before)."""
    begun: list[Kind] = []
    wake: float | None = None
    tracks = dict(state.tracks)
    for kind, track in state.tracks.items():
        if track.busy or not _is_wanted(state, kind, deleting=deleting):
            continue
        due = track.due
        if due <= now:
            begun.append(kind)
            tracks[kind] = replace(track, busy=True, due=now + state.specs[kind].period)
        else:
            wake = due if wake is None else min(wake, due)
    return (replace(state, tracks=tracks) if begun else state), tuple(begun), wake


def _is_wanted(state: Watch, kind: Kind, *, deleting: bool) -> bool:
    if state.tracks[kind].rests:
        return False
    if kind == "readiness":
        return state.started
    if deleting:
        return False
    return state.started != (kind == "startup")


def fold(state: Watch, kind: Kind, success: bool | None, now: float) -> Watch:
    """A probe that was begun has ended. None: it could not be carried out, which says nothing."""
    track = replace(state.tracks[kind], busy=False)
    if success is not None:
        spec = state.specs[kind]
        run = track.run + 1 if track.last is success else 1
        track = replace(track, last=success, run=run)
        if run >= (spec.success_threshold if success else spec.failure_threshold):
            rests = not success and kind != "readiness"
            track = replace(track, verdict=success, rests=rests)
    was_started = state.started
    state = replace(state, tracks={**state.tracks, kind: track})
    if state.started and not was_started:
        # Those that waited go on at once, not at the next tick of a clock of theirs.
        tracks = dict(state.tracks)
        for other in ("readiness", "liveness"):
            if other in tracks:
                due = max(now, state.began + state.specs[other].initial_delay)
                tracks[other] = replace(tracks[other], due=due)
        state = replace(state, tracks=tracks)
    return state
