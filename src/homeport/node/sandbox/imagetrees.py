"""The tree of an image as a volume: its layers merged as for a container, and what else the image has."""

from __future__ import annotations

import os
import stat

from homeport.node.sandbox import linux, mounts, overlays, spec
from homeport.node.sandbox.mounts import NotYet

_REASON = "CreateContainerError"
"""Upstream images are mounted by the container runtime, when it makes the container."""


def make(tree: spec.ImageTree, place: str, *, user_xattr: bool) -> None:
    """Mount the tree at `place`, which is made, with directories beside it; in a mount namespace that ends with the
    container. To be attached for reading only. Raises NotYet, OSError."""
    for path in (*tree.layers, *(source for source, _ in tree.shown)):
        if not os.path.exists(path):
            raise NotYet(f"{path}, which the image of a volume is made of, is not there", _REASON)
    own, work = f"{place}-own", f"{place}-work"
    for path in (place, own, work):
        os.mkdir(path, 0o755)
    if tree.layers:
        # The kernel takes 4 KB of options: the layers are named relative to the directory that they are in.
        os.chdir(os.path.dirname(tree.layers[0]))
        options = f"lowerdir={overlays.joined(tree.layers)},upperdir={overlays.escape(own)}"
        options += f",workdir={overlays.escape(work)},volatile" + (",userxattr" if user_xattr else "")
        linux.mount("overlay", place, "overlay", linux.MS_NODEV, options)
    else:
        linux.mount(own, place, "", linux.MS_BIND)
    root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for source, target in tree.shown:
            _show(root, source, target)
    finally:
        os.close(root)


def check_part(place: str, sub_path: str) -> None:
    """Nothing can be made in an image where something is missing. Raises NotYet."""
    root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(linux.open_at(root, sub_path, os.O_PATH, linux.RESOLVE_BENEATH | linux.RESOLVE_NO_MAGICLINKS))
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise NotYet(f"subPath {sub_path} of the volume's image: {reason}", _REASON) from None
    finally:
        os.close(root)


def _show(root: int, source: str, target: str) -> None:
    """Links among the layers lead where they lead in the image, and never out of it."""
    opened = [os.open(source, os.O_PATH | os.O_CLOEXEC)]
    try:
        is_directory = stat.S_ISDIR(os.fstat(opened[0]).st_mode)
        opened.append(mounts.open_below(root, target, is_directory=is_directory))
        opened.append(linux.open_tree(opened[0]))
        linux.move_mount(opened[2], opened[1])
    finally:
        for descriptor in opened:
            os.close(descriptor)
