"""The parts of the node's helpers that need no namespaces."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.node.sandbox import (
    container,
    etc,
    idmap,
    layout,
    linux,
    logs,
    overlays,
    record,
    registry,
    spec,
    trees,
    wire,
)
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.peers import Peers

# Logs.


def read_back(entries: bytes) -> list[tuple[str, bytes]]:
    found = []
    for line in entries.split(b"\n")[:-1]:
        stamp, stream, tag, text = line.split(b" ", 3)
        assert (stamp, stream) == (b"T", b"stdout")
        found.append((tag.decode(), text))
    return found


@settings(max_examples=10)
@given(st.lists(st.binary(max_size=40_000) | st.just(b"\n"), max_size=12))
def test_log_entries_hold_every_byte(pieces: list[bytes]) -> None:
    rest, entries = b"", b""
    for piece in pieces:
        more, rest = logs.format_entries(rest + piece, "T", "stdout")
        entries += more
    text = b"".join(part + (b"\n" if tag == "F" else b"") for tag, part in read_back(entries))
    assert text + rest == b"".join(pieces)
    assert all(len(part) <= logs.CHUNK for _, part in read_back(entries))


def test_full_disk_loses_nothing_and_says_so() -> None:
    log = logs.LogFile("/dev/full")
    log.write(b"one\n")
    assert log.is_stuck
    assert not log.flush()
    log.close()


def test_a_record_that_can_not_be_written_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record"
    record.write(str(path), {"a": 1})
    (tmp_path / "full.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        record.write(str(tmp_path / "full"), {"a": "x" * 100_000})
    assert [one.name for one in tmp_path.iterdir()] == ["record"]
    assert path.read_text() == '{"a": 1}'


def test_a_record_that_is_written_again_makes_no_more_than_two_files(tmp_path: Path) -> None:
    path = tmp_path / "record"
    files = set()
    for text in ("one", "a longer one", "two", ""):
        record.rewrite(str(path), {"text": text})
        assert json.loads(path.read_text()) == {"text": text}
        files.add(path.stat().st_ino)
    assert len(files) == 2
    assert sorted(one.name for one in tmp_path.iterdir()) == ["record", "record.new"]


def test_stamps() -> None:
    first, second = logs.Stamps(), logs.Stamps()
    assert first.now() <= second.now() <= first.now()
    assert len(first.now()) == 30


# Trees.


def test_remove_is_indifferent_to_depth_links_and_modes(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    top = tmp_path / "top"
    current = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("top", dir_fd=current)
    # Far deeper than a path may be long.
    for name in ["top"] + ["d" * 200] * 60:
        inner = os.open(name, os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = inner
        os.mkdir("d" * 200, dir_fd=current)
    os.close(current)
    (top / "link").symlink_to(outside)
    (top / "locked").mkdir()
    (top / "locked" / "file").touch()
    (top / "locked").chmod(0)
    trees.remove(str(top))
    trees.remove(str(top))
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["kept"]


# What is shown of the machine.


def test_private_paths(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, mode in (("open", 0o755), ("closed", 0o700), ("listed", 0o754)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inside").touch(0o644)
        (tmp_path / name).chmod(mode)
    (tmp_path / "key").touch(0o600)
    (tmp_path / "open" / "secret").touch(0o640)
    (tmp_path / "open" / "link").symlink_to("secret")
    found = {os.path.relpath(path, tmp_path) for path in layout.private_paths(str(tmp_path))}
    assert found == {"closed", "listed", "key", "open/secret"}


def test_what_is_not_looked_at_is_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for number in range(5):
        (tmp_path / f"d{number}").mkdir(mode=0o755)
        for inner in range(3):
            (tmp_path / f"d{number}" / f"f{inner}").touch(0o644)
    found = layout.private_paths(str(tmp_path), limit=9)
    assert len(found) == 3


def test_mount_points() -> None:
    text = (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 8:2 / /usr rw - ext4 /dev/sda2 rw\n"
        "3 2 8:3 / /usr/local rw - ext4 /dev/sda3 rw\n"
        "4 3 8:4 / /usr/local/lib rw - ext4 /dev/sda4 rw\n"
        "5 2 8:5 / /usr/with\\040space rw - ext4 /dev/sda5 rw\n"
        "6 1 8:6 / /usrx rw - ext4 /dev/sda6 rw\n"
    )
    assert layout.mount_points(text, "/usr") == ["/usr/local", "/usr/with space"]


# User ids.


def test_subuid_ranges() -> None:
    text = "# comment\nann:100000:65536\nbob:200000:65536\n1000:300000:10\nann:bad:1\nann:5\n\nann:400000:0\n"
    found = idmap.parse_ranges(text, frozenset({"ann", "1000"}))
    assert [(part.first, part.count) for part in found] == [(100000, 65536), (300000, 10)]


# Files of /etc, commands.


def pod(**changes: object) -> spec.Pod:
    made = spec.Pod("u", "default", "n", "/p", "n", {}, [], [], [], False, 1)
    return made._replace(**changes)  # type: ignore[arg-type]


def test_resolv_conf() -> None:
    assert etc.resolv_conf(pod(), "10.42.0.1") == "nameserver 10.42.0.1\n"
    text = etc.resolv_conf(pod(nameservers=["192.0.2.1"], searches=["a", "b"], dns_options=["ndots:5"]), "x")
    assert text == "search a b\nnameserver 192.0.2.1\noptions ndots:5\n"


def test_hosts() -> None:
    files = etc.files(pod(fqdn="full.name", hosts={"192.0.2.1": ["x", "y"]}), "10.42.0.2", "10.42.0.1")
    assert files["hosts"].startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.42.0.2\tfull.name\tn\n" in files["hosts"]
    assert files["hosts"].endswith("\n# Entries added by HostAliases.\n192.0.2.1\tx\ty\n")
    assert files["hostname"] == "n\n"
    assert "10.42.0.2\tn\n" in etc.hosts(pod(), "10.42.0.2")


def test_hosts_on_the_machines_network() -> None:
    text = etc.hosts(pod(host_network=True, hosts={"192.0.2.1": ["x"]}), "192.0.2.9")
    own = Path("/etc/hosts").read_text(errors="surrogateescape") if Path("/etc/hosts").exists() else ""
    head = "# Kubernetes-managed hosts file (host network).\n"
    assert text == f"{head}{own}\n# Entries added by HostAliases.\n192.0.2.1\tx\n"


def test_find_command(tmp_path: Path) -> None:
    good, plain = tmp_path / "good", tmp_path / "plain"
    good.touch(0o755)
    plain.touch(0o644)
    (tmp_path / "directory").mkdir()
    search = f"/no/such:{tmp_path}"
    assert container.find("good", search) == str(good)
    assert container.find(str(good), "") == str(good)
    for program, code in (("plain", 127), ("directory", 127), (str(plain), 128), (f"{tmp_path}/x", 127), ("", 127)):
        with pytest.raises(container.StartFailure) as failure:
            container.find(program, search)
        assert failure.value.code == code


def test_escape() -> None:
    assert overlays.escape("/a:b,c\\d") == "/a\\:b\\,c\\\\d"


# Processes.


def test_process_identity() -> None:
    started = linux.start_time(os.getpid())
    assert linux.is_alive(os.getpid(), started)
    assert not linux.is_alive(os.getpid(), f"1{started}")
    assert not linux.is_alive(0, started)
    assert linux.open_process(os.getpid(), "other") is None
    with pytest.raises(ProcessLookupError):
        linux.start_time(2**22 + 1)


# Sockets and the registry.


def test_long_socket_paths(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 200)
    directory.mkdir()
    path = str(directory / "s.sock")
    with pytest.raises(FileNotFoundError):
        wire.connect(path)
    with wire.listen(path), wire.connect(path) as connection:
        assert wire.peer_pid(connection) == os.getpid()
    with pytest.raises(ConnectionRefusedError):
        wire.connect(path)
    # What an earlier process left is no obstacle.
    wire.listen(path).close()
    assert os.listdir(directory) == ["s.sock"]
    assert os.stat(path).st_mode & 0o777 == 0o600


@settings(max_examples=20)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)), max_size=5), st.data())
def test_messages_survive_being_cut(messages: list[wire.Message], data: st.DataObject) -> None:
    stream, lines, found = b"".join(map(wire.encode, messages)), wire.Lines(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += list(lines.feed(stream[:size]))
        stream = stream[size:]
    assert found == messages


def test_descriptors_travel(tmp_path: Path) -> None:
    left, right = socket.socketpair()
    with left, right, (tmp_path / "x").open("w") as file:
        wire.send_descriptors(left, {"id": 1}, [file.fileno()])
        message, (descriptor,) = wire.receive_descriptors(right)
        assert message == {"id": 1}
        assert descriptor is not None
        assert os.fstat(descriptor).st_ino == os.fstat(file.fileno()).st_ino
        os.close(descriptor)


def test_registry(tmp_path: Path) -> None:
    pods = registry.Registry(str(tmp_path / "r"))
    entry = registry.Entry("u/1", "/p", "10.42.0.2", 5, "6@boot", 7)
    pods.write(entry)
    (tmp_path / "r" / "broken").write_text("{")
    assert pods.entries() == [entry]
    pods.delete("u/1")
    pods.delete("u/1")
    assert pods.entries() == []


def test_peers_answer_errors_and_drop_whoever_talks_nonsense(tmp_path: Path) -> None:
    loop = Loop()

    def handle(peer: wire.Peer, message: dict[str, object]) -> None:
        if message["op"] == "stop":
            loop.is_running = False
        elif message["op"] == "big":
            peers.send(peer, {"id": message["id"], "text": "x" * 3_000_000})
        else:
            raise ValueError("no such operation")

    peers = Peers(loop, handle)
    path = str(tmp_path / "s")
    listener = wire.listen(path)
    peers.accept_from(listener)
    thread = threading.Thread(target=loop.run)
    thread.start()
    with wire.connect(path) as nonsense:
        nonsense.sendall(b"what\n")
        assert nonsense.recv(10) == b""
    with wire.connect(path) as connection, connection.makefile("rb") as file:
        connection.sendall(wire.encode({"id": 1, "op": "x"}) + wire.encode({"id": 2, "op": "big"}))
        assert b"no such operation" in file.readline()
        assert len(file.readline()) > 3_000_000
        connection.sendall(wire.encode({"op": "stop"}))
        thread.join()
    peers.close()
    listener.close()
    loop.close()


def test_timers_run_in_order_and_not_when_cancelled() -> None:
    loop, ran = Loop(), []
    loop.after(0.02, lambda: ran.append(2))
    loop.after(0.01, lambda: ran.append(1))
    loop.after(0.015, lambda: ran.append(9)).cancel()
    loop.after(0.03, lambda: setattr(loop, "is_running", False))
    loop.run()
    loop.close()
    assert ran == [1, 2]


def test_a_tree_is_copied_as_it_is(tmp_path: Path) -> None:
    origin, copied = tmp_path / "origin", tmp_path / "copied"
    (origin / "d" / "e").mkdir(parents=True)
    (origin / "d" / "e").chmod(0o2770)
    (origin / "d" / "f").write_bytes(b"x" * 100_000)
    (origin / "d" / "f").chmod(0o640)
    (origin / "link").symlink_to("/etc/passwd")
    os.mkfifo(origin / "pipe")
    os.utime(origin / "d" / "f", ns=(1, 2))
    trees.copy(str(origin), str(copied))
    assert (copied / "d" / "f").read_bytes() == b"x" * 100_000
    assert os.readlink(copied / "link") == "/etc/passwd"
    for name in ("", "d", "d/e", "d/f", "link", "pipe"):
        old, new = (origin / name).lstat(), (copied / name).lstat()
        assert (new.st_mode, new.st_uid, new.st_gid, new.st_mtime_ns) == (
            old.st_mode,
            old.st_uid,
            old.st_gid,
            old.st_mtime_ns,
        )
    with pytest.raises(FileExistsError):
        trees.copy(str(origin), str(copied))


def test_an_event_is_not_told_to_who_has_the_number_next() -> None:
    events = Loop()
    pipes = [os.pipe(), os.pipe()]
    told: list[str] = []

    def take_over(other: int) -> None:
        """Close the one whose event comes next, and watch another that gets its number and has nothing to read."""
        events.forget(other)
        os.close(other)
        end, far = os.pipe()
        assert end == other
        events.watch(end, lambda _: told.append("wrong"))
        events.after(0, lambda: setattr(events, "is_running", False))
        kept.append((end, far))

    kept: list[tuple[int, int]] = []
    for this, other in (pipes, pipes[::-1]):
        os.write(this[1], b"x")
        events.watch(this[0], lambda _, other=other[0]: None if kept else take_over(other))  # type: ignore[misc]
    events.run()
    assert kept
    assert not told
    events.close()
    for end in {*(end for pair in (*pipes, *kept) for end in pair)}:
        os.close(end)


@pytest.mark.skipif(sys.platform != "linux", reason="there is a fork server on Linux only")
def test_what_every_pod_is_forked_from_is_small() -> None:
    code = "import sys; import homeport.node.sandbox.zygote; print(*sys.modules)"
    loaded = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True).stdout.split()
    assert not {"asyncio", "subprocess", "logging", "msgspec", "homeport.kube"}.intersection(loaded)
