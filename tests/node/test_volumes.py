from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.node import emptydirs, hostpath, payload, sharedmemory, volumes
from homeport.node.payload import Giving
from homeport.node.references import Ref, Sources, Unresolved
from homeport.node.runtime import MemoryVolume
from homeport.node.tokens import Wish
from homeport.node.volumes import MountError, VolumePlaces

CONFIG = Ref("ConfigMap", "cfg")
SECRET = Ref("Secret", "sec")
OBJECTS: dict[Ref, Any] = {
    CONFIG: {
        "kind": "ConfigMap",
        "metadata": {"name": "cfg"},
        "data": {"a.txt": "alpha", "b.txt": "beta"},
        "binaryData": {"raw": base64.b64encode(b"\x00\xff").decode()},
    },
    SECRET: {"kind": "Secret", "metadata": {"name": "sec"}, "data": {"key": base64.b64encode(b"hush").decode()}},
}


def pod_with(*entries: dict[str, Any], mounts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    container = {"name": "main", "volumeMounts": mounts or [], "resources": {"limits": {"cpu": "2"}}}
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u-9", "labels": {"l": "1"}},
        "spec": {"volumes": list(entries), "containers": [container]},
    }


@pytest.fixture
def places(tmp_path: Path) -> Iterator[VolumePlaces]:
    places = VolumePlaces(tmp_path / "pod", f"test-{uuid.uuid4()}")
    yield places
    shutil.rmtree(places.memory, ignore_errors=True)


def set_up(places: VolumePlaces, pod: dict[str, Any], objects: dict[Ref, Any] | None = None) -> None:
    volumes.set_up(places, Sources(pod=pod, objects=OBJECTS if objects is None else objects))


def seen(directory: Path) -> dict[str, bytes]:
    """What a container would find there."""
    found = {}
    for root, _, names in os.walk(directory, followlinks=True):
        if "/.." not in root[len(str(directory)) :]:
            for name in names:
                path = Path(root, name)
                found[str(path.relative_to(directory))] = path.read_bytes()
    return found


def test_empty_dir(places: VolumePlaces) -> None:
    pod = pod_with({"name": "e", "emptyDir": {}})
    set_up(places, pod)
    (places.of("e") / "kept").write_text("1")
    set_up(places, pod)
    assert (places.of("e") / "kept").exists()
    assert places.of("e").stat().st_mode & 0o777 == 0o777


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_memory_is_not_put_where_others_can_reach_it(
    places: VolumePlaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setattr(sharedmemory, "_SHARED_MEMORY", tmp_path)
    places.memory.parent.mkdir()
    places.memory.parent.chmod(mode)
    with pytest.raises(MountError, match="not a directory of this user's alone"):
        set_up(places, pod_with({"name": "m", "secret": {"secretName": "sec"}}))
    assert not places.memory.exists()


def test_a_link_is_not_taken_for_the_memory_directory(
    places: VolumePlaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharedmemory, "_SHARED_MEMORY", tmp_path)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    places.memory.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MountError):
        set_up(places, pod_with({"name": "m", "secret": {"secretName": "sec"}}))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_path_that_no_system_call_takes_names_the_volume(places: VolumePlaces) -> None:
    with pytest.raises(MountError, match='volume "h"'):
        set_up(places, pod_with({"name": "h", "hostPath": {"path": "/a\0b"}}))


@pytest.mark.parametrize(
    ("of_volume", "of_pod", "size"),
    [("", "", 1 << 30), ("2Mi", "", 2 << 20), ("", "8Mi", 8 << 20), ("64Mi", "8Mi", 8 << 20), ("9Gi", "", 1 << 30)],
)
def test_empty_dirs_in_memory_hold_what_the_pod_may_use(
    places: VolumePlaces, of_volume: str, of_pod: str, size: int
) -> None:
    limit = {"sizeLimit": of_volume} if of_volume else {}
    pod = pod_with({"name": "m", "emptyDir": {"medium": "Memory", **limit}}, {"name": "e", "emptyDir": {}})
    pod["spec"]["containers"][0]["resources"] = {"limits": {"memory": of_pod} if of_pod else {}}
    found = emptydirs.memory_volumes(pod, places.directory, 1 << 30)
    assert found == (MemoryVolume(str(places.of("m")), size),)
    set_up(places, pod)
    assert places.of("m").is_dir()


