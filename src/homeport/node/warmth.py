"""Which containers may be forks of a warm interpreter, and of which one. Pure.

A container is started warm only if it can't tell: whatever an interpreter or a module looks at when it starts has to be
the same. Everything else is started cold.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from homeport.node.runtime import ContainerSpec, Security
from homeport.node.sandbox.container import DEFAULT_PATH

_PYTHON = re.compile(r"python3?(\.\d+)?")
_ENVIRONMENT = "/opt/venv/bin"
_OPTIONS = frozenset({"-u", "-B"})
"""What the interpreter may be given; each is given to the warm one too."""
_PROGRAM_OPTIONS = frozenset({"-m", "-c"})
_READ_AT_START = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TZ|LANG|LANGUAGE|TMPDIR|VIRTUAL_ENV|TERM|"
    r"(GOMP|KMP|OPENBLAS|BLIS|BLAS|GOTO|VECLIB|NUMEXPR|NUMBA|CUDA|CUBLAS|CUDNN|NVIDIA|NV|HIP|HSA|ROCM|ROCR|"
    r"TORCH|PYTORCH|TORCHDYNAMO|TORCHINDUCTOR|TF|TPU|XLA|JAX|KERAS|TRITON|ATEN|C10|GLIBC|MIMALLOC|TCMALLOC|"
    r"ONEDNN|DNNL|TBB|SSL|REQUESTS|CURL|HF|TRANSFORMERS|OPENSSL|GRPC|ABSL|ARROW|RAY|DASK)_.*|"
    r"(MALLOC|PYTHON|LD|OMP|MKL|LC|MPL|XDG|ASAN|TSAN|UBSAN|LSAN).*"
)
"""Variables that an interpreter, or a library that is being loaded, may read: a container that has another value of one
has another interpreter."""
_READ_LATER = frozenset({"TF_CONFIG"})
"""Of those, what is only read by programs."""


class Warmth(NamedTuple):
    """A warm interpreter that would do for a container."""

    key: str
    argv: tuple[str, ...]
    """The interpreter as the container calls it, with its options."""
    env: Mapping[str, str]
    modules: tuple[str, ...]


def warmth_of(container: ContainerSpec) -> Warmth | None:
    """None if the container is to be started cold."""
    image = container.image
    if not image.warm or image.environment is None or not image.machine or image.layers:
        return None
    if container.uid or container.gid or container.groups or container.user:
        return None
    if container.tty or container.keeps_writes or container.devices:
        return None
    security = container.security
    if security.capabilities != Security().capabilities or security.privileged or security.unmasked_proc:
        return None
    interpreter = _interpreter(container.argv, container.env)
    if interpreter is None:
        return None
    env = {
        name: value
        for name, value in container.env.items()
        if _READ_AT_START.fullmatch(name) and name not in _READ_LATER
    }
    files = [[mount.source, mount.target, mount.read_only] for mount in image.files]
    identity = [image.environment, image.interpreter, files, image.warm, interpreter, sorted(env.items())]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    return Warmth(key, interpreter, env, image.warm)


def _interpreter(argv: tuple[str, ...], env: Mapping[str, str]) -> tuple[str, ...] | None:
    """The interpreter and its options, if all that follows is a program's own."""
    if not argv:
        return None
    directory, _, name = argv[0].rpartition("/")
    if not _PYTHON.fullmatch(name):
        return None
    if directory != _ENVIRONMENT if directory else env.get("PATH", DEFAULT_PATH).split(":")[0] != _ENVIRONMENT:
        return None
    count = 1
    while count < len(argv) and argv[count] in _OPTIONS:
        count += 1
    rest = argv[count:]
    if not rest or (rest[0] in _PROGRAM_OPTIONS and len(rest) < 2):
        return None
    if rest[0].startswith("-") and rest[0] not in _PROGRAM_OPTIONS:
        return None
    if rest[0] not in _PROGRAM_OPTIONS and not rest[0].endswith(".py"):
        # A directory or an archive with a program in it.
        return None
    return argv[:count]
