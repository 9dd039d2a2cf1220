"""A pod's volumes: what lies in them, where they are on the host, and how containers see them.

Everything that belongs to the pod lies below its own directory (``volumes/<name>``), so that removing that directory
removes the volumes. Secrets and tokens lie in the machine's shared memory file system, and what is memory of the pod's
own is mounted in its sandbox. The work is blocking but short; the agent runs it in a thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from homeport.kube import meta
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object
from homeport.node import emptydirs, hostpath, payload, security, sharedmemory
from homeport.node.claims import Claimed
from homeport.node.expansion import expand
from homeport.node.payload import File, Giving
from homeport.node.references import Ref, Sources, Unresolved, contents, missing, pod_field, resource_field, volume_refs
from homeport.node.runtime import ImageRoot, Mount
from homeport.node.tokens import wish_of

NO_IMAGES: Mapping[str, ImageRoot] = {}
CONTENT = frozenset({"configMap", "secret", "downwardAPI", "projected"})
"""Volumes that show what the API knows, and follow it."""
GROUPED = CONTENT | {"emptyDir", "persistentVolumeClaim", "ephemeral"}
"""Volumes that belong to the pod's ``fsGroup``. (The machine's directories, ``hostPath``, stay whose they are.)"""


class MountError(HomeportError):
    """A volume can't be had. `waits_for` is what must appear before another try can help; None: unknown."""

    def __init__(self, volume: str, message: str, waits_for: Ref | None = None) -> None:
        super().__init__(f'MountVolume.SetUp failed for volume "{volume}" : {message}')
        self.waits_for = waits_for


class VolumePlaces(msgspec.Struct, frozen=True):
    """Where the volumes of one pod lie."""

    pod_directory: Path
    uid: str
    claims: Mapping[str, Claimed] = msgspec.field(default_factory=dict)
    """The volumes that are claims, by their names in the pod."""

    @property
    def directory(self) -> Path:
        return self.pod_directory / "volumes"

    def of(self, name: str) -> Path:
        claimed = self.claims.get(name)
        return self.directory / name if claimed is None else Path(claimed.path)

    @property
    def memory(self) -> Path:
        """The directory of the pod's volumes that hold secrets; removed with the pod."""
        return sharedmemory.place_of(self.uid)


def paths(pod: Object, places: VolumePlaces) -> Iterator[tuple[str, str, Path]]:
    """Name, kind and place of each volume that is neither memory nor a directory of the machine's (``hostPath``)."""
    for volume in meta.spec(pod).get("volumes") or ():
        name, (kind, source) = volume["name"], _source(volume)
        claimed = places.claims.get(name)
        is_machines = kind == "hostPath" if claimed is None else not claimed.must_exist
        if not is_machines and not (kind == "emptyDir" and emptydirs.is_memory(source)):
            yield name, kind, places.of(name)


def references(pod: Object) -> set[Ref]:
    """The config maps and secrets that the pod's volumes show."""
    return {ref for volume in meta.spec(pod).get("volumes") or () for ref in volume_refs(volume)}


def set_up(places: VolumePlaces, sources: Sources, giving: Giving | None = None) -> None:
    """Make every volume of ``sources.pod`` ready. Raises MountError for the first that fails. `giving` lets the pod's
    user and its ``fsGroup`` have files that are about to be shown."""
    for volume in meta.spec(sources.pod).get("volumes") or ():
        with _explained(volume, places):
            _set_up(volume, places, sources, giving)


def bring_up_to_date(places: VolumePlaces, sources: Sources, giving: Giving | None = None) -> None:
    """Have the volumes that show objects, fields or tokens show what they are now, each volume at once. One that can't
    stays as it is and keeps no other from it; raises MountError for the first such."""
    failed: MountError | None = None
    for volume in meta.spec(sources.pod).get("volumes") or ():
        if _source(volume)[0] in CONTENT:
            try:
                with _explained(volume, places):
                    _set_up(volume, places, sources, giving)
            except MountError as error:
                failed = failed or error
    if failed is not None:
        raise failed