def test_there_are_no_huge_pages(places: VolumePlaces) -> None:
    with pytest.raises(MountError, match='storage medium "HugePages" is not supported'):
        set_up(places, pod_with({"name": "m", "emptyDir": {"medium": "HugePages"}}))


def test_what_is_nobodys_in_memory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharedmemory, "_SHARED_MEMORY", tmp_path)
    homes = {name: tmp_path / "pods" / name for name in ("here", "gone", "elsewhere")}
    for name, home in homes.items():
        home.mkdir(parents=True)
        sharedmemory.put(home / "volumes" / "v", sharedmemory.place_of(name) / "v", home)
    shutil.rmtree(homes["gone"])
    shutil.rmtree(homes["elsewhere"])
    # By a platform that sees other directories.
    (sharedmemory.place_of("elsewhere") / ".view").unlink()
    (sharedmemory.place_of("elsewhere") / ".view").symlink_to("mnt:[1]")
    # By versions that did not say whose it is.
    for name in ("old", "used"):
        (sharedmemory.place_of(name) / "v").mkdir(parents=True)
    root = f"/homeport-{os.geteuid()}/used/v"
    monkeypatch.setattr(sharedmemory, "_mounted", lambda: f"1 2 0:3 {root} /secrets rw - tmpfs tmpfs rw")
    assert sharedmemory.abandoned() == [sharedmemory.place_of("gone")]
    monkeypatch.setattr(sharedmemory, "_UNOWNED_SECONDS", -1.0)
    assert set(sharedmemory.abandoned()) == {sharedmemory.place_of("gone"), sharedmemory.place_of("old")}


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs shared memory")
def test_secrets_and_tokens_lie_in_memory(places: VolumePlaces) -> None:
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 700, "audience": "vault"}}
    pod = pod_with(
        {"name": "s", "secret": {"secretName": "sec"}},
        {"name": "t", "projected": {"sources": [token, {"configMap": {"name": "cfg"}}]}},
        {"name": "c", "configMap": {"name": "cfg"}},
    )
    for text in ("one", "another"):
        volumes.set_up(places, Sources(pod=pod, objects=OBJECTS, tokens={Wish("vault", 700): text}))
        assert seen(places.of("t"))["token"] == text.encode()
    for name, expected in (("s", True), ("t", True), ("c", False)):
        assert places.of(name).resolve().is_relative_to("/dev/shm") is expected
    sharedmemory.forget(places.pod_directory.parent)
    assert not places.memory.exists()
    assert seen(places.of("c"))
    volumes.set_up(places, Sources(pod=pod, objects=OBJECTS, tokens={Wish("vault", 700): "new"}))
    assert seen(places.of("t"))["token"] == b"new"


def test_config_map_with_modes_and_binary_data(places: VolumePlaces) -> None:
    pod = pod_with({"name": "c", "configMap": {"name": "cfg", "defaultMode": 0o640}})
    set_up(places, pod)
    assert seen(places.of("c")) == {"a.txt": b"alpha", "b.txt": b"beta", "raw": b"\x00\xff"}
    assert (places.of("c") / "a.txt").stat().st_mode & 0o777 == 0o640
    assert os.readlink(places.of("c") / "a.txt") == "..data/a.txt"


def test_items_choose_rename_and_nest(places: VolumePlaces) -> None:
    items = [{"key": "b.txt", "path": "deep/er/x", "mode": 0o400}]
    set_up(places, pod_with({"name": "c", "configMap": {"name": "cfg", "items": items}}))
    assert seen(places.of("c")) == {"deep/er/x": b"beta"}
    assert (places.of("c") / "deep/er/x").stat().st_mode & 0o777 == 0o400


def test_changes_replace_everything_at_once(places: VolumePlaces) -> None:
    pod = pod_with({"name": "c", "configMap": {"name": "cfg"}})
    set_up(places, pod)
    before = os.readlink(places.of("c") / "..data")
    set_up(places, pod)
    assert os.readlink(places.of("c") / "..data") == before, "nothing changed, nothing moved"
    changed = {CONFIG: {"kind": "ConfigMap", "metadata": {"name": "cfg"}, "data": {"a.txt": "new", "c": "3"}}}
    set_up(places, pod, changed)
    assert seen(places.of("c")) == {"a.txt": b"new", "c": b"3"}
    assert sorted(p.name for p in places.of("c").iterdir() if not p.name.startswith("..")) == ["a.txt", "c"]
    assert not (places.of("c") / before).exists()


