"""Where the files of containers without a root of their own are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from homeport.node.plain.places import Links, make_environment, replace
from homeport.node.plain.supervisor import give_tree
from homeport.node.sandbox.container import StartFailure
from homeport.node.sandbox.mounts import NotYet
from homeport.node.sandbox.spec import ImageTree, Mounted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/opt/venv/bin/python", "/e/bin/python"),
        ("/opt/venv/bin:/usr/bin", "/e/bin:/usr/bin"),
        ("/usr/bin:/opt/venv", "/usr/bin:/e"),
        ("--dir=/app/x", "--dir=/s/x"),
        ("/opt/venv2", "/opt/venv2"),
        ("/my/app", "/my/app"),
        ("application", "application"),
    ],
)
def test_paths_of_an_image_are_replaced_by_the_real_ones(text: str, expected: str) -> None:
    assert replace(text, {"/opt/venv": "/e", "/app": "/s"}) == expected


def test_a_tree_is_given_from_its_leaves_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "tool").touch()
    (tmp_path / "venv" / "share").symlink_to("/usr/share")
    given: list[str] = []
    monkeypatch.setattr(os, "chown", lambda path, *_ids, **_options: given.append(os.path.relpath(path, tmp_path)))
    give_tree(str(tmp_path), 1000, 1000)
    assert sorted(given) == [".", "venv", "venv/bin", "venv/bin/tool", "venv/share"]
    for inside, around in (("venv/bin/tool", "venv/bin"), ("venv/bin", "venv"), ("venv/share", "venv"), ("venv", ".")):
        assert given.index(inside) < given.index(around)


def test_an_environment_over_another(tmp_path: Path) -> None:
    image, place = tmp_path / "image", tmp_path / "place"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", image], check=True)
    (packages,) = image.glob("lib/python*/site-packages")
    (packages / "theirs.py").write_text("found = 'in the image'\n")
    make_environment(str(image), str(place))
    (own,) = place.glob("lib/python*/site-packages")
    (own / "ours.py").write_text("found = 'our own'\n")
    script = "import sys, ours, theirs; print(sys.prefix, ours.found, theirs.found, sep='|')"
    done = subprocess.run([place / "bin" / "python", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip().split("|") == [str(place), "our own", "in the image"]
    assert not (packages / "ours.py").exists()


def test_volumes_appear_where_nothing_is_as_long_as_a_pod_needs_them(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "data" / "sets"
    source.mkdir()
    one, two = Links(str(tmp_path / "node"), "one"), Links(str(tmp_path / "node"), "two")
    mounted = Mounted(str(source), str(target), False)
    one.show([mounted])
    two.show([mounted])
    assert target.readlink() == source
    one.release()
    assert target.is_symlink()
    two.release()
    assert not target.is_symlink()


def test_volumes_have_no_place_where_something_is(tmp_path: Path) -> None:
    source, other, target = tmp_path / "source", tmp_path / "other", tmp_path / "target"
    source.mkdir()
    other.mkdir()
    links = Links(str(tmp_path / "node"), "one")
    links.show([Mounted(str(source), str(target), False), Mounted(str(source), str(source), False)])
    with pytest.raises(StartFailure, match="exists on this machine"):
        links.show([Mounted(str(other), str(target), False)])
    with pytest.raises(StartFailure, match="exists on this machine"):
        links.show([Mounted(str(other), "/etc", False)])
    with pytest.raises(StartFailure, match="can't be given to a volume"):
        links.show([Mounted(str(other), "/proc/data", False)])
    with pytest.raises(NotYet, match="leads out of the volume"):
        links.show([Mounted(str(source), str(tmp_path / "new"), False, "../other")])
    image = ImageTree([str(source)], [])
    with pytest.raises(NotYet, match="no such file or directory"):
        links.show([Mounted("", str(tmp_path / "new"), True, "made", image=image)])
    assert not list(source.iterdir())  # nothing is made in an image
    links.release()
    assert source.is_dir()
