"""What an ordinary user must be able to do with images; run by test_local_images.py as one."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import unprivileged

from homeport.node import imagesweep
from homeport.node.dockerfile.builder import Request, build
from homeport.node.imagefile import STOCK
from homeport.node.images import ImageStore
from homeport.node.local.load import load
from homeport.node.sandbox import idmap

DOCKERFILE = """
FROM busybox
RUN echo ran as $(id -u) > /ran && touch /gone
RUN rm /gone
COPY --chown=7:7 file /copied
"""


class Silent:
    def begin(self, title: str) -> None:
        pass

    def output(self, line: str) -> None:
        pass

    def end(self, seconds: float, *, cached: bool) -> None:
        pass


def print_nothing(text: str) -> None:
    pass


async def main(directory: Path) -> None:
    store = ImageStore(directory / "images", cache=directory / "cache")
    # Images with a Python would need uv, which is not there.
    (directory / "images").mkdir()
    shutil.copy(STOCK / "base.yaml", directory / "images")
    store.directories = (directory / "images",)
    await load(store.local, directory / "little.tar")
    image = store.ready("little:1")
    assert image is not None
    node = unprivileged.Node(directory)
    await node.runtime.start()
    try:
        config = image.config
        # Without a range of ids there is one user only, and the image's files are root's.
        ids = (
            {"uid": config.uid, "gid": config.gid, "groups": config.groups} if idmap.read_ranges("/etc/subuid") else {}
        )
        env = {**config.env, "HOME": config.home if ids else "/tmp"}
        code, text = await node.run("loaded", *config.args, image=image.root, env=env, **ids)
        uid = 1000 if ids else 0
        assert (code, text.split("\n")[1:]) == (0, ["f", str(uid)]), (code, text)
        assert text.startswith(f"uid={uid}("), text

        sandbox = await node.create("sleeps")
        await node.start(sandbox, "sleep", "1000", image=image.root, env=env, **ids)
        (entry,) = [entry for entry in imagesweep.entries(store) if entry.kind == "layers"]
        assert entry.containers == 1, entry
        await sandbox.destroy()

        context = directory / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(DOCKERFILE)
        (context / "file").write_text("from the context\n")
        request = Request(context=context, dockerfile=context / "Dockerfile", names=("made:1",))
        record = await build(store, request, Silent())
        made = store.ready("made:1")
        assert made is not None
        argv = ("sh", "-c", "cat /copied /ran; stat -c %u /copied; test -e /gone || echo gone")
        code, text = await node.run("made", *argv, image=made.root, env=dict(made.config.env))
        assert (code, text) == (0, f"from the context\nran as 0\n{7 if ids else 0}\ngone"), (code, text)
        assert record.base is not None
        await imagesweep.sweep(store, print_nothing, everything=True)
        assert imagesweep.remove_name(store, "made:1")
        assert imagesweep.remove_name(store, "little:1")
        await imagesweep.sweep(store, print_nothing, everything=True)
        assert list((store.local.directory / "layers").iterdir()) == []
    finally:
        await node.runtime.stop(end_pods=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    print("done")