def test_secret_and_projected(places: VolumePlaces) -> None:
    sources = [
        {"configMap": {"name": "cfg", "items": [{"key": "a.txt", "path": "a"}]}},
        {"secret": {"name": "sec"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {
            "downwardAPI": {
                "items": [
                    {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}},
                ]
            }
        },
        {"configMap": {"name": "nope", "optional": True}},
    ]
    set_up(
        places,
        pod_with({"name": "s", "secret": {"secretName": "sec"}}, {"name": "p", "projected": {"sources": sources}}),
    )
    assert seen(places.of("s")) == {"key": b"hush"}
    assert seen(places.of("p")) == {"a": b"alpha", "key": b"hush", "labels": b'l="1"', "cpu": b"2"}


@pytest.mark.parametrize(
    ("volume", "message", "waits_for"),
    [
        ({"configMap": {"name": "no"}}, 'configmap "no" not found', Ref("ConfigMap", "no")),
        ({"secret": {"secretName": "no"}}, 'secret "no" not found', Ref("Secret", "no")),
        (
            {"configMap": {"name": "cfg", "items": [{"key": "z", "path": "z"}]}},
            "references non-existent configmap key: z",
            CONFIG,
        ),
        ({"nfs": {"server": "x", "path": "/"}}, "type nfs are not supported", None),
        ({"hostPath": {"path": "../x"}}, "must be absolute", None),
        ({"hostPath": {"path": "/", "type": "File"}}, "hostPath type check failed: / is not a file", None),
        ({"hostPath": {"path": "/nonexistent-path", "type": "Directory"}}, "is not a directory", None),
        ({"hostPath": {"path": "/", "type": "Folder"}}, 'unknown hostPath type "Folder"', None),
        ({"configMap": {"name": "cfg", "items": [{"key": "a.txt", "path": "../a"}]}}, "invalid path", None),
    ],
)
def test_what_fails_says_why(places: VolumePlaces, volume: dict[str, Any], message: str, waits_for: Ref | None) -> None:
    with pytest.raises(MountError) as caught:
        set_up(places, pod_with({"name": "v", **volume}))
    assert 'volume "v"' in str(caught.value)
    assert message in str(caught.value)
    assert caught.value.waits_for == waits_for


def test_host_path_types(tmp_path: Path) -> None:
    hostpath.check(str(tmp_path / "made"), "DirectoryOrCreate")
    hostpath.check(str(tmp_path / "made"), "Directory")
    hostpath.check(str(tmp_path / "file"), "FileOrCreate")
    hostpath.check(str(tmp_path / "file"), "File")
    hostpath.check(str(tmp_path / "any"), "")
    assert (tmp_path / "any").is_dir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        hostpath.check(str(tmp_path / "sock"), "Socket")
    hostpath.check("/dev/null", "CharDevice")


def mounts_of(places: VolumePlaces, pod: dict[str, Any], env: dict[str, str] | None = None) -> Any:
    return volumes.mounts(pod["spec"]["containers"][0], places, pod, env or {})


def test_mounts_are_sorted_and_read_only_where_they_must_be(places: VolumePlaces, tmp_path: Path) -> None:
    pod = pod_with(
        {"name": "e", "emptyDir": {}},
        {"name": "c", "configMap": {"name": "cfg"}},
        {"name": "h", "hostPath": {"path": str(tmp_path)}},
        mounts=[
            {"name": "c", "mountPath": "/data/conf"},
            {"name": "e", "mountPath": "/data"},
            {"name": "h", "mountPath": "/host", "readOnly": True},
            {"name": "c", "mountPath": "/etc/one", "subPath": "a.txt"},
            {"name": "e", "mountPath": "/sub", "subPathExpr": "$(WHO)/x"},
        ],
    )
    set_up(places, pod)
    by_target = {m.target: m for m in mounts_of(places, pod, {"WHO": "me"})}
    assert list(by_target)[:3] == ["/data", "/host", "/sub"]
    assert by_target["/data"].read_only is False
    assert by_target["/data/conf"].read_only is True
    assert by_target["/host"].read_only is True
    assert (Path(by_target["/etc/one"].source), by_target["/etc/one"].sub_path) == (places.of("c"), "a.txt")
    assert (Path(by_target["/sub"].source), by_target["/sub"].sub_path) == (places.of("e"), "me/x")


@pytest.mark.parametrize(
    ("sub_path", "why"),
    [
        ("../x", "unable to provision SubPath `../x`: must not contain '..'"),
        ("a/../../x", "unable to provision SubPath `a/../../x`: must not contain '..'"),
        ("/etc", "error SubPath `/etc` must not be an absolute path"),
    ],
)
def test_a_sub_path_stays_in_its_volume(places: VolumePlaces, sub_path: str, why: str) -> None:
    pod = pod_with({"name": "e", "emptyDir": {}}, mounts=[{"name": "e", "mountPath": "/m", "subPath": sub_path}])
    with pytest.raises(Unresolved, match=re.escape(why)):
        mounts_of(places, pod)
    by_expression = {"name": "e", "mountPath": "/m", "subPathExpr": "$(X)"}
    pod = pod_with({"name": "e", "emptyDir": {}}, mounts=[by_expression])
    with pytest.raises(Unresolved, match=re.escape(why)):
        mounts_of(places, pod, {"X": sub_path})


def test_mount_of_a_volume_that_is_not_there(places: VolumePlaces) -> None:
    with pytest.raises(Unresolved, match='"x", which the pod does not have'):
        mounts_of(places, pod_with(mounts=[{"name": "x", "mountPath": "/x"}]))
    pod = pod_with({"name": "e", "emptyDir": {}}, mounts=[{"name": "e", "mountPath": "/m", "subPathExpr": "$(NO)"}])
    set_up(places, pod)
    with pytest.raises(Unresolved, match="not set"):
        mounts_of(places, pod)


def test_a_group_gets_files_before_they_are_shown(places: VolumePlaces) -> None:
    pod = pod_with({"name": "s", "secret": {"secretName": "sec", "defaultMode": 0o400}})
    given: list[bool] = []

    def give(path: Path) -> None:
        given.append((places.of("s") / "..data").resolve() == path)
        (path / "key").chmod(0o440)

    for _ in range(2):
        volumes.set_up(places, Sources(pod=pod, objects=OBJECTS), Giving(lambda _path, _user: None, give))
    assert given == [False]  # not shown yet, and no second time
    assert (places.of("s") / "key").stat().st_mode & 0o777 == 0o440


@pytest.mark.parametrize(
    ("pod_context", "containers", "init", "expected"),
    [
        # The cases of upstream's e2e test of ownership, and those of its unit test.
        ({}, [{}], [], (0o644, None)),
        ({"runAsUser": 1000}, [{}], [], (0o600, 1000)),
        ({"runAsUser": 1000, "fsGroup": 1000}, [{}], [], (0o600, 1000)),
        ({"fsGroup": 1000}, [{}], [], (0o600, None)),
        ({}, [{"runAsUser": 1000}], [], (0o600, 1000)),
        ({}, [{"runAsUser": 1000}, {}], [], (0o644, None)),
        ({"runAsUser": 1000}, [{"runAsUser": 1001}], [{}], (0o644, None)),
        ({}, [{"runAsUser": 7}], [{"runAsUser": 7}], (0o600, 7)),
    ],
)
def test_whose_a_token_is(
    pod_context: Any, containers: list[Any], init: list[Any], expected: tuple[int, int | None]
) -> None:
    volume = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    spec = {
        "securityContext": pod_context,
        "containers": [{"name": f"c{i}", "securityContext": context} for i, context in enumerate(containers)],
        "initContainers": [{"name": f"i{i}", "securityContext": context} for i, context in enumerate(init)],
        "volumes": [volume],
    }
    found = volumes.files(volume, Sources(pod={"spec": spec}, tokens={Wish("", 3600): "T"}))["token"]
    assert (found.content, found.mode, found.user) == (b"T", *expected)


def test_a_user_gets_a_file_before_it_is_shown(tmp_path: Path) -> None:
    given: list[tuple[str, int]] = []
    giving = Giving(lambda path, user: given.append((path.name, user)))
    content = {"token": payload.File(b"T", 0o600, 7), "ca": payload.File(b"C")}
    for _ in range(2):
        payload.write(tmp_path / "v", content, giving)
    assert given == [("token", 7)]
