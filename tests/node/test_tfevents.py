"""Event files, byte by byte: what programs write, cut off and broken in every place."""

from __future__ import annotations

import base64
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.kube.errors import BadRequest
from homeport.node import eventfiles, tfevents
from homeport.node.eventfiles import Place, look
from homeport.node.tfevents import Broken, Scalar


def varint(number: int) -> bytes:
    found = bytearray()
    number &= 0xFFFFFFFFFFFFFFFF
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found) + bytes([number])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def single(number: int, value: float) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<f", value)


def event(*values: bytes, step: int = 0, time: float = 1.5) -> bytes:
    summary = b"".join(field(1, value) for value in values)
    return varint(1 << 3 | 1) + struct.pack("<d", time) + field(2, step) + field(5, summary)


def simple(tag: str, value: float) -> bytes:
    return field(1, tag.encode()) + single(2, value)


def tensor(tag: str, *parts: bytes, plugin: str = "scalars") -> bytes:
    metadata = field(9, field(1, field(1, plugin.encode()))) if plugin else b""
    return field(1, tag.encode()) + metadata + field(8, b"".join(parts))


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", tfevents._masked(length)) + data + struct.pack("<I", tfevents._masked(data))


FIRST = record(varint(1 << 3 | 1) + struct.pack("<d", 1.0) + field(3, b"brain.Event:2"))


def test_the_checksum_is_that_of_the_standard() -> None:
    """RFC 3720, B.4; masked by what TensorFlow and LevelDB do."""
    for data, wanted in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)):
        masked = tfevents._masked(data) - 0xA282EAD8 & 0xFFFFFFFF
        assert (masked >> 17 | masked << 15) & 0xFFFFFFFF == wanted


HALF = struct.unpack("<H", struct.pack("<e", 0.5))[0]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (simple("loss", 0.1), ("loss", 0.1)),
        (tensor("loss", field(1, 1), field(4, struct.pack("<f", 0.1))), ("loss", 0.1)),
        (tensor("loss", field(1, 1), single(5, 0.25)), ("loss", 0.25)),
        (tensor("loss", field(1, 1), field(2, b""), field(5, struct.pack("<f", 0.25)), plugin=""), ("loss", 0.25)),
        (tensor("loss", field(1, 2), field(6, struct.pack("<d", 0.1))), ("loss", 0.1)),
        (tensor("epoch", field(1, 9), field(10, 7)), ("epoch", 7)),
        (tensor("epoch", field(1, 9), field(10, varint(-7))), ("epoch", -7)),
        (tensor("loss", field(1, 19), field(13, HALF)), ("loss", 0.5)),
        (tensor("text", field(1, 7), field(8, b"words"), plugin="text"), None),
        (tensor("text", field(1, 7), field(8, b"words"), plugin=""), None),
        (tensor("many", field(1, 1), field(2, field(2, field(1, 2))), field(4, bytes(8))), None),
        (tensor("curve", field(1, 1), single(5, 1.0), plugin="pr_curves"), None),
        (field(1, b"image") + field(4, b"png"), None),
        (single(2, 1.0), None),
    ],
)
def test_scalars_in_the_forms_of_both_generations(value: bytes, found: tuple[str, float] | None) -> None:
    seen = list(tfevents.scalars(event(value, step=3)))
    assert seen == ([] if found is None else [Scalar(*found, step=3, time=1.5)])


@given(st.binary(max_size=300))
def test_no_event_raises_but_broken(data: bytes) -> None:
    for whole in (data, field(5, data), field(5, field(1, data)), field(5, field(1, field(1, b"a") + field(8, data)))):
        try:
            for one in tfevents.scalars(whole):
                assert one.tag
        except Broken:
            pass


