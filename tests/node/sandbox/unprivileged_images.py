"""What an ordinary user must be able to do with images; run by test_local_images.py as one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import unprivileged

from homeport.node.images import ImageStore
from homeport.node.local.load import load
from homeport.node.sandbox import idmap


async def main(directory: Path) -> None:
    store = ImageStore(directory / "images", cache=directory / "cache")
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
    finally:
        await node.runtime.stop(end_pods=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    print("done")
