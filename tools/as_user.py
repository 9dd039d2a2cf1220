"""Runs the tests as an ordinary user, also where the one who asks is root.

Usage: ``python tools/as_user.py [--without-range] COMMAND [ARGUMENT ...]``

Root borrows an account: one made for this run, with a range of ids in ``/etc/subuid`` and ``/etc/subgid``, or with
``--without-range`` an id that no account has and nothing is given to. COMMAND is a module of this project's environment
(``pytest``, ``homeport``), which is run in a copy of the checkout. Copy, account and whatever the user has left running
are gone afterwards; what was left running is said, and is a failure.

Anybody else is an ordinary user already: the command is run in the checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
WITHOUT_RANGE = 54320
"""The id of the one without a range; that of the tests which borrow one themselves is 54321."""
RANGE_FIRST, RANGE_COUNT = 700_000_000, 65536
"""Where no distribution gives ranges away by itself."""
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".cache", ".*_cache", ".hypothesis", "__pycache__", "dist", "build", "node_modules"
)
_KEPT = ("LANG", "LC_", "PIP_", "UV_", "PYTHON", "SSL_", "REQUESTS_", "CURL_", "NO_COLOR", "HOMEPORT_", "CI", "TERM")
"""Variables that go along begin so, and those that name a proxy."""


class Account:
    """Somebody who is not root. `group` is their only one, `given` are the further ids of users that they may use."""

    def __init__(self, name: str, user: int, group: int, given: Sequence[range] = ()) -> None:
        self.name = name
        self.user = user
        self.group = group
        self.given = given

    def owns(self, user: int) -> bool:
        """Whether it is them who run a process of that user."""
        return user == self.user or any(user in ids for ids in self.given)


@contextlib.contextmanager
def account(home: Path, *, with_range: bool) -> Iterator[Account]:
    """An account with a range of ids for as long as it is needed, or an id with neither."""
    if not with_range:
        yield Account(str(WITHOUT_RANGE), WITHOUT_RANGE, WITHOUT_RANGE)
        return
    if shutil.which("newuidmap") is None:
        sys.exit("as_user: newuidmap is not installed (Debian, Ubuntu: apt install uidmap)")
    name = f"hp{os.getpid()}"
    subprocess.run(
        ["useradd", "--no-create-home", "--user-group", "--home-dir", home, "--shell", "/bin/sh", name],
        check=True,
    )
    try:
        for path in ("/etc/subuid", "/etc/subgid"):
            # useradd gives one where the distribution's settings say so.
            lines = Path(path).read_text().splitlines() if os.path.exists(path) else []
            if not any(line.startswith(f"{name}:") for line in lines):
                with open(path, "a", encoding="ascii") as file:
                    file.write(f"{name}:{RANGE_FIRST}:{RANGE_COUNT}\n")
        ids = [int(subprocess.check_output(["id", kind, name])) for kind in ("-u", "-g")]
        yield Account(name, *ids, given_to(name, Path("/etc/subuid").read_text()))
    finally:
        subprocess.run(["userdel", "--force", name], check=False, stderr=subprocess.DEVNULL)


def given_to(name: str, ranges: str) -> list[range]:
    """The ids that a file like ``/etc/subuid`` gives an account."""
    found = (line.split(":") for line in ranges.splitlines() if line.startswith(f"{name}:"))
    return [range(int(first), int(first) + int(count)) for _, first, count in found]


def link(source: Path, target: Path, *left_out: str) -> None:
    """A copy that shares the files: the user may read them, and can't change them."""

    def copy(one: str, other: str) -> None:
        try:
            os.link(one, other, follow_symlinks=False)
        except OSError:
            shutil.copy2(one, other, follow_symlinks=False)

    ignore = shutil.ignore_patterns(*left_out)
    shutil.copytree(source, target, symlinks=True, ignore=ignore, copy_function=copy, dirs_exist_ok=True)


def interpreter(home: Path, who: Account) -> Path:
    """A Python of this version that the user may run: this one, the system's, or a copy of this one."""
    own = Path(os.path.realpath(sys.executable))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (own, Path(f"/usr/bin/python{version}")):
        with contextlib.suppress(OSError):
            asked = [candidate, "-c", "import ensurepip, ssl, venv"]
            done = subprocess.run(asked, user=who.user, group=who.group, extra_groups=[], check=False, cwd="/")
            if done.returncode == 0:
                return candidate
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        sys.exit(f"as_user: {own} can't be run by others, nor be copied; install a Python {version} that can")
    prefix = Path(os.path.realpath(sys.base_prefix))
    copied = home / "python"
    library = Path(sysconfig.get_path("stdlib")).relative_to(sys.base_prefix)
    link(prefix / "bin", copied / "bin")
    link(prefix / library, copied / library, "test", "tests", "site-packages", "__pycache__", "config-*")
    return copied / own.relative_to(prefix)