@pytest.fixture(autouse=True)
def no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look reads all that there is, however busy the machine is."""
    monkeypatch.setattr(eventfiles, "_MOST_SECONDS", 1000.0)


class File:
    def __init__(self, directory: Path, name: str = "events.out.tfevents.1.host.1") -> None:
        self.path, self.place = directory / name, Place(directory, ".")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.position = ""

    def add(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    def look(self) -> dict[str, Any]:
        """Tags and values that have come since the last look."""
        found = look(self.place, self.position)
        self.position = found["position"]
        return {f"{one['run']}/{one['tag']}".lstrip("/"): one["value"] for one in found["scalars"]}


def losses(*values: float) -> bytes:
    return b"".join(record(event(simple("loss", value), step=step)) for step, value in enumerate(values))


def test_what_has_come_since_the_last_look(tmp_path: Path) -> None:
    file = File(tmp_path)
    assert (file.look(), file.position) == ({}, "")
    file.add(FIRST + losses(3, 2))
    assert file.look() == {"loss": "2"}
    assert file.look() == {}
    file.add(losses(1) + record(event(simple("nan", float("nan")), simple("up", float("inf")))))
    assert file.look() == {"loss": "1", "nan": "NaN", "up": "+Inf"}
    run = File(tmp_path, "run/validation/events.out.tfevents.2.host.2")
    run.add(FIRST + record(event(simple("loss", 0.5), step=7, time=2.0)))
    (one,) = look(file.place, file.position)["scalars"]
    assert one == {"run": "run/validation", "tag": "loss", "value": "0.5", "step": 7, "time": 2.0}


def test_a_record_that_is_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    whole = FIRST + losses(3, 2, 1)
    for cut in range(len(whole)):
        file = File(tmp_path / str(cut))
        file.add(whole[:cut])
        file.look()
        file.add(whole[cut:])
        file.look()
        assert look(file.place, file.position)["scalars"] == []
        assert look(file.place, "")["scalars"][0]["value"] == "1"


def test_a_wrong_checksum_costs_its_record_or_what_comes_after(tmp_path: Path) -> None:
    data = bytearray(FIRST + losses(3, 2, 1))
    data[len(FIRST) + len(losses(3)) - 1] ^= 1  # of the data of the first loss
    file = File(tmp_path / "data")
    file.add(bytes(data) + record(event(simple("accuracy", 1))))
    assert file.look() == {"loss": "1", "accuracy": "1"}
    file = File(tmp_path / "length")
    data[len(FIRST) + len(losses(3)) + 8] ^= 1
    file.add(bytes(data))
    assert file.look() == {}
    file.add(losses(5))
    assert file.look() == {}


def test_large_records_are_passed_over(tmp_path: Path) -> None:
    file = File(tmp_path)
    file.add(FIRST + record(event(field(1, b"image") + field(4, bytes(100_000)))) + losses(2))
    assert file.look() == {"loss": "2"}


def test_a_long_file_is_read_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventfiles, "_MOST_SECONDS", 0.0)
    file, seen = File(tmp_path), list[str]()
    file.add(FIRST + losses(3, 2, 1))
    for more in (True, True, True, False):
        found = look(file.place, file.position)
        file.position = found["position"]
        assert found["more"] is more
        seen += [one["value"] for one in found["scalars"]]
    assert seen == ["3", "2", "1"]


def test_a_file_that_is_begun_anew_is_read_anew(tmp_path: Path) -> None:
    file = File(tmp_path)
    file.add(FIRST + losses(3, 2))
    file.look()
    file.path.write_bytes(losses(9))
    assert file.look() == {"loss": "9"}


def test_no_link_leads_anywhere_and_nothing_but_files_is_opened(tmp_path: Path) -> None:
    other = File(tmp_path / "other")
    other.add(FIRST + losses(3))
    volume = tmp_path / "volume"
    (volume / "real").mkdir(parents=True)
    (volume / "real" / "events.out.tfevents.1").symlink_to(other.path)
    (volume / "linked").symlink_to(other.path.parent)
    os.mkfifo(volume / "real" / "events.out.tfevents.2")
    assert look(Place(volume, "."), "")["scalars"] == []
    for inside in ("linked", "../other"):
        with pytest.raises(BadRequest, match="of the volume can't be read"):
            look(Place(volume, inside), "")
    assert look(Place(volume, "nothing"), "") == {"scalars": [], "position": "", "more": False}


def test_the_newest_files_are_read_and_no_more(tmp_path: Path) -> None:
    for number in range(40):
        one = File(tmp_path, f"events.out.tfevents.{number:02d}")
        one.add(FIRST + record(event(simple(f"m{number:02d}", 1))))
        os.utime(one.path, (number, number))
    File(tmp_path, "checkpoint").add(losses(1))
    found = sorted(one["tag"] for one in look(Place(tmp_path, "."), "")["scalars"])
    assert found == [f"m{number:02d}" for number in range(8, 40)]


@pytest.mark.parametrize("after", ["x", base64.urlsafe_b64encode(b"[1]").decode(), "é"])
def test_a_position_that_is_none(tmp_path: Path, after: str) -> None:
    with pytest.raises(BadRequest, match="not a position"):
        look(Place(tmp_path, "."), after)
