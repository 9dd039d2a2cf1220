"""Which addresses of the loopback nodes of one machine have."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from homeport.node.plain import blocks


def node(tmp_path: Path, name: str) -> str:
    directory = tmp_path / name
    directory.mkdir()
    return str(directory)


def test_a_node_keeps_its_own(tmp_path: Path) -> None:
    place, one = str(tmp_path / "claim-"), node(tmp_path, "one")
    first = blocks.claim(one, place=place)
    assert blocks.claim(one, place=place) == first == blocks.recorded(one)
    for claim in tmp_path.glob("claim-*"):  # as when the machine was restarted
        claim.unlink()
    assert blocks.claim(one, place=place) == first


def test_two_nodes_that_would_have_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_first", lambda _directory: blocks.FIRST)
    place, one, two, three = (str(tmp_path / "claim-"), *(node(tmp_path, name) for name in ("one", "two", "three")))
    found = [blocks.claim(each, place=place) for each in (one, two)]
    assert [str(each) for each in found] == ["127.16.0.0/16", "127.17.0.0/16"]
    shutil.rmtree(one)  # and with the directory goes the claim
    assert blocks.claim(three, place=place) == found[0]


def test_one_that_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "COUNT", 1)
    place, one, two = str(tmp_path / "claim-"), node(tmp_path, "one"), node(tmp_path, "two")
    first = blocks.claim(one, place=place)
    blocks.release(two, place=place)  # whose it is not
    with pytest.raises(OSError, match="belongs to another node"):
        blocks.claim(two, place=place)
    blocks.release(one, place=place)
    assert blocks.claim(two, place=place) == first


def test_what_others_put_in_the_place_of_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_first", lambda _directory: blocks.FIRST)
    place, one = str(tmp_path / "claim-"), node(tmp_path, "one")
    os.mkfifo(f"{place}{blocks.FIRST}")
    Path(f"{place}{blocks.FIRST + 1}").symlink_to(one)
    Path(f"{place}{blocks.FIRST + 2}").write_bytes(b"no\0path")
    assert str(blocks.claim(one, place=place)) == "127.18.0.0/16"


def test_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_first", lambda _directory: blocks.FIRST)
    place, nodes = str(tmp_path / "claim-"), [node(tmp_path, str(number)) for number in range(8)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.starmap(claim, [(each, place) for each in nodes])
    assert len(set(found)) == len(nodes)


def claim(directory: str, place: str) -> str:
    return str(blocks.claim(directory, place=place))


def test_none_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "COUNT", 1)
    place = str(tmp_path / "claim-")
    blocks.claim(node(tmp_path, "one"), place=place)
    with pytest.raises(OSError, match="belongs to another node"):
        blocks.claim(node(tmp_path, "two"), place=place)


def test_a_loopback_with_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "has_loopback", lambda: False)
    assert blocks.claim(node(tmp_path, "one"), place=str(tmp_path / "claim-")) == blocks.SHARED
