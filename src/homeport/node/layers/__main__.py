"""The program that works on layers: a request a line (JSON) on its input, an answer a line on its output.

It is started by its path and isolated (``-I -S``), so that nothing is loaded that it does not need.

As an ordinary user it becomes root of a user namespace first, with the ids that the user's pods have.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit(os.sep, 4)[0])

from homeport.node.layers import commit, copying, ignore, pack, unpack
from homeport.node.layers.attributes import LayerError
from homeport.node.layers.stack import Stack
from homeport.node.layers.writing import Layer
from homeport.node.sandbox import idmap, linux, trees

_REPORT_BYTES = 32 << 20


def _stack(message: dict[str, Any]) -> Stack:
    """Of a request's ``stack``, or of what is one itself."""
    message = message.get("stack", message)
    return Stack(message["layers"], message.get("mounted"))


def _new(message: dict[str, Any]) -> Layer:
    os.mkdir(message["directory"], 0o755)
    return Layer(message["directory"], _stack(message["below"]))


def _settle(layer: Layer) -> None:
    """A layer counts as whole once its name is on the disk: what is in it has to be there before."""
    linux.sync_file_system(layer.directory)


def _finished(layer: Layer) -> dict[str, Any]:
    """The digest of a layer that was made here; none of an empty one."""
    if not os.listdir(layer.directory):
        os.rmdir(layer.directory)
        return {"diff_id": "", "bytes": 0}
    packed = pack.pack(layer.directory)
    _settle(layer)
    return {"diff_id": packed.diff_id, "bytes": packed.bytes}


def _unpack(message: dict[str, Any]) -> dict[str, Any]:
    layer = _new(message)
    reported = 0

    def progress(count: int) -> None:
        nonlocal reported
        if count - reported >= _REPORT_BYTES:
            reported = count
            _say({"progress": count})

    limits = unpack.Limits(**message.get("limits", {}))
    with open(message["archive"], "rb") as file:
        file.seek(message.get("offset", 0))
        part: Any = unpack.Part(file, message["size"]) if "size" in message else file
        kind = unpack.compression(part.read(8))
        part.seek(0)
        with unpack.open_compressed(part, kind) as plain:
            made = unpack.unpack(plain, layer, limits=limits, progress=progress)
    _settle(layer)
    return made._asdict()


def _sources(message: dict[str, Any]) -> tuple[Stack, ignore.Ignore, list[copying.Source]]:
    stack = _stack(message)
    ignored = ignore.Ignore(message.get("ignore", ()))
    return stack, ignored, copying.sources(stack, ignored, message["sources"])


def _digest(message: dict[str, Any]) -> dict[str, Any]:
    return {"digest": copying.digest(*_sources(message))}


def _copy(message: dict[str, Any]) -> dict[str, Any]:
    stack, ignored, chosen = _sources(message)
    layer = _new(message)
    options = copying.Options(tuple(message["owner"]), message["mode"], message["unpacks"])
    copying.copy(stack, ignored, chosen, layer, message["target"], options)
    return _finished(layer)


def _make_directory(message: dict[str, Any]) -> dict[str, Any]:
    layer = _new(message)
    path = layer.whole.resolve(message["path"])
    if layer.whole.find(path) is None:
        layer.make_directories(path, uid=message["owner"][0], gid=message["owner"][1])
    return _finished(layer)


def _commit(message: dict[str, Any]) -> dict[str, Any]:
    layer = _new(message)
    commit.commit(message["uppers"], layer, mounted=message["mounted"])
    return _finished(layer)


def _pack(message: dict[str, Any]) -> dict[str, Any]:
    with open(message["archive"], "wb") as file:
        packed = pack.pack(message["directory"], file)
    return packed._asdict()


def _pack_all(message: dict[str, Any]) -> dict[str, Any]:
    with open(message["archive"], "wb") as file:
        packed = pack.pack_all(_stack(message), file)
    return packed._asdict()


def _read(message: dict[str, Any]) -> dict[str, Any]:
    """A small file of the image, such as /etc/passwd."""
    stack = _stack(message)
    found = stack.find(stack.resolve(message["path"]))
    if found is None or found.is_directory or found.status.st_size > message["limit"]:
        return {"text": None}
    with open(found.real, encoding="utf-8", errors="replace") as file:
        return {"text": file.read(message["limit"])}


def _remove(message: dict[str, Any]) -> dict[str, Any]:
    for path in message["paths"]:
        trees.remove(path)
    return {}


def _export(message: dict[str, Any]) -> dict[str, Any]:
    """All of an image as one directory, as far as its files may be the caller's."""
    stack, target = _stack(message), message["directory"]
    os.mkdir(target, 0o755)
    layer = Layer(target, Stack([]))
    for relative, found in stack.walk("/"):
        owner = (found.status.st_uid, found.status.st_gid)
        copying.one(layer, f"/{relative}", found, copying.Options(owner))
    return {}


_OPERATIONS = {
    "unpack": _unpack,
    "digest": _digest,
    "copy": _copy,
    "directory": _make_directory,
    "commit": _commit,
    "pack": _pack,
    "pack-all": _pack_all,
    "read": _read,
    "remove": _remove,
    "export": _export,
}


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _answer(message: dict[str, Any]) -> None:
    try:
        _say({"done": _OPERATIONS[message["op"]](message)})
    except LayerError as error:
        _say({"error": str(error)})
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _say({"error": "the disk is full: free some space and try again"})
        else:
            where = f"{error.filename}: " if error.filename else ""
            _say({"error": f"{where}{(error.strerror or str(error)).lower()}"})


def _serve() -> int:
    os.umask(0o022)
    for line in sys.stdin:
        _answer(json.loads(line))
    return 0


def main() -> int:
    """In a child, so that somebody is left outside its user namespace who may map ids into it."""
    linux.die_with_parent(signal.SIGKILL)
    if os.geteuid() == 0:
        return _serve()
    needs_map, mapped = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(needs_map[0])
        os.close(mapped[1])
        os._exit(_in_user_namespace(needs_map[1], mapped[0]))
    os.close(needs_map[1])
    os.close(mapped[0])
    if os.read(needs_map[0], 1):
        os.write(mapped[1], b"y" if idmap.map_ranges(pid) else b"n")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _in_user_namespace(needs_map: int, mapped: int) -> int:
    def map_from_outside() -> bool:
        os.write(needs_map, b"?")
        return os.read(mapped, 1) == b"y"

    try:
        idmap.enter(map_from_outside)
    except OSError as error:
        _say({"refused": f"no user namespace can be made: {error.strerror}"})
        return 1
    linux.die_with_parent(signal.SIGKILL)
    return _serve()


if __name__ == "__main__":
    sys.exit(main())
