"""Where a container's files are, as it has no root of its own: what its image calls by fixed paths, and its volumes.

Of an image, paths are replaced by the real ones in command and environment. Volumes appear at their paths only where
nothing is there yet and the platform's user may make a link; else the container can't have them, and is told so.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, unquote

from homeport.node.sandbox import spec, trees
from homeport.node.sandbox.container import NOT_STARTED, StartFailure
from homeport.node.sandbox.layout import ENVIRONMENT
from homeport.node.sandbox.mounts import NotYet

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
_SHARED_MEMORY = "/dev/shm"
_BOUNDARY = r"[:;,=\s\"'<>()|&]"
_INTERFACES = ("GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""What tells libraries that look for the interface of their address that it is the loopback."""


class Home:
    """A container's own directory, below its pod's ``layers``: its environment, home, and temporary files."""

    def __init__(self, pod: spec.Pod, container: spec.Container) -> None:
        self.directory = os.path.join(pod.layers, container.layer_name)
        self._container = container
        self.termination_log = os.path.join(self.directory, "termination-log")

    def make(self) -> None:
        """Empty. Raises OSError."""
        if os.path.lexists(self.directory):
            trees.remove(self.directory)
        for name in ("home", "tmp"):
            os.makedirs(os.path.join(self.directory, name), mode=0o755)
        with open(self.termination_log, "wb") as file:
            os.fchmod(file.fileno(), 0o666)
        if self._container.environment is not None:
            make_environment(self._container.environment, os.path.join(self.directory, "venv"))

    @property
    def replaced(self) -> dict[str, str]:
        """What is elsewhere than the image thinks: path -> real path."""
        found = {}
        if self._container.environment is not None:
            found[ENVIRONMENT] = os.path.join(self.directory, "venv")
        if self._container.termination_message_path:
            found[os.path.normpath(self._container.termination_message_path)] = self.termination_log
        for mounted in self._container.files:
            found[os.path.normpath(mounted.target)] = os.path.join(mounted.source, mounted.sub_path).rstrip("/")
        return found

    def argv(self) -> list[str]:
        replaced = self.replaced
        return [replace(word, replaced) for word in self._container.argv]

    def command(self, argv: Sequence[str]) -> list[str]:
        """Of a further command in the container."""
        return [replace(word, self.replaced) for word in argv]

    def environment(self, searches: Sequence[str], options: Sequence[str], marks: Mapping[str, str]) -> dict[str, str]:
        """What the container's processes find in their environment; `marks` are ours."""
        replaced = self.replaced
        own = {name: replace(value, replaced) for name, value in self._container.env.items()}
        made = {
            "HOME": os.path.join(self.directory, "home"),
            "TMPDIR": os.path.join(self.directory, "tmp"),
            # What /etc/resolv.conf would say, as the C library takes it from here.
            "LOCALDOMAIN": " ".join(searches),
            "RES_OPTIONS": " ".join(options),
            **dict.fromkeys(_INTERFACES, _loopback()),
        }
        if self._container.environment is not None:
            made["VIRTUAL_ENV"] = os.path.join(self.directory, "venv")
        token = next((m for m in self._container.mounts if os.path.normpath(m.target) == TOKEN), None)
        if token is not None and "KUBERNETES_SERVICE_HOST" in own:
            made["KUBECONFIG"] = self._kubeconfig(token.source, own)
        return {**{name: value for name, value in made.items() if value}, **own, **marks}

    def _kubeconfig(self, account: str, env: Mapping[str, str]) -> str:
        """For clients that would look at fixed paths, which can't exist here: how to reach the API server. JSON is
        YAML, too."""
        path = os.path.join(self.directory, "kubeconfig")
        server = f"https://{env['KUBERNETES_SERVICE_HOST']}:{env.get('KUBERNETES_SERVICE_PORT', '443')}"
        context = {"cluster": "cluster", "user": "account"}
        with contextlib.suppress(OSError), open(os.path.join(account, "namespace"), encoding="utf-8") as file:
            context["namespace"] = file.read().strip()
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "cluster",
                    "cluster": {"server": server, "certificate-authority": os.path.join(account, "ca.crt")},
                }
            ],
            "users": [{"name": "account", "user": {"tokenFile": os.path.join(account, "token")}}],
            "contexts": [{"name": "pod", "context": context}],
            "current-context": "pod",
        }
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file)
        return path


def _loopback() -> str:
    """What the machine calls its loopback."""
    return next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "lo")


def replace(text: str, replaced: Mapping[str, str]) -> str:
    """Paths in a word or in a value like $PATH, where they stand as a whole or begin one."""
    for path in sorted(replaced, key=len, reverse=True):
        if path in text:
            pattern = rf"(^|{_BOUNDARY}){re.escape(path)}(?=/|$|{_BOUNDARY})"
            text = re.sub(pattern, lambda match, real=replaced[path]: f"{match[1]}{real}", text)  # type: ignore[misc]
    return text


