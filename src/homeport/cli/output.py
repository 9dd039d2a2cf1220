"""The words that ``homeport run`` and ``homeport demo`` show. Pure: facts in, lines out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from homeport.cli.replicas import Container, Outcome, Replica, blame, seconds_between
from homeport.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, duration, joined, table
from homeport.kube import meta

Paint = Callable[..., str]

_UNDER_WAY = ("ContainerCreating", "PodInitializing", "Pending")

_PHASES = {"Succeeded": GREEN, "Failed": RED, "Running": YELLOW, "Pending": YELLOW, "Stopped": DIM}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f]")


def prefix(replica: Replica, container: Container, *, job: str = "") -> str:
    """``worker-0``, with the job's name if there are several, with the container's if it is not the main one."""
    text = f"{job}/{replica.title}" if job and replica.title != job else replica.title
    return text if container.name == replica.main else f"{text} {container.name}"


def log_text(text: str) -> str:
    """A log line as one line of a terminal: what a progress bar wrote last, without control characters but colours."""
    return _CONTROL.sub("", text.rstrip("\r").rsplit("\r", 1)[-1])


def waiting(replicas: Sequence[Replica], gone: int) -> tuple[str, str]:
    """What is being waited for, as one line; and what of it is worth a line of its own where no live line can be."""
    if not replicas:
        return ("" if gone else "waiting for replicas"), ""
    groups: dict[tuple[str, str], list[Replica]] = {}
    for one in replicas:
        if one.waiting:
            groups.setdefault(one.waiting, []).append(one)
    if not groups:
        running = sum(one.phase == "Running" for one in replicas)
        return f"{running} of {len(replicas)} replicas running", ""
    (reason, message), members = max(groups.items(), key=lambda item: (bool(item[0][1]), len(item[1])))
    names = titles(members)
    if not message:
        return f"{names}: {reason}", ""
    # What is under way needs no reason in front, and some messages begin with it.
    told = message if reason in _UNDER_WAY or reason in message else f"{reason}: {message}"
    return f"{names}: {told}", told


def titles(replicas: Iterable[Replica]) -> str:
    """``ps-0 and worker-0 to worker-2``: as short as it is clear."""
    by_type: dict[str, list[Replica]] = {}
    for one in sorted(replicas, key=lambda one: one.order):
        by_type.setdefault(one.type, []).append(one)
    words = []
    for members in by_type.values():
        numbers = [one.index for one in members]
        if len(members) > 2 and numbers == list(range(numbers[0], numbers[0] + len(members))):
            words.append(f"{members[0].title} to {members[-1].title}")
        else:
            words += [one.title for one in members]
    if len(words) > 4:
        words = [*words[:3], f"{len(words) - 3} more"]
    return joined(words)


def failure(title: str, outcome: Outcome, replicas: Iterable[Replica]) -> str:
    """That a job failed and why, in one sentence.

    Homeport's controllers say it all. Others give counts, or nothing: then the replica that failed first is named.
    """
    said = outcome.message.strip().rstrip(".")
    if said.startswith((f"{title} failed: ", f"{title} is not valid: ")):
        return said
    causes = "; ".join(part for part in (said, blame(replicas)) if part)
    return f"{title} failed: {causes or outcome.reason or 'no reason was given'}"


def story(title: str, message: str) -> str:
    """What a condition says of a job, with the job's title in front unless it is there."""
    return message if message.startswith(title) else f"{title}: {message}"


def summary(
    title: str,
    outcome: Outcome | None,
    replicas: Sequence[Replica],
    stopped: frozenset[str],
    now: datetime,
    paint: Paint,
) -> list[str]:
    """The end of a run on one screen: the job's result, then a line for each replica.

    `stopped` are the uids of pods that the job ended itself (``cleanPodPolicy``).
    """
    starts = [one.start for one in replicas if one.start]
    ends = [one.finish for one in replicas if one.finish]
    took = seconds_between(min(starts, default=""), max(ends, default=""), now)
    state = "is not finished" if outcome is None else "succeeded" if outcome.succeeded else "failed"
    color = YELLOW if outcome is None else GREEN if outcome.succeeded else RED
    head = paint(f"{title} {state}", BOLD, color) + (f" in {duration(took)}" if outcome and took is not None else "")
    if not replicas:
        return [head]
    rows = [["REPLICA", "PHASE", "START", "TIME", "RESTARTS", "EXIT CODE"]]
    for one in _most(sorted(replicas, key=lambda one: one.order)):
        phase = "Stopped" if one.uid in stopped and not one.is_final else one.phase
        seconds = seconds_between(one.start, one.finish, now)
        rows.append(
            [
                one.title,
                phase,
                meta.parse_time(one.start).astimezone().strftime("%H:%M:%S") if one.start else "-",
                duration(seconds) if seconds is not None else "-",
                str(one.restarts),
                "-" if one.exit_code is None else str(one.exit_code),
            ]
        )
    heading, *lines = table(rows)
    phases = [row[1] for row in rows[1:]]
    painted = [
        line.replace(phase, paint(phase, _PHASES.get(phase, DIM)), 1) for line, phase in zip(lines, phases, strict=True)
    ]
    rest = Counter(one.phase for one in replicas)
    more = [f"... {len(replicas)} replicas: {_counts(rest)}"] if len(replicas) > len(lines) else []
    return [head, "", paint(heading, DIM), *painted, *more]


_SCREEN = 20
"""Replicas that a summary shows one by one."""


def _most(replicas: list[Replica]) -> list[Replica]:
    """As many as one screen shows: those that failed first, then in order."""
    if len(replicas) <= _SCREEN:
        return replicas
    chosen = sorted(replicas, key=lambda one: one.phase == "Succeeded")[:_SCREEN]
    return sorted(chosen, key=lambda one: one.order)


def _counts(phases: Counter[str]) -> str:
    return joined(f"{count} {phase.lower()}" for phase, count in sorted(phases.items()))