def make_environment(home: Path, checkout: Path, python: Path) -> Path:
    """A virtual environment with the packages of this one and the sources of the copy; its interpreter."""
    place = checkout / ".venv"
    subprocess.run([python, "-I", "-m", "venv", "--without-pip", place], check=True)
    (packages,) = (place / "lib").glob("python*/site-packages")
    link(Path(sysconfig.get_path("purelib")), packages, "*homeport*.pth", "__editable__*", "__pycache__")
    (packages / "homeport-checkout.pth").write_text(f"{checkout / 'src'}\n")
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    if uv.exists():
        shutil.copy2(uv, place / "bin" / "uv")
    return place / "bin" / "python"


def make_home(home: Path) -> Path:
    """The copy of the checkout in it, and the settings of the package index."""
    checkout = home / "homeport"
    shutil.copytree(CHECKOUT, checkout, symlinks=True, ignore=_LEFT_OUT)
    tools = Path(os.environ.get("HOMEPORT_TEST_TOOLS") or CHECKOUT / ".cache" / "tools")
    for path in tools.glob("*-*") if tools.is_dir() else ():
        if path.is_file():
            (checkout / ".cache" / "tools").mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, checkout / ".cache" / "tools" / path.name)
    for name in ("pip", "uv"):
        settings = Path.home() / ".config" / name
        if settings.is_dir():
            shutil.copytree(settings, home / ".config" / name)
    return checkout


def environment(home: Path, who: Account) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(_KEPT) or name.lower().endswith("_proxy")
    }
    kept.pop("HOMEPORT_TEST_TOOLS", None)
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return {**kept, "PATH": path, "HOME": str(home), "USER": who.name, "TMPDIR": str(home / "t")}


def processes(who: Account) -> list[tuple[int, str]]:
    """Those of the user, and of the ids that were given to them: pid and command."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                # Of the files below, which are root's where a process protects itself, as a container's does.
                user = int(_field(f"/proc/{name}/status", "Uid:").split()[0])
                state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                if who.owns(user) and state != "Z":
                    command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append((int(name), command.strip()))
    return found


def _field(path: str, name: str) -> str:
    return next(line for line in Path(path).read_text().splitlines() if line.startswith(name)).removeprefix(name)


def end_all(who: Account) -> list[str]:
    """Whatever the user has left, once it had a moment to end by itself; their commands."""
    until = time.monotonic() + 10
    while (left := processes(who)) and time.monotonic() < until:
        time.sleep(0.1)
    said = [command for _, command in left]
    while left:
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
        left = processes(who)
    return said


def run_as(who: Account, home: Path, command: list[str]) -> int:
    checkout = make_home(home)
    python = make_environment(home, checkout, interpreter(home, who))
    (home / "t").mkdir()
    # What is shared with others by links stays theirs.
    own = [home, home / "t", home / ".config", *(home / ".config").rglob("*"), checkout]
    own += (path for path in checkout.rglob("*") if not path.is_relative_to(checkout / ".venv"))
    for path in own:
        if path.exists() or path.is_symlink():
            os.chown(path, who.user, who.group, follow_symlinks=False)
    ended = subprocess.run(
        [python, "-m", *command],
        cwd=checkout,
        env=environment(home, who),
        user=who.user,
        group=who.group,
        extra_groups=[],
        check=False,
    )
    left = end_all(who)
    for line in left:
        print(f"as_user: left running: {line}", file=sys.stderr)
    return ended.returncode or bool(left)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a module of the environment as an ordinary user.")
    parser.add_argument("--without-range", action="store_true", help="as one to whom no range of ids is given")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command:
        parser.error("no command is given")
    if os.geteuid() != 0:
        if options.without_range:
            print("as_user: only root can borrow an account; run as you are", file=sys.stderr)
        return subprocess.run([sys.executable, "-m", *options.command], cwd=CHECKOUT, check=False).returncode
    home = Path(tempfile.mkdtemp(prefix="hp-"))
    home.chmod(0o755)
    try:
        with account(home, with_range=not options.without_range) as who:
            return run_as(who, home, options.command)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
