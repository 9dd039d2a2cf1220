"""Filters of system calls: run by a small machine of the tests, and by the kernel."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.node import seccomp
from homeport.node.sandbox import linux
from homeport.node.sandbox.capabilities import DEFAULT, NUMBERS
from homeport.node.seccomp.numbers import numbers
from homeport.node.seccomp.program import ALLOW, ARCHITECTURES, Condition, Rule, compile_filter, fails

X86 = numbers("x86_64")
EPERM, ENOSYS = fails(errno.EPERM), fails(errno.ENOSYS)


def judge(program: bytes, number: int, *arguments: int, machine: str = "x86_64") -> int:
    """What the kernel would do: a machine for the instructions that are used."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, ARCHITECTURES[machine], 0, *padded)
    instructions = list(struct.iter_unpack("=HBBI", program))
    place, register = 0, 0
    while True:
        code, if_true, if_false, value = instructions[place]
        place += 1
        match code:
            case 0x20:
                (register,) = struct.unpack_from("=I", data, value)
            case 0x54:
                register &= value
            case 0x05:
                place += value
            case 0x06:
                return int(value)
            case 0x15 | 0x25 | 0x35:
                met = {0x15: register == value, 0x25: register > value, 0x35: register >= value}[code]
                place += if_true if met else if_false
            case _:
                raise AssertionError(f"{code:#x} is not used")


def test_default_profile() -> None:
    program = seccomp.default_profile(DEFAULT, "x86_64")

    def of(name: str, *arguments: int) -> int:
        return judge(program, X86[name], *arguments)

    assert {of(name) for name in ("read", "execve", "ptrace", "memfd_create", "chroot", "futex_waitv")} == {ALLOW}
    assert {of(name) for name in ("mount", "keyctl", "bpf", "kexec_load", "setns", "unshare", "reboot")} == {EPERM}
    assert (of("clone", 0x1200011), of("clone", 0x10000000), of("clone3")) == (ALLOW, EPERM, ENOSYS)
    assert (of("personality", 0xFFFFFFFF), of("personality", 0x40000)) == (ALLOW, EPERM)
    assert (of("socket", 2), of("socket", 16), of("socket", 38), of("socket", 40)) == (ALLOW, ALLOW, EPERM, EPERM)
    # Calls of kernels to come, and of the x32 interface.
    assert (judge(program, 5000), judge(program, 0x40000000 + X86["read"])) == (ENOSYS, ENOSYS)
    assert judge(program, 1, machine="aarch64") == ENOSYS


def test_capabilities_open_the_default_profile() -> None:
    program = seccomp.default_profile(DEFAULT | {NUMBERS["SYS_ADMIN"]}, "x86_64")
    found = {name: judge(program, X86[name], 0x10000000) for name in ("mount", "clone", "clone3", "keyctl")}
    assert found == {"mount": ALLOW, "clone": ALLOW, "clone3": ALLOW, "keyctl": EPERM}


def test_other_architectures_are_known() -> None:
    arm = numbers("aarch64")
    program = seccomp.default_profile(DEFAULT, "aarch64")
    assert judge(program, arm["openat"], machine="aarch64") == ALLOW
    assert judge(program, arm["keyctl"], machine="aarch64") == EPERM
    with pytest.raises(seccomp.ProfileError, match="s390x"):
        seccomp.default_profile(DEFAULT, "s390x")


COMPARISONS = {
    "EQ": lambda left, right, other: left == right,
    "NE": lambda left, right, other: left != right,
    "LT": lambda left, right, other: left < right,
    "LE": lambda left, right, other: left <= right,
    "GT": lambda left, right, other: left > right,
    "GE": lambda left, right, other: left >= right,
    "MASKED_EQ": lambda left, right, other: left & right == other,
}
words = st.one_of(st.integers(0, 3), st.integers(2**32 - 2, 2**32 + 2), st.integers(0, 2**64 - 1))
conditions = st.builds(Condition, st.integers(0, 5), st.sampled_from(sorted(COMPARISONS)), words, words)
rules = st.lists(
    st.builds(Rule, st.sampled_from((ALLOW, EPERM)), st.lists(conditions, max_size=3).map(tuple)),
    min_size=1,
    max_size=3,
)


@given(
    st.dictionaries(st.integers(0, 40), rules, max_size=20), st.integers(0, 42), st.lists(words, min_size=6, max_size=6)
)
def test_a_filter_does_what_its_rules_say(given_rules: Any, number: int, arguments: list[int]) -> None:
    expected = ENOSYS
    for rule in given_rules.get(number, ()):
        if all(COMPARISONS[c.comparison](arguments[c.argument], c.value, c.other) for c in rule.conditions):
            expected = rule.action
            break
    assert judge(compile_filter("x86_64", ENOSYS, given_rules), number, *arguments) == expected


def test_a_profile_of_the_user(tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30},
            {
                "name": "personality",
                "action": "SCMP_ACT_KILL_PROCESS",
                "args": [{"index": 0, "value": 4, "op": "SCMP_CMP_GE"}],
            },
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(profile))
    program, text = seccomp.load(tmp_path, "a.json", "x86_64")
    assert json.loads(text) == profile
    assert judge(program, X86["mkdir"]) == fails(30)
    assert (judge(program, X86["personality"], 4), judge(program, X86["personality"], 3)) == (0x80000000, ALLOW)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.json", None, "no such file or directory"),
        ("../a.json", None, "is no path below"),
        ("a.json", "{", "Expecting"),
        ("a.json", "{}", "defaultAction"),
        ("a.json", '{"defaultAction": "SCMP_ACT_NOTIFY"}', "SCMP_ACT_NOTIFY is not supported"),
        (
            "a.json",
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", '
            '"args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]}',
            "no argument 9",
        ),
    ],
)
def test_profiles_that_are_none(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(seccomp.ProfileError, match=words):
        seccomp.load(tmp_path, name, "x86_64")


def test_the_kernel_takes_it() -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            linux.set_no_new_privileges()
            linux.filter_system_calls(seccomp.default_profile(DEFAULT))
            libc = ctypes.CDLL(None, use_errno=True)
            refused = libc.unshare(linux.CLONE_NEWUSER) == -1 and ctypes.get_errno() == errno.EPERM
            code = 0 if refused and os.getpid() else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
