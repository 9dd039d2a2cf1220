"""How a container wants to be asked to end."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from homeport.node.environment import ImageConfig
from homeport.node.host import Image, ImageError
from homeport.node.pod import Member, Role
from homeport.node.pulls import Pulls
from homeport.node.runtime import ImageRoot


class Images:
    """Where one image is ready that wants SIGQUIT, and others are not."""

    def ready(self, name: str) -> Image | None:
        if name == "gone":
            raise ImageError("it has gone")
        return Image(name, ImageRoot(), ImageConfig(stop_signal="SIGQUIT")) if name == "quits" else None


def unused(*_arguments: Any) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("image", "own", "wanted"),
    [
        ("quits", {}, signal.SIGQUIT),
        ("quits", {"lifecycle": {"stopSignal": "SIGTERM"}}, signal.SIGTERM),
        ("not ready", {}, signal.SIGTERM),
        ("gone", {}, signal.SIGTERM),
    ],
)
def test_the_image_is_asked_unless_the_pod_says(image: str, own: dict[str, Any], wanted: int) -> None:
    pulls = Pulls(Images(), unused, unused, launch=unused, note=unused, wake=unused)  # type: ignore[arg-type]
    member = Member("main", Role.MAIN, {"name": "main", "image": image, **own})
    assert pulls.stop_signal(member) == wanted


def test_of_a_container_that_the_pod_has_no_more() -> None:
    pulls = Pulls(Images(), unused, unused, launch=unused, note=unused, wake=unused)  # type: ignore[arg-type]
    assert pulls.stop_signal(None) == signal.SIGTERM
