"""Rules of Volcano's cron jobs, in the words of its webhook (``webhooks/admission/cronjobs``), and those of the jobs
that they make, which there come to light with the first of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from homeport.components.volcano.job.rules import complaint, prepare
from homeport.kube import cron, meta, names
from homeport.kube.admission import Refusal, World
from homeport.kube.meta import Object

_LONGEST, _SUFFIX = 63, 11
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")
_MOMENT = "00000000"
"""As long as what is put after the name for a job: the minutes since 1970."""


def judge(new: Object, old: Object | None, world: World) -> None:
    """``Hook.validate``."""
    if old is not None and meta.spec(new) == meta.spec(old):
        return
    spec, name = meta.spec(new), meta.name(new)
    told = [text for text in ("".join(_spec(spec)).strip(), _name(name)) if text]
    if not told:
        inner = (spec.get("jobTemplate") or {}).get("spec") or {}
        job = prepare({"metadata": {"name": f"{name}-{_MOMENT}"}, "spec": inner}, None)
        if text := complaint(job):
            told.append(f"spec.jobTemplate.spec: {text}")
    if told:
        raise Refusal("; ".join(told))


def _spec(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from _schedule(spec.get("schedule") or "")
    zone = spec.get("timeZone")
    if zone is not None:
        yield from _zone(zone)


def _schedule(schedule: str) -> Iterator[str]:
    if not schedule:
        yield " schedule is required, but got empty"
    elif "TZ" in schedule:
        yield " schedule should not contain TZ or CRON_TZ, TZ should only be set in the timeZone field"
    else:
        try:
            cron.parse(schedule)
        except ValueError as error:
            yield f"schedule is not a valid cron expression: {error}"


def _zone(zone: str) -> Iterator[str]:
    if not zone:
        yield " timeZone must be nil or non-empty string, got empty string"
        return
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART.fullmatch(part):
            yield " unknown timeZone"
    if zone.lower() == "local":
        yield " timeZone can't be Local, and must be defined in https://www.iana.org/time-zones"
        return
    try:
        cron.zone(zone)
    except ValueError:
        yield " invalid timeZone"


def _name(name: str) -> str:
    most = _LONGEST - _SUFFIX
    if len(name) > most:
        text = f"cronJob name must be no more than {most} characters to accommodate job name suffix"
        return f"{text} (max {_LONGEST} total)"
    complaints = names.qualified_name(name)
    return f'invalid cronJob name "{name}": {"; ".join(complaints)}' if complaints else ""
