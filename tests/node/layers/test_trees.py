"""Trees of files through archives and back, and many layers looked at as one."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.node.layers.attributes import is_opaque, is_whiteout, make_opaque, make_whiteout
from homeport.node.layers.pack import pack
from homeport.node.layers.stack import Stack
from homeport.node.layers.unpack import unpack
from homeport.node.layers.writing import Layer

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
ACTIONS = st.tuples(st.sampled_from(["file", "directory", "link", "whiteout", "opaque"]), PATHS)
LAYER = st.lists(ACTIONS, max_size=8)


def make(directory: Path, actions: list[tuple[str, str]]) -> None:
    """A layer in which each action is done that can be."""
    directory.mkdir()
    for number, (kind, inside) in enumerate(actions):
        path = directory / inside
        if any(os.path.lexists(parent) and not parent.is_dir() for parent in path.parents) or any(
            parent.is_symlink() for parent in path.parents
        ):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "opaque" and path.is_dir() and not path.is_symlink():
            make_opaque(str(path))
        if os.path.lexists(path):
            continue
        if kind == "file":
            path.write_text(str(number))
            path.chmod(0o600 + number)
        elif kind in ("directory", "opaque"):
            path.mkdir()
        elif kind == "link":
            path.symlink_to("../a" if number % 2 else "/b/c")
        else:
            make_whiteout(str(path))


def seen(stack: Stack) -> dict[str, str]:
    """All that a container would see, with contents."""
    result = {}
    for path, found in stack.walk("/"):
        text = os.readlink(found.real) if found.is_link else "" if found.is_directory else Path(found.real).read_text()
        result[path] = f"{oct(found.status.st_mode)} {text}"
    return result


def applied(layers: list[Path]) -> dict[str, str]:
    """The same worked out by the definition: layer after layer from the lowest."""
    result: dict[str, str] = {}

    def forget(path: str, *, itself: bool) -> None:
        for other in [other for other in result if other.startswith(f"{path}/") or (itself and other == path)]:
            del result[other]

    for layer in layers:
        base = Stack([str(layer)])
        for at, directories, files in os.walk(layer):
            for name in (*directories, *files):
                real = os.path.join(at, name)
                path = os.path.relpath(real, layer)
                status = os.lstat(real)
                if is_whiteout(status):
                    forget(path, itself=True)
                    continue
                found = base.find(f"/{path}")
                assert found is not None
                was_directory = result.get(path, "").startswith("0o40")
                if not found.is_directory or not was_directory or is_opaque(real):
                    forget(path, itself=True)
                text = os.readlink(real) if found.is_link else "" if found.is_directory else Path(real).read_text()
                result[path] = f"{oct(status.st_mode)} {text}"
    return result


@settings(max_examples=60, deadline=None)
@given(st.lists(LAYER, min_size=1, max_size=4))
def test_many_layers_look_as_they_do_one_after_another(layers: list[list[tuple[str, str]]]) -> None:
    base = Path(tempfile.mkdtemp())
    try:
        for number, actions in enumerate(layers):
            make(base / str(number), actions)
        made = [base / str(number) for number in range(len(layers))]
        assert seen(Stack([str(path) for path in reversed(made)])) == applied(made)
    finally:
        shutil.rmtree(base)


@settings(max_examples=60, deadline=None)
@given(LAYER)
def test_a_layer_comes_back_from_its_archive(actions: list[tuple[str, str]]) -> None:
    base = Path(tempfile.mkdtemp())
    try:
        make(base / "first", actions)
        archive = io.BytesIO()
        packed = pack(str(base / "first"), archive)
        (base / "second").mkdir()
        archive.seek(0)
        made = unpack(archive, Layer(str(base / "second"), Stack([])))
        assert made.diff_id == packed.diff_id
        assert pack(str(base / "second")) == packed
    finally:
        shutil.rmtree(base)
