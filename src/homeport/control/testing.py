"""What every controller has to hold, as functions that tests call; and golden pairs.

A golden case is a pair of files. ``case.in.yaml`` has ``parent``, and if needed ``children`` and ``related`` (lists of
objects), ``failures`` and ``now`` (a time; default 2026-01-01T00:00:00Z). ``case.out.yaml`` has what ``sync`` made of
it. Set ``update=True`` to write the second file anew, and read the difference before you commit it.

    @pytest.mark.parametrize("case", cases(Path(__file__).parent / "cases"), ids=str)
    def test_case(case): check_golden(TFJOB, case)

    @pytest.mark.parametrize("case", cases(Path(__file__).parent / "cases"), ids=str)
    def test_conformance(case): check_conformance(TFJOB, case.observed(TFJOB))
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from homeport.control.cache import key_of
from homeport.control.controller import Controller, Desired, Failure, Observed, Patch
from homeport.control.diff import child_id, merged, plan
from homeport.control.freeze import freeze, thaw
from homeport.kube.meta import Object, name, namespace, owner_reference, parse_time, status

UPDATE = "UPDATE_GOLDEN"
"""Environment variable: if set, golden files are written instead of compared."""

_DEFAULT_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Case:
    """One golden pair; `path` is that of its ``.in.yaml``."""

    path: Path

    def __str__(self) -> str:
        return self.path.name.removesuffix(".in.yaml")

    @property
    def expected(self) -> Path:
        return self.path.with_name(f"{self}.out.yaml")

    def observed(self, controller: Controller) -> Observed:
        document = _load(self.path)
        moment = document.get("now")
        return observed(
            controller,
            document["parent"],
            children=document.get("children") or (),
            related=document.get("related") or (),
            failures=[msgspec.convert(failure, Failure) for failure in document.get("failures") or ()],
            now=parse_time(moment) if moment else _DEFAULT_NOW,
        )


def cases(directory: Path) -> list[Case]:
    """The cases of a directory; an empty one is an error, so that a moved directory does not silently test nothing."""
    found = [Case(path) for path in sorted(directory.glob("*.in.yaml"))]
    if not found:
        raise FileNotFoundError(f"{directory}: no *.in.yaml")
    return found


def observed(
    controller: Controller,
    parent: Object,
    *,
    children: Sequence[Object] = (),
    related: Sequence[Object] = (),
    now: datetime = _DEFAULT_NOW,
    failures: Sequence[Failure] = (),
) -> Observed:
    """An `Observed` that refuses changes. Children get the parent's namespace and controller reference if they lack
    them; the parent gets a uid."""
    parent = thaw(parent)
    parent.setdefault("apiVersion", controller.parent.api_version)
    parent.setdefault("kind", controller.parent.kind)
    parent["metadata"].setdefault("uid", f"uid-of-{name(parent)}")
    if controller.parent.namespaced:
        parent["metadata"].setdefault("namespace", "default")
    by_kind: dict[str, dict[str, Object]] = {child.resource.kind: {} for child in controller.children}
    for child in children:
        obj = _adopted(parent, child)
        by_kind[obj["kind"]][child_id(parent, obj)] = freeze(obj)
    others: dict[str, dict[str, Object]] = {entry.resource.kind: {} for entry in controller.related}
    for obj in related:
        place, own = key_of(obj)
        others[obj["kind"]][f"{place}/{own}" if place else own] = freeze(obj)
    return Observed(parent=freeze(parent), children=by_kind, related=others, now=now, failures=tuple(failures))


def check_golden(controller: Controller, case: Case, *, update: bool | None = None) -> None:
    """Compare what ``sync`` makes of a case with its golden file. `update` None: as the environment says."""
    import yaml

    actual = describe(controller.sync(case.observed(controller)))
    if os.environ.get(UPDATE) if update is None else update:
        text = yaml.safe_dump(actual, sort_keys=False, default_flow_style=False, width=120)
        case.expected.write_text(text)
        return
    if not case.expected.exists():
        raise AssertionError(f"{case.expected} is missing; run the tests with {UPDATE}=1 to write it, then read it")
    expected = _load(case.expected)
    if _plain(expected) != actual:
        raise AssertionError(f"{case.expected}:\n{_difference(_plain(expected), actual)}")


def describe(desired: Desired) -> Object:
    """A `Desired` as JSON, without what is empty."""
    document: dict[str, Any] = {}
    if desired.status is not None:
        document["status"] = desired.status
    if desired.children:
        document["children"] = list(desired.children)
    if desired.keep:
        document["keep"] = [f"{kind} {key}" for kind, key in sorted(desired.keep)]
    if desired.patches:
        document["patches"] = [
            {"object": f"{patch.object['kind']} {name(patch.object)}", "changes": patch.changes}
            for patch in desired.patches
        ]
    if desired.others:
        document["others"] = list(desired.others)
    if desired.removed:
        document["removed"] = [f"{obj['kind']} {name(obj)}" for obj in desired.removed]
    if desired.finalized:
        document["finalized"] = [f"{kind} {key}" for kind, key in sorted(desired.finalized)]
    if desired.notes:
        document["notes"] = [{"type": n.type, "reason": n.reason, "message": n.message} for n in desired.notes]
    if desired.requeue_after is not None:
        document["requeueAfter"] = desired.requeue_after
    if desired.delete_parent:
        document["deleteParent"] = True
    plain: Object = _plain(document)
    return plain


def check_conformance(controller: Controller, start: Observed) -> None:
    """All rules at once, from one observed state. Raises AssertionError that names the rule."""
    check_deterministic(controller, start)
    check_json(controller, start)
    check_settles(controller, start)


def check_deterministic(controller: Controller, start: Observed) -> None:
    """Equal input gives equal output, whatever the order of what is observed; the input is left unchanged."""
    before = _plain({"parent": start.parent, "children": start.children, "related": start.related})
    first = describe(controller.sync(start))
    shuffled = Observed(
        parent=start.parent,
        children=_reversed(start.children),
        related=_reversed(start.related),
        now=start.now,
        failures=start.failures,
        memory=start.memory,
    )
    second = describe(controller.sync(shuffled))
    assert first == second, f"{controller.name}: not deterministic:\n{_difference(first, second)}"
    after = _plain({"parent": start.parent, "children": start.children, "related": start.related})
    assert before == after, f"{controller.name}: sync changed its argument:\n{_difference(before, after)}"


def check_json(controller: Controller, start: Observed) -> None:
    """Everything desired is plain JSON, and the runtime can carry it out."""
    desired = controller.sync(start)
    for what, value in (
        ("status", desired.status),
        *((name(child), child) for child in (*desired.children, *desired.others)),
        *((name(patch.object), patch.changes) for patch in desired.patches),
    ):
        _check_json(value, f"{controller.name}: {what}")
    plan(controller, start, desired)


def check_settles(controller: Controller, start: Observed) -> Observed:
    """Applying the output again and again reaches a state that ``sync`` leaves alone, with no new notes; children are
    named the same throughout. Gives the settled state."""
    current = start
    for _ in range(_ROUNDS):
        desired = controller.sync(current)
        following = applied(controller, current, desired)
        if desired.delete_parent or (
            _plain(following.parent) == _plain(current.parent)
            and _plain(following.children) == _plain(current.children)
            and _plain(following.related) == _plain(current.related)
            and following.failures == current.failures
            and following.memory == current.memory
        ):
            break
        current = following
    else:
        raise AssertionError(f"{controller.name}: does not settle within {_ROUNDS} rounds of its own output")
    if desired.delete_parent:
        return current
    assert not desired.notes, f"{controller.name}: repeats its notes on a settled parent: {desired.notes}"
    todo = plan(controller, current, desired)
    assert not todo.creates, f"{controller.name}: creates again: {[name(write.object) for write in todo.creates]}"
    assert not todo.others, f"{controller.name}: makes again: {[name(write.object) for write in todo.others]}"
    assert not todo.patches, f"{controller.name}: changes again: {[name(item.object) for item in todo.patches]}"
    assert not todo.deletes, f"{controller.name}: deletes again: {[name(item.object) for item in todo.deletes]}"
    assert todo.status is None, f"{controller.name}: writes its status again: {todo.status}"
    return current


def check_finished_keeps(controller: Controller, finished: Observed) -> None:
    """A finished parent keeps the children that it has. Call it with a finished parent whose own rules clean up nothing
    (``cleanPodPolicy: None``): the trap is a sync that stops listing its children once there is nothing left to do."""
    end = check_settles(controller, finished)
    lost = {
        f"{kind} {key}"
        for kind, group in finished.children.items()
        for key in group
        if key not in end.children.get(kind, {})
    }
    assert not lost, (
        f"{controller.name}: a finished parent dropped {', '.join(sorted(lost))}: list them, or `keep` them"
    )


def applied(controller: Controller, current: Observed, desired: Desired) -> Observed:
    """The world after the runtime applied `desired`, if nobody else did anything."""
    update = {child.resource.kind: child.update for child in controller.children}
    children: dict[str, dict[str, Object]] = {kind: {} for kind in current.children}
    for child in desired.children:
        obj = _adopted(current.parent, child)
        key = child_id(current.parent, obj)
        known = current.children.get(obj["kind"], {}).get(key)
        if known is not None and update[obj["kind"]] == "never":
            obj = known
        elif known is not None:
            obj = {**obj, **({"status": known["status"]} if "status" in known else {})}
        children[obj["kind"]][key] = obj
    for kind, key in desired.keep:
        known = current.children.get(kind, {}).get(key)
        if known is not None:
            children[kind].setdefault(key, known)
    related = {kind: dict(group) for kind, group in current.related.items()}
    for obj in desired.others:
        place = namespace(obj) or namespace(current.parent)
        label = f"{place}/{name(obj)}" if place else name(obj)
        related[obj["kind"]].setdefault(label, obj)
    for obj in desired.removed:
        place = namespace(obj)
        related[obj["kind"]].pop(f"{place}/{name(obj)}" if place else name(obj), None)
    for patch in desired.patches:
        _patch(children, related, patch)
    for kind, key in desired.finalized:
        known = children[kind].get(key)
        if known is not None:
            children[kind][key] = {**known, "metadata": _without_finalizer(controller, kind, known)}
    parent = current.parent
    for patch in desired.patches:
        if patch.object["kind"] == parent["kind"] and name(patch.object) == name(parent):
            parent = merged(parent, patch.changes)
    if desired.status is not None and desired.status != status(parent):
        parent = {**parent, "status": desired.status}
    return Observed(
        parent=freeze(parent),
        children=freeze(children),
        related=freeze(related),
        now=current.now,
        memory=desired.memory,
    )


def _patch(children: dict[str, dict[str, Object]], related: dict[str, dict[str, Object]], patch: Patch) -> None:
    for groups in (children, related):
        for key, known in groups.get(patch.object["kind"], {}).items():
            if name(known) == name(patch.object) and namespace(known) == namespace(patch.object):
                groups[patch.object["kind"]][key] = merged(known, patch.changes)


def _without_finalizer(controller: Controller, kind: str, child: Object) -> Object:
    own = next(declared.finalizer for declared in controller.children if declared.resource.kind == kind)
    meta = child["metadata"]
    return {**meta, "finalizers": [each for each in meta.get("finalizers") or () if each != own]}


def _adopted(parent: Object, child: Object) -> Object:
    obj: Object = thaw(child)
    meta = obj["metadata"]
    if namespace(parent):
        meta.setdefault("namespace", namespace(parent))
    if not any(reference.get("controller") for reference in meta.get("ownerReferences") or ()):
        meta["ownerReferences"] = [*(meta.get("ownerReferences") or ()), owner_reference(parent)]
    return obj


def _check_json(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            assert type(key) is str, f"{path}: key {key!r} is not a string"
            _check_json(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_json(item, f"{path}[{index}]")
    else:
        assert value is None or type(value) in (str, int, float, bool), f"{path}: {value!r} is not JSON"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _reversed(groups: Mapping[str, Mapping[str, Object]]) -> dict[str, dict[str, Object]]:
    return {kind: dict(reversed(list(group.items()))) for kind, group in reversed(list(groups.items()))}


def _load(path: Path) -> dict[str, Any]:
    from homeport.kube import yamltext

    document, _ = yamltext.load(path.read_bytes())
    if not isinstance(document, dict):
        raise AssertionError(f"{path}: expected a mapping")
    return document


def _difference(expected: Any, actual: Any) -> str:
    import difflib

    one = json.dumps(expected, indent=2, sort_keys=True).splitlines()
    two = json.dumps(actual, indent=2, sort_keys=True).splitlines()
    return "\n".join(difflib.unified_diff(one, two, "expected", "actual", lineterm="", n=2))
