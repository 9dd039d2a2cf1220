"""What the doctor says of machines of all kinds; and that it finds this one fit where pods do run."""

from __future__ import annotations

import errno
import os
import resource
import sys
from pathlib import Path

import pytest

from homeport.node import doctor
from homeport.node.doctor import Attempt
from homeport.node.plain import blocks, checks
from homeport.node.sandbox import idmap, processes

GIB = 1 << 30
FINE = {
    name: Attempt(0, "disk")
    for name in ("user_namespace", "processes", "network", "way_out", "policies", "services", "overlay")
}
REFUSED = {**FINE, "user_namespace": Attempt(errno.EPERM, "Operation not permitted")}


@pytest.mark.parametrize(
    ("release", "status"),
    [
        ("6.8.0-45-generic", "ok"),
        ("5.12.0", "ok"),
        ("5.11.0-49-generic", "fail"),
        ("4.18.0-553.el8", "fail"),
        ("5.15+", "ok"),
    ],
)
def test_kernel(release: str, status: str) -> None:
    assert doctor.kernel(release).status == status


@pytest.mark.parametrize(
    ("sysctls", "remedy"),
    [
        ({"user.max_user_namespaces": "0"}, "user.max_user_namespaces=15000"),
        ({"kernel.unprivileged_userns_clone": "0"}, "kernel.unprivileged_userns_clone=1"),
        ({"kernel.apparmor_restrict_unprivileged_userns": "1"}, "kernel.apparmor_restrict_unprivileged_userns=0"),
        ({}, "--privileged"),
    ],
)
def test_refused_namespaces(sysctls: dict[str, str], remedy: str) -> None:
    check = doctor.namespaces(REFUSED, sysctls, is_root=False)
    assert check.status == "fail"
    assert "Operation not permitted" in check.found
    assert remedy in check.remedy


def test_namespaces() -> None:
    assert doctor.namespaces(FINE, {}, is_root=False).status == "ok"
    assert "--privileged" in doctor.namespaces(REFUSED, {}, is_root=True).remedy
    assert doctor.namespaces({}, {}, is_root=True).status == "fail"
    full = {"user_namespace": Attempt(errno.ENOSPC, "No space left on device")}
    assert "max_user_namespaces" in doctor.namespaces(full, {"user.max_user_namespaces": "9"}, is_root=False).remedy


def test_user_ids() -> None:
    ranges, helpers = [idmap.Range(100000, 65536)], ["newuidmap", "newgidmap"]
    assert doctor.user_ids(ranges, ranges, helpers).status == "ok"
    assert "uidmap" in doctor.user_ids(ranges, ranges, ["newuidmap"]).remedy
    assert "usermod" in doctor.user_ids([], ranges, helpers).remedy


def test_network_and_layers() -> None:
    assert doctor.network(FINE).status == "ok"
    assert doctor.network({}).status == "fail"
    assert doctor.services(FINE).status == "ok"
    assert doctor.services({}).status == "warn"
    assert doctor.way_out(FINE).status == "ok"
    assert doctor.policies(FINE).status == "ok"
    assert doctor.policies({}).status == "warn"
    refused = doctor.way_out({"way_out": doctor.Attempt(errno.ENOENT, "no such thing")})
    assert (refused.status, "no such thing" in refused.found, "nft_tproxy" in refused.remedy) == ("warn", True, True)
    assert doctor.overlay(FINE, Path("/x")).status == "ok"
    assert doctor.overlay({"overlay": Attempt(0, "memory")}, Path("/x")).status == "warn"
    assert doctor.overlay({"overlay": Attempt(errno.ENODEV, "No such device")}, Path("/x")).status == "fail"


def test_control_groups() -> None:
    check = doctor.control_groups({"cgroups": Attempt(0, "cpu cpuacct memory pids")}, is_root=False)
    assert check.status == "ok"
    some = doctor.control_groups({"cgroups": Attempt(0, "memory pids")}, is_root=True)
    assert some.status == "warn"
    assert some.found == "no control group limits processors"
    assert "kept to as many processors" in some.remedy
    none = doctor.control_groups({"cgroups": Attempt(errno.ENOENT, "/x: Permission denied")}, is_root=False)
    assert none.found.endswith("memory, processors, processes: /x: Permission denied")
    assert "systemd-run --user --scope -p Delegate=yes" in none.remedy
    assert "--privileged" in doctor.control_groups({}, is_root=True).remedy


def test_limits() -> None:
    assert [doctor.inotify(128, 65536).status, doctor.inotify(64, 524288).status] == ["ok", "warn"]
    assert [doctor.open_files(limit).status for limit in (4096, 20000, resource.RLIM_INFINITY)] == ["warn", "ok", "ok"]
    assert [doctor.disk(Path("/x"), free).status for free in (GIB // 2, 5 * GIB, 50 * GIB)] == ["fail", "warn", "ok"]
    assert [doctor.memory(free).status for free in (GIB, 4 * GIB)] == ["warn", "ok"]


def test_every_bad_check_says_what_to_do(tmp_path: Path) -> None:
    found = doctor.checks(tmp_path / "not" / "there")
    assert [check.name for check in found][:3] == ["Python", "Kernel", "Namespaces"]
    assert all(bool(check.remedy) == (check.status != "ok") for check in found)
    assert os.listdir(tmp_path) == []


def test_explanation_of_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_attempts", lambda _directory: REFUSED)
    text = doctor.explain("the node can't start", tmp_path)
    assert text.startswith("the node can't start. Namespaces: ")
    monkeypatch.setattr(doctor, "_attempts", lambda _directory: FINE)
    assert "Namespaces" not in doctor.explain("the node can't start", tmp_path)


def test_other_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(processes, "IS_LINUX", False)
    monkeypatch.setattr(blocks, "has_loopback", lambda: False)
    found = {check.name: check for check in doctor.checks(tmp_path)}
    assert "fail" not in [check.status for check in found.values()]
    assert all("Linux" in found[name].remedy for name in ("Kernel", "Addresses"))


def test_addresses_of_plain_processes() -> None:
    assert checks.found_addresses(has_calls=True, has_loopback=True).status == "ok"
    check = checks.found_addresses(has_calls=False, has_loopback=True)
    assert (check.status, "Linux 5.6" in check.remedy, "MASTER_ADDR" in check.remedy) == ("warn", True, True)
    check = checks.found_addresses(has_calls=False, has_loopback=False)
    assert (check.status, "MASTER_ADDR" in check.remedy) == ("warn", True)


@pytest.mark.parametrize(
    ("has_namespaces", "engine", "status", "words"),
    [
        (True, "", "ok", "processes in namespaces"),
        (True, "/var/run/docker.sock", "ok", "processes in namespaces"),
        (False, "/var/run/docker.sock", "warn", "containers of the engine at /var/run/docker.sock"),
        (False, "", "warn", "install Docker or Podman"),
    ],
)
def test_runtime(has_namespaces: bool, engine: str, status: str, words: str) -> None:
    check = doctor.runtime(has_namespaces, engine, "" if engine else "nothing answers", is_root=False)
    assert check.status == status
    assert words in f"{check.found} {check.remedy}"
    assert has_namespaces or engine or "nothing answers" in check.found
