"""Building images from Dockerfiles, and running them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import little_root
import msgspec
import pytest

from homeport.node.dockerfile.builder import Request, build
from homeport.node.dockerfile.lexing import DockerfileError
from homeport.node.dockerfile.reading import BuildFailed
from homeport.node.environment import PATH
from homeport.node.images import ImageStore
from homeport.node.local.record import Record
from homeport.node.runtime import Mount


class Steps:
    """Hears of a build."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, bool]] = []
        self.lines: list[str] = []
        self._title = ""

    def begin(self, title: str) -> None:
        self._title = title

    def output(self, line: str) -> None:
        self.lines.append(line)

    def end(self, seconds: float, *, cached: bool) -> None:
        self.steps.append((self._title, cached))

    @property
    def fresh(self) -> list[str]:
        return [title for title, cached in self.steps if not cached and not title.startswith("FROM")]


class Workshop:
    def __init__(self, base: Path) -> None:
        self.context = base / "context"
        self.context.mkdir()
        self.store = ImageStore(base / "images", cache=base / "cache")
        self.steps = Steps()

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.context / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    async def build(self, text: str, name: str = "made:1", **fields: Any) -> Record:
        self.steps = Steps()
        (self.context / "Dockerfile").write_text(text)
        request = Request(context=self.context, dockerfile=self.context / "Dockerfile", names=(name,), **fields)
        return await build(self.store, request, self.steps)

    def layers(self, record: Record) -> list[Path]:
        """The topmost first."""
        return [Path(path) for path in self.store.local.layers_of(record)]

    def left(self) -> list[str]:
        return os.listdir(self.store.local.directory / "making")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def below(directory: Path, name: str) -> list[Path]:
    return list(directory.rglob(name))


async def output_of(pods: Any, workshop: Workshop, *argv: str, name: str = "made:1", pod: str = "a") -> str:
    image = workshop.store.ready(name)
    assert image is not None
    config = image.config
    state = await pods.run(
        pod,
        *(argv or config.command + config.args),
        image=image.root,
        env=dict(config.env),
        cwd=config.working_dir or "/",
        uid=config.uid,
        gid=config.gid,
        groups=config.groups,
    )
    assert state.exit_code == 0, (state, pods.output(pod, stream="stderr"))
    return str(pods.output(pod))