def downward_part(pod: Object) -> Any:
    """What the pod's downwardAPI volumes may show and what may change while it runs; None if it has none of them."""
    spec = meta.spec(pod)
    if not any(
        volume.get("downwardAPI") or any(part.get("downwardAPI") for part in _projected(volume))
        for volume in spec.get("volumes") or ()
    ):
        return None
    resources = [
        (container.get("name"), container.get("resources"))
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    ]
    return meta.labels(pod), meta.annotations(pod), resources


def _projected(volume: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return (volume.get("projected") or {}).get("sources") or ()


@contextlib.contextmanager
def _explained(volume: Mapping[str, Any], places: VolumePlaces) -> Iterator[None]:
    """Whatever goes wrong is told of as a MountError of this volume."""
    name = str(volume["name"])
    try:
        yield
    except MountError:
        raise
    except Unresolved as error:
        raise MountError(name, str(error), error.waits_for) from error
    except HomeportError as error:
        raise MountError(name, str(error)) from error
    except OSError as error:
        raise MountError(name, f"{error.filename or places.of(name)}: {error.strerror or error}") from error
    except ValueError as error:  # a path or a number that the system calls can't take
        raise MountError(name, str(error)) from error


def _set_up(volume: Mapping[str, Any], places: VolumePlaces, sources: Sources, giving: Giving | None) -> None:
    kind, source = _source(volume)
    directory = places.of(volume["name"])
    match kind:
        case "emptyDir":
            emptydirs.set_up(directory, source)
        case "hostPath":
            hostpath.check(source.get("path") or "", source.get("type") or "")
        case "image":
            pass  # its containers wait for it as for their own, and have it mounted by the runtime
        case "persistentVolumeClaim" | "ephemeral":
            _check_claimed(places.claims[volume["name"]])
        case "configMap" | "secret" | "downwardAPI" | "projected":
            content = files(volume, sources)
            if _is_secret(kind, source):
                sharedmemory.put(directory, places.memory / directory.name, places.pod_directory)
            payload.write(directory, content, giving)
        case _:
            raise HomeportError(
                f"volumes of type {kind or 'none'} are not supported by this node; it has emptyDir, hostPath, "
                "configMap, secret, downwardAPI, projected, image, ephemeral and persistentVolumeClaim"
            )


def _check_claimed(claimed: Claimed) -> None:
    if not claimed.must_exist:
        hostpath.check(claimed.path, claimed.type)
    elif not os.path.exists(claimed.path):
        raise HomeportError(f'path "{claimed.path}" does not exist')


def _source(volume: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    kinds = [key for key in volume if key != "name" and volume[key] is not None]
    return (kinds[0], volume[kinds[0]]) if kinds else ("", {})


def _is_secret(kind: str, source: Mapping[str, Any]) -> bool:
    """Whether what the volume shows is nothing for a disk: secrets and tokens, as with the kubelet."""
    return kind == "secret" or any(
        part.get("secret") is not None or part.get("serviceAccountToken") is not None
        for part in source.get("sources") or ()
    )


def files(volume: Mapping[str, Any], sources: Sources) -> dict[str, File]:
    """What a configMap, secret, downwardAPI or projected volume shows. Pure; raises Unresolved."""
    kind, source = _source(volume)
    mode = source.get("defaultMode")
    default = 0o644 if mode is None else int(mode)
    if kind != "projected":
        return _part(kind, source, default, sources)
    result: dict[str, File] = {}
    for part in source.get("sources") or ():
        for part_kind, part_source in part.items():
            if part_source is not None:
                result |= _part(part_kind, part_source, default, sources)
    return result


def _part(kind: str, source: Mapping[str, Any], mode: int, sources: Sources) -> dict[str, File]:
    match kind:
        case "configMap":
            return _keys(Ref("ConfigMap", source.get("name") or ""), source, mode, sources)
        case "secret":
            return _keys(Ref("Secret", source.get("secretName") or source.get("name") or ""), source, mode, sources)
        case "downwardAPI":
            return dict(_downward(source, mode, sources))
        case "serviceAccountToken":
            content = sources.tokens[wish_of(source)].encode()
            user = security.common_user(sources.pod)
            # For nobody else to read, as the kubelet has it; the group is let in with all of the volume.
            is_given = user is not None or security.of_pod(sources.pod).get("fsGroup") is not None
            return {source["path"]: File(content, 0o600 if is_given else mode, user)}
    raise Unresolved(
        f"projected source {kind} is not supported by this node; it has configMap, secret, downwardAPI and "
        "serviceAccountToken"
    )


def _keys(ref: Ref, source: Mapping[str, Any], mode: int, sources: Sources) -> dict[str, File]:
    found = sources.objects.get(ref)
    if found is None:
        if source.get("optional"):
            return {}
        raise missing(ref)
    content = contents(found)
    items = source.get("items")
    if not items:
        return {key: File(value, mode) for key, value in content.items()}
    result: dict[str, File] = {}
    for item in items:
        key = item.get("key") or ""
        if key in content:
            result[item.get("path") or key] = File(content[key], _mode(item, mode))
        elif not source.get("optional"):
            raise Unresolved(f"references non-existent {ref.kind.lower()} key: {key}", ref)
    return result


def _downward(source: Mapping[str, Any], mode: int, sources: Sources) -> Iterable[tuple[str, File]]:
    for item in source.get("items") or ():
        if selector := item.get("fieldRef"):
            text = pod_field(selector.get("fieldPath") or "", sources)
        else:
            text = resource_field(item.get("resourceFieldRef") or {}, "", sources)
        yield item["path"], File(text.encode(errors="surrogateescape"), _mode(item, mode))


def _mode(item: Mapping[str, Any], default: int) -> int:
    mode = item.get("mode")
    return default if mode is None else int(mode)


def mounts(
    container: Mapping[str, Any],
    places: VolumePlaces,
    pod: Object,
    env: Mapping[str, str],
    images: Mapping[str, ImageRoot] = NO_IMAGES,
) -> tuple[Mount, ...]:
    """How `container` sees the pod's volumes, outermost first; `images` are those that volumes show, by their names.
    Raises Unresolved for a mount that can't be made."""
    volumes = {volume["name"]: volume for volume in meta.spec(pod).get("volumes") or ()}
    result: list[Mount] = []
    for entry in container.get("volumeMounts") or ():
        volume = volumes.get(entry["name"])
        if volume is None:
            raise Unresolved(f'volumeMounts names the volume "{entry["name"]}", which the pod does not have')
        kind, source = _source(volume)
        if kind == "image":
            shown = images[str(source.get("reference") or "")]
            result.append(Mount("", entry["mountPath"], read_only=True, sub_path=_sub_path(entry, env), image=shown))
            continue
        base = Path(source.get("path") or "/") if kind == "hostPath" else places.of(entry["name"])
        read_only = bool(entry.get("readOnly") or source.get("readOnly")) or kind in CONTENT
        follows = entry.get("mountPropagation") in ("HostToContainer", "Bidirectional")
        result.append(Mount(str(base), entry["mountPath"], read_only, _sub_path(entry, env), follows=follows))
    return tuple(sorted(result, key=lambda mount: mount.target.rstrip("/").count("/")))


def _sub_path(entry: Mapping[str, Any], env: Mapping[str, str]) -> str:
    """What of the volume a mount shows; links on the way are the sandbox's business. The words are the kubelet's."""
    inner = entry.get("subPath") or ""
    if expression := entry.get("subPathExpr"):
        inner = expand(expression, env)
        if "$(" in inner:
            raise Unresolved(f'subPathExpr "{expression}" names a variable that is not set')
    if inner.startswith("/"):
        raise Unresolved(f"error SubPath `{inner}` must not be an absolute path")
    if ".." in inner.split("/"):
        raise Unresolved(f"unable to provision SubPath `{inner}`: must not contain '..'")
    return str(inner)