def make_environment(image: str, place: str) -> None:
    """A virtual environment that has all of another's: what is installed goes here, and the other, which all containers
    of the image share, stays as it is. Raises OSError."""
    os.makedirs(os.path.join(place, "bin"))
    for entry in os.scandir(os.path.join(image, "bin")):
        os.symlink(entry.path, os.path.join(place, "bin", entry.name))
    for name in ("etc", "share", "include"):
        if os.path.isdir(os.path.join(image, name)):
            os.symlink(os.path.join(image, name), os.path.join(place, name))
    with open(os.path.join(image, "pyvenv.cfg"), encoding="utf-8") as file:
        text = file.read()
    with open(os.path.join(place, "pyvenv.cfg"), "w", encoding="utf-8") as file:
        file.write(text)
    for version in _versions(image):
        packages = os.path.join("lib", version, "site-packages")
        os.makedirs(os.path.join(place, packages))
        with open(os.path.join(place, packages, "_image.pth"), "w", encoding="utf-8") as file:
            # A line of Python, as only that heeds the .pth files of the image itself.
            file.write(f"import site; site.addsitedir({os.path.join(image, packages)!r})\n")
        # Programs other than Python know their files by the environment's lib, such as Open MPI.
        for entry in os.scandir(os.path.join(image, "lib")):
            if entry.name != version and not os.path.lexists(os.path.join(place, "lib", entry.name)):
                os.symlink(entry.path, os.path.join(place, "lib", entry.name))


def _versions(image: str) -> Iterator[str]:
    lib = os.path.join(image, "lib")
    for name in sorted(os.listdir(lib)) if os.path.isdir(lib) else ():
        if name.startswith("python") and os.path.isdir(os.path.join(lib, name, "site-packages")):
            yield name


class Links:
    """Links that let volumes appear at their paths. `directory` is the node's, `uid` the pod's: a link goes with the
    last pod that needs it."""

    def __init__(self, directory: str, uid: str) -> None:
        self._directory = os.path.join(directory, "links")
        self._uid = uid.replace("/", "_")

    def show(self, mounts: Sequence[spec.Mounted]) -> None:
        """Raises StartFailure for a path that can't be given, NotYet for a part of a volume that is not there."""
        for mounted in mounts:
            source, target = real(mounted), os.path.normpath(mounted.target)
            if target == TOKEN:
                continue  # each pod's own, so that only one could have it; see Home.environment
            owners = os.path.join(self._directory, quote(target, safe=""))
            if target == _SHARED_MEMORY or (os.path.realpath(target) == source and not os.path.isdir(owners)):
                continue  # as the machine has it
            with self._locked():
                self._link(source, target, owners)

    def _link(self, source: str, target: str, owners: str) -> None:
        if not (os.path.islink(target) and os.readlink(target) == source and os.path.isdir(owners)):
            if os.path.lexists(target):
                raise StartFailure(
                    NOT_STARTED,
                    f"the path {target} can't be given to a volume: it exists on this machine, whose files pods of the "
                    'runtime "plain" share, or another pod has another volume there',
                )
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.symlink(source, target)
            except OSError as error:
                raise StartFailure(
                    NOT_STARTED,
                    f"the path {target} can't be given to a volume ({(error.strerror or str(error)).lower()}): pods of "
                    'the runtime "plain" have no files of their own. Choose one that this user may make, such as '
                    "below /tmp, or have another runtime (homeport doctor)",
                ) from None
        os.makedirs(owners, exist_ok=True)
        with open(os.path.join(owners, self._uid), "w", encoding="utf-8"):
            pass

    def release(self) -> None:
        """Take away those that no other pod needs. Raises OSError."""
        if not os.path.isdir(self._directory):
            return
        with self._locked():
            for name in os.listdir(self._directory):
                owners = os.path.join(self._directory, name)
                if not os.path.isdir(owners) or self._uid not in os.listdir(owners):
                    continue
                os.unlink(os.path.join(owners, self._uid))
                if not os.listdir(owners):
                    os.rmdir(owners)
                    target = unquote(name)
                    if os.path.islink(target):
                        os.unlink(target)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        with open(os.path.join(self._directory, ".lock"), "w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def real(mounted: spec.Mounted) -> str:
    """What a mount shows, which is made if need be, but in images. Raises NotYet if its path leads out of the volume,
    StartFailure for what plain processes can't have."""
    image = mounted.image
    if image is not None and (image.shown or len(image.layers) != 1):
        raise StartFailure(NOT_STARTED, "plain processes can't have volumes of images with more than one layer")
    source = os.path.realpath(mounted.source if image is None else image.layers[0])
    if not mounted.sub_path:
        return source
    place = os.path.realpath(os.path.join(source, mounted.sub_path))
    if place != source and not place.startswith(f"{source}/"):
        raise NotYet(f"subPath {mounted.sub_path} leads out of the volume {mounted.source}")
    if not os.path.lexists(place):
        if image is not None:
            text = f"subPath {mounted.sub_path} of the volume's image: no such file or directory"
            raise NotYet(text, "CreateContainerError")
        os.makedirs(place, exist_ok=True)
    return place