async def test_an_image_of_many_instructions(workshop: Workshop, pods: Any) -> None:
    workshop.write(app="echo app $GREETING\n", d__one="1\n", d__two="2\n", skipped="x", _dot_dockerignore="skipped\n")
    text = """
ARG BASE=busybox
FROM $BASE AS first
ARG WHO=nobody
ENV GREETING="hello $WHO"
WORKDIR /work
RUN echo "$GREETING from $PWD" > said; echo on stderr >&2; mkdir /etc/new; rm -f /usr/bin/tac
FROM first AS unused
RUN exit 9
FROM first
COPY --chown=1000:1001 --chmod=750 app /opt/tools/
COPY d* kept/
ADD files.tar.gz /data/
COPY <<EOF /work/text
who=$WHO greeting=$GREETING
EOF
RUN ["/bin/sh", "-c", "ls -R /work/kept"]
USER 1000:1001
EXPOSE 8080 53/udp
LABEL a=b
ENTRYPOINT ["/bin/sh"]
CMD ["/opt/tools/app"]
"""
    with tarfile.open(workshop.context / "files.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("in/side")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"data"))
    record = await workshop.build(text, arguments={"WHO": "you"})
    assert "on stderr" in workshop.steps.lines
    assert workshop.steps.lines[-3:] == ["/work/kept:", "one", "two"]
    assert not any("exit 9" in title for title, _ in workshop.steps.steps)
    assert record.settings["ExposedPorts"] == {"8080/tcp": {}, "53/udp": {}}
    assert record.settings["Labels"] == {"a": "b"}
    assert record.settings["WorkingDir"] == "/work"
    assert [entry.get("empty_layer", False) for entry in record.config["history"]].count(False) == len(record.layers)
    script = (
        "cat said text /data/in/side; stat -c '%u %g %a' /opt/tools/app; id -u; ls -d /etc/new; tac said || echo gone"
    )
    assert (await output_of(pods, workshop, "sh", "-c", script)).split("\n") == [
        "hello you from /work",
        "who= greeting=hello you",  # ARG is of one stage, ENV of the image
        "data1000 1001 750",
        "1000",
        "/etc/new",
        "gone",
    ]
    assert await output_of(pods, workshop, pod="b") == "app hello you"
    assert workshop.left() == []
    names = {entry for layer in workshop.layers(record) for entry in os.listdir(layer)}
    assert not names & {"dev", "proc", "sys"}
    assert not any((layer / "etc" / "resolv.conf").exists() for layer in workshop.layers(record))


@pytest.mark.slow
async def test_steps_are_cached_by_what_they_depend_on(workshop: Workshop) -> None:
    workshop.write(a="1", b="1")
    text = "FROM busybox\nENV X=1\nCOPY a /a\nRUN date +%N > /stamp\nCOPY b /b\nRUN cat /a /b\n"
    first = await workshop.build(text)
    assert len(workshop.steps.fresh) == 4
    assert (await workshop.build(text)).id == first.id
    assert workshop.steps.fresh == []
    # Times don't count, contents do; what is below a change is made anew.
    os.utime(workshop.context / "a", (1, 1))
    workshop.write(b="2")
    assert (await workshop.build(text)).id != first.id
    assert [title.split("] ")[1] for title in workshop.steps.fresh] == ["COPY b /b", "RUN cat /a /b"]
    (workshop.context / "a").chmod(0o700)
    await workshop.build(text)
    assert len(workshop.steps.fresh) == 4
    await workshop.build(text.replace("X=1", "X=2"))
    assert [title.split("] ")[1] for title in workshop.steps.fresh] == [
        "RUN date +%N > /stamp",
        "COPY b /b",
        "RUN cat /a /b",
    ]
    await workshop.build(text, use_cache=False)
    assert len(workshop.steps.fresh) == 4
    await workshop.build("# a comment\n" + text.replace("RUN cat /a", "RUN  cat  /a"))


@pytest.mark.slow
@pytest.mark.needs_ids
async def test_from_nothing_and_from_what_was_built(workshop: Workshop, pods: Any) -> None:
    little_root.make(workshop.context / "root")
    workshop.write(hello="hi")
    await workshop.build(
        "FROM scratch\nCOPY root /\nENV PATH=/bin\nONBUILD COPY hello /hello\nUSER app\n", "team/base:1"
    )
    text = "FROM team/base:1\nUSER root\nRUN mkdir /made && chown 1000 /made && ln -s made /link\n"
    text += "COPY hello /link/\nUSER app\n"
    record = await workshop.build(text)
    assert record.base is None
    said = await output_of(pods, workshop, "sh", "-c", "ls / /made; cat /hello; id -u; stat -c %u /made")
    assert said.split() == [
        *["/:", "bin", "dev", "etc", "hello", "lib", "lib64", "link", "made", "proc", "sys", "tmp"],
        *["/made:", "hello", "hi1000", "1000"],
    ]
    # What a layer takes out is not there for COPY --from either.
    await workshop.build(
        "FROM team/base:1 AS a\nUSER root\nRUN rm -r /etc\nFROM scratch\nCOPY --from=a / /\n", "copied:1"
    )
    (copied,) = workshop.layers(workshop.store.local.find(workshop.store.real("copied:1")))  # type: ignore[arg-type]
    assert sorted(os.listdir(copied)) == ["bin", "hello", "lib", "lib64", "tmp"]
    assert stat.S_IMODE((copied / "tmp").stat().st_mode) == 0o1777


@pytest.mark.slow
async def test_python_packages_in_a_layer_of_an_environment(workshop: Workshop, pods: Any) -> None:
    workshop.write(tiny_dot_py="print('tiny works')\n")
    text = """
FROM python:3
RUN --mount=type=cache,target=/cache --mount=type=bind,source=tiny.py,target=/ctx/tiny.py <<EOF
#!/opt/venv/bin/python
import shutil, sysconfig, pathlib
shutil.copy("/ctx/tiny.py", sysconfig.get_path("purelib"))
count = pathlib.Path("/cache/count")
count.write_text(count.read_text() + "x" if count.exists() else "x")
print("count", len(count.read_text()))
EOF
CMD ["python", "-m", "tiny"]
"""
    record = await workshop.build(text)
    assert record.base is not None
    assert record.base.environment is not None
    assert workshop.steps.lines[-1] == "count 1"
    assert below(Path(record.base.environment), "tiny.py") == []
    assert await output_of(pods, workshop) == "tiny works"
    (layer,) = workshop.layers(record)
    assert sorted(os.listdir(layer)) == ["opt"]
    await workshop.build(text, use_cache=False)
    assert workshop.steps.lines[-1] == "count 2"


@pytest.mark.slow
async def test_secrets_leave_nothing(workshop: Workshop, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret")
    text = "FROM busybox\nRUN --mount=type=secret,id=token,required cat /run/secrets/token | wc -c > /size\n"
    record = await workshop.build(text, secrets={"token": secret})
    (layer,) = workshop.layers(record)
    assert sorted(os.listdir(layer)) == ["size"]
    with pytest.raises(BuildFailed, match=r"line 2: .*secret token: not found"):
        await workshop.build(text, use_cache=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM busybox\n\nRUN echo no >&2; exit 3", r"line 3: RUN .*: the command ended with exit code 3"),
        ("FROM busybox\nRUN [\"no-such\"]", r"line 2: .*executable file not found in \$PATH"),
        ("FROM nothing-like-it:9", r'line 1: FROM nothing-like-it:9: nothing provides "nothing-like-it:9"'),
        ("FROM busybox\nCOPY absent /", r'line 2: COPY absent /: "absent": not found'),
        ("FROM busybox\nCOPY ../../etc/passwd /p", r'line 2: .*: "../../etc/passwd": not found'),
        ("FROM busybox\nCOPY out /p", r'line 2: COPY out /p: "out": not found'),
        ("FROM busybox\nCOPY ignored /p", r'"ignored": not found \(.dockerignore leaves it out\)'),
        ("FROM busybox\nCOPY a b /p", r"line 2: .*with more than one source the target must be a directory"),
        ("FROM busybox\nCOPY a /usr", None),
        ("FROM busybox\nCOPY --chown=ghost a /", r"line 2: unable to find user ghost"),
        ("FROM busybox\nUSER ghost\nRUN true", r"line 3: unable to find user ghost"),
        ("FROM busybox\nADD http://127.0.0.1:9/x /", r"line 2: ADD http://127.0.0.1:9/x: it can't be fetched"),
        ("FROM busybox\nADD git@example.com:a/b.git /", "git repositories are not supported"),
        ("FROM --platform=linux/s390x busybox", "line 1: FROM --platform=linux/s390x: this machine is linux/"),
        ("FROM busybox\nENV A=\"${B:?B is needed}\"", "line 2: ENV: B: B is needed"),
        ("FROM busybox\nEXPOSE 99999", "line 2: EXPOSE: 99999: .*is no port"),
    ],
)  # fmt: skip
async def test_what_goes_wrong_is_said_with_its_line(workshop: Workshop, text: str, message: str | None) -> None:
    workshop.write(a="a", b="b", ignored="i", _dot_dockerignore="ignored\n")
    os.symlink("/etc/passwd", workshop.context / "out")
    if message is None:
        await workshop.build(text)
        return
    with pytest.raises((BuildFailed, DockerfileError), match=message):
        await workshop.build(text)
    assert workshop.store.local.names() == {}
    assert workshop.left() == []


@pytest.mark.slow
async def test_two_builds_at_once_and_one_that_is_cancelled(workshop: Workshop, tmp_path: Path) -> None:
    other = ImageStore(tmp_path / "images", cache=tmp_path / "cache")
    (workshop.context / "Dockerfile").write_text("FROM busybox\nRUN echo one > /one\nRUN sleep 0.2\n")
    request = Request(context=workshop.context, dockerfile=workshop.context / "Dockerfile", names=("made:1",))
    first, second = await asyncio.gather(
        build(workshop.store, request, Steps()),
        build(other, msgspec.structs.replace(request, names=("made:2",)), Steps()),
    )
    assert set(workshop.store.local.names().values()) == {first.id, second.id}
    (workshop.context / "Dockerfile").write_text("FROM busybox\nRUN echo begun && sleep 1000\n")
    steps = Steps()
    task = asyncio.ensure_future(build(workshop.store, msgspec.structs.replace(request, names=("no:1",)), steps))
    while "begun" not in steps.lines and not task.done():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert workshop.left() == []
    assert set(workshop.store.local.names()) == {"docker.io/library/made:1", "docker.io/library/made:2"}


@pytest.mark.slow
def test_the_command(workshop: Workshop, tmp_path: Path) -> None:
    workshop.write(Dockerfile='FROM busybox\nRUN echo building; exit ${CODE:-0}\nCMD ["true"]\n')
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "homeport", "build", "-t", "made:2", str(workshop.context)]
    done = subprocess.run(command, env=home, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "    building\n" in done.stderr
    assert " as made:2 in " in done.stderr
    quiet = subprocess.run([*command, "-q"], env=home, capture_output=True, text=True, timeout=120, check=False)
    assert quiet.stdout.startswith("sha256:")
    names = json.loads((tmp_path / ".cache/homeport/images/local/names.json").read_text())
    assert names == {"docker.io/library/made:2": quiet.stdout.strip()}
    workshop.write(Dockerfile="FROM busybox\nRUN echo building; exit 7\n")
    failed = subprocess.run(command, env=home, capture_output=True, text=True, timeout=120, check=False)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == (
        f"homeport: {workshop.context}/Dockerfile: line 2: RUN echo building; exit 7: "
        "the command ended with exit code 7"
    )


def make_wheel(directory: Path) -> None:
    directory.mkdir()
    files = {
        "tiny.py": "print('tiny')\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.0.dist-info/RECORD": "tiny.py,,\n",
    }
    with zipfile.ZipFile(directory / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)


@pytest.mark.slow
async def test_pip_installs_into_the_containers_own_layer(workshop: Workshop, pods: Any, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels")
    image = await workshop.store.pull("python:3")
    environment = Path(image.root.environment or "")
    before = sorted(str(path) for path in below(environment, "*"))
    script = "pip install -q --no-index --find-links /wheels tiny && python -m tiny && pip uninstall -q -y pip"
    state = await pods.run(
        "a",
        *("sh", "-c", script),
        image=image.root,
        env={
            **image.config.env,
            "PATH": PATH,
            "HOME": "/root",
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_ROOT_USER_ACTION": "ignore",
        },
        mounts=(Mount(str(tmp_path / "wheels"), "/wheels", read_only=True),),
    )
    assert (state.exit_code, pods.output("a")) == (0, "tiny"), pods.output("a", stream="stderr")
    assert sorted(str(path) for path in below(environment, "*")) == before
    # The next container begins with the image as it is.
    state = await pods.run("b", "python", "-m", "tiny", image=image.root, env={"PATH": PATH})
    assert state.exit_code == 1
    assert "No module named tiny" in pods.output("b", stream="stderr")
    # Another platform of this user has it at once.
    begin = time.monotonic()
    assert ImageStore(tmp_path / "others", cache=workshop.store.cache).ready("python:3") is not None
    assert time.monotonic() - begin < 1


@pytest.mark.slow
async def test_a_killed_build_is_tidied_up_by_the_next(workshop: Workshop, tmp_path: Path) -> None:
    workshop.write(Dockerfile="FROM busybox\nRUN echo begun; exec sleep 54321\n")
    environ = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": os.environ["PATH"]}
    cache = tmp_path / "cache" / "homeport" / "images"
    command = [sys.executable, "-m", "homeport", "build", str(workshop.context)]
    process = await asyncio.create_subprocess_exec(*command, env=environ, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while (await process.stderr.readline()).strip() != b"begun":
            pass
    process.kill()
    await process.wait()
    making = str(cache / "local" / "making")
    assert running_below(making)
    workshop.store = ImageStore(tmp_path / "images", cache=cache)
    await workshop.build("FROM busybox\nRUN true\n")
    assert running_below(making) == []
    assert workshop.left() == []


def running_below(directory: str) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):
                arguments = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace").split("\0")
                if any(word.startswith(directory) for word in arguments) or arguments[:2] == ["sleep", "54321"]:
                    found.append(" ".join(arguments))
    return found
