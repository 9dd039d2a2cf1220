"""Which containers may be forks of a warm interpreter: those that can't tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from homeport.node.runtime import ContainerSpec, ImageRoot, Security
from homeport.node.warmth import Warmth, warmth_of

IMAGE = ImageRoot(environment="/cache/pytorch/venv", interpreter="/opt/python", warm=("torch",))
ENV = {"PATH": "/opt/venv/bin:/usr/bin:/bin", "HOME": "/root"}
CONTAINER = ContainerSpec(
    name="main",
    attempt=0,
    argv=("python", "train.py", "--epochs", "3"),
    env=ENV,
    cwd="/",
    image=IMAGE,
    mounts=(),
    log_path="/log",
)


def warmth(**changes: Any) -> Warmth:
    found = warmth_of(replace(CONTAINER, **changes))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("argv", "interpreter"),
    [
        (("python", "train.py"), ("python",)),
        (("python3", "-u", "train.py", "-x"), ("python3", "-u")),
        (("/opt/venv/bin/python3.11", "-B", "-u", "-m", "package.train"), ("/opt/venv/bin/python3.11", "-B", "-u")),
        (("python", "-c", "print(1)", "-O"), ("python",)),
    ],
)
def test_the_image_s_own_interpreter_with_a_program(argv: tuple[str, ...], interpreter: tuple[str, ...]) -> None:
    assert warmth(argv=argv).argv == interpreter


@pytest.mark.parametrize(
    "changes",
    [
        {"image": replace(IMAGE, warm=())},
        {"image": replace(IMAGE, environment=None)},
        {"image": replace(IMAGE, layers=("/layer",))},
        {"argv": ()},
        {"argv": ("python",)},
        {"argv": ("python", "-c")},
        {"argv": ("python", "-")},
        {"argv": ("python", "-O", "train.py")},
        {"argv": ("python", "-X", "dev", "train.py")},
        {"argv": ("python", "package")},
        {"argv": ("/usr/bin/python3", "train.py")},
        {"argv": ("torchrun", "train.py")},
        {"argv": ("sh", "-c", "python train.py")},
        {"env": {**ENV, "PATH": "/usr/bin:/opt/venv/bin"}},
        {"uid": 1000},
        {"gid": 1000},
        {"groups": (7,)},
        {"user": "someone"},
        {"tty": True},
        {"keeps_writes": True},
        {"devices": ("/dev/nvidia0",)},
        {"security": Security(privileged=True)},
        {"security": Security(capabilities=frozenset())},
    ],
    ids=repr,
)
def test_everything_that_could_make_a_difference_starts_cold(changes: dict[str, Any]) -> None:
    assert warmth_of(replace(CONTAINER, **changes)) is None


def test_what_is_read_at_the_start_has_an_interpreter_of_its_own() -> None:
    plain = warmth()
    for name in (
        "PYTHONPATH",
        "PYTHONHASHSEED",
        "OMP_NUM_THREADS",
        "LD_PRELOAD",
        "LC_ALL",
        "TZ",
        "CUDA_VISIBLE_DEVICES",
    ):
        other = warmth(env={**ENV, name: "x"})
        assert other.key != plain.key, name
        assert other.env == {**ENV, name: "x"}
    assert warmth(argv=("python", "-u", "train.py")).key != plain.key
    assert warmth(image=replace(IMAGE, warm=("torch", "numpy"))).key != plain.key
    assert warmth(image=replace(IMAGE, environment="/cache/other/venv")).key != plain.key


def test_what_programs_read_makes_no_difference() -> None:
    plain = warmth()
    env = {**ENV, "RANK": "3", "MASTER_ADDR": "job-master-0", "TF_CONFIG": "{}", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    other = warmth(env=env, argv=("python", "-m", "other"), cwd="/data", stdin=True, read_only_root=True)
    assert other == plain
    assert other.env == ENV
