"""Where a container's directory lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from homeport.client.client import Client
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object
from homeport.node.claims import Claimed
from homeport.node.eventfiles import Place, locate
from homeport.node.volumes import VolumePlaces

PLACES = VolumePlaces(Path("/pods/u"), "u", {"claim": Claimed("/volumes/claim")})


def pod(*mounts: dict[str, Any]) -> Object:
    volumes = [
        {"name": "empty", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "host", "hostPath": {"path": "/data"}},
        {"name": "image", "image": {"reference": "x"}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "c"}},
    ]
    metadata = {"name": "p", "namespace": "default", "uid": "u"}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "main", "volumeMounts": mounts}], "volumes": volumes},
    }


def mount(name: str, path: str, **more: str) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **more}


async def place(pod: Object, directory: str, container: str = "main") -> Place:
    return await locate(cast(Client, None), pod, container, directory, PLACES)


@pytest.mark.parametrize(
    ("mounts", "directory", "wanted"),
    [
        ([mount("empty", "/logs")], "/logs", ("/pods/u/volumes/empty", ".")),
        ([mount("empty", "/logs/")], "/logs/a//b/", ("/pods/u/volumes/empty", "a/b")),
        ([mount("host", "/logs", subPath="x/y")], "/logs/a", ("/data", "x/y/a")),
        ([mount("host", "/"), mount("claim", "/logs")], "/logs/a", ("/volumes/claim", "a")),
        ([mount("host", "/"), mount("claim", "/logs")], "/logs2", ("/data", "logs2")),
    ],
)
async def test_a_directory_of_a_volume(mounts: list[Any], directory: str, wanted: tuple[str, str]) -> None:
    assert await place(pod(*mounts), directory) == Place(Path(wanted[0]), wanted[1])


@pytest.mark.parametrize(
    ("mounts", "directory", "told"),
    [
        ([], "/logs", "/logs of container main is not on a volume: mount one there, such as an emptyDir"),
        ([mount("empty", "/logs")], "/logs/../etc", "is not on a volume"),
        ([mount("empty", "/logs")], "logs", "logs has to be an absolute path in the container"),
        ([mount("memory", "/logs")], "/logs", "on volume memory, which is an emptyDir in memory: such are not read"),
        ([mount("image", "/logs")], "/logs", "on volume image, which is an image, or mounted with subPathExpr"),
        ([mount("empty", "/logs", subPathExpr="$(A)")], "/logs", "mounted with subPathExpr: such are not read"),
    ],
)
async def test_a_directory_that_is_not_read(mounts: list[Any], directory: str, told: str) -> None:
    with pytest.raises(BadRequest) as raised:
        await place(pod(*mounts), directory)
    assert told in raised.value.message


async def test_a_container_that_the_pod_does_not_have() -> None:
    with pytest.raises(BadRequest, match="container side is not valid for pod p"):
        await place(pod(), "/logs", "side")
