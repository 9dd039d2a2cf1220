"""GPUs: found by way of the driver's library, given to containers, and never to two at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakenvml import FakeNvml
from hypothesis import given
from hypothesis import strategies as st

from homeport.node import doctor, gpus, nvml
from homeport.node.memory import Verdict
from homeport.node.nvml import Gpu

GPUS = tuple(Gpu(f"GPU-{number}", number, "NVIDIA Test 80GB", 80 << 30) for number in range(4))


def test_what_the_driver_tells() -> None:
    library = FakeNvml(2)
    found = nvml.discover(lambda: library)
    assert found == (
        Gpu("GPU-0", 1, "NVIDIA Test 80GB", 80 << 30),
        Gpu("GPU-1", 0, "NVIDIA Test 80GB", 80 << 30),
    )
    assert found[0].path == "/dev/nvidia1"
    assert not library.is_open


def test_a_machine_without_a_driver_has_none() -> None:
    assert nvml.discover(lambda: None) == ()


def test_a_lost_gpu_is_left_out() -> None:
    assert [gpu.uuid for gpu in nvml.discover(lambda: FakeNvml(3, lost=(1,)))] == ["GPU-0", "GPU-2"]


def test_a_driver_that_does_not_answer_says_why() -> None:
    with pytest.raises(nvml.NvmlError, match="nvmlInit_v2: GPU is lost"):
        nvml.discover(lambda: FakeNvml(1, broken=True))
    with pytest.raises(nvml.NvmlError, match="too old: its library has no nvmlInit_v2"):
        nvml.discover(object)


def container(name: str, count: int, **more: Any) -> Any:
    return {"name": name, "resources": {"limits": {"nvidia.com/gpu": str(count)} if count else {}}, **more}


def pod(*mains: Any, init: tuple[Any, ...] = ()) -> Any:
    return {"spec": {"containers": list(mains), "initContainers": list(init)}}


def test_each_container_has_its_own() -> None:
    made = pod(container("a", 1), container("none", 0), container("b", 2))
    assert gpus.assign(made, GPUS, ["GPU-1"]) == {"a": ("GPU-0",), "b": ("GPU-2", "GPU-3")}
    assert gpus.assign(pod(container("none", 0)), (), ()) == {}


def test_init_containers_leave_theirs_to_those_that_follow() -> None:
    sidecar = container("sidecar", 1, restartPolicy="Always")
    made = pod(container("main", 3), init=(container("early", 4), sidecar, container("late", 3)))
    found = gpus.assign(made, GPUS, ())
    assert not isinstance(found, Verdict)
    assert len(found["early"]) == 4
    assert set(found["late"]) == set(found["main"])
    assert set(found["sidecar"]).isdisjoint(found["main"])


def test_what_is_not_there_is_refused() -> None:
    found = gpus.assign(pod(container("a", 2)), GPUS, ["GPU-0", "GPU-1", "GPU-2"])
    assert isinstance(found, Verdict)
    assert (found.reason, found.refuses) == ("UnexpectedAdmissionError", True)
    assert "Requested: 2, Available: 1" in found.message


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=6), st.data())
def test_no_gpu_is_given_twice(pods: list[list[int]], data: st.DataObject) -> None:
    """Whatever comes and goes."""
    held: dict[int, tuple[str, ...]] = {}
    for number, counts in enumerate(pods):
        made = pod(*(container(f"c{i}", count) for i, count in enumerate(counts)))
        found = gpus.assign(made, GPUS, [uuid for uuids in held.values() for uuid in uuids])
        free = len(GPUS) - sum(len(uuids) for uuids in held.values())
        assert isinstance(found, Verdict) == (sum(counts) > free)
        if not isinstance(found, Verdict):
            held[number] = tuple(uuid for uuids in found.values() for uuid in uuids)
        everyone = [uuid for uuids in held.values() for uuid in uuids]
        assert len(everyone) == len(set(everyone))
        if held and data.draw(st.booleans()):
            del held[data.draw(st.sampled_from(sorted(held)))]


def test_what_a_container_sees(tmp_path: Path) -> None:
    own = gpus.of(GPUS, ("GPU-2", "GPU-gone", "GPU-0"))
    assert [gpu.minor for gpu in own] == [2, 0]
    assert gpus.environment(own, machine_has_some=True) == {
        "CUDA_VISIBLE_DEVICES": "GPU-2,GPU-0",
        "NVIDIA_VISIBLE_DEVICES": "GPU-2,GPU-0",
    }
    assert gpus.environment((), machine_has_some=True) == {"NVIDIA_VISIBLE_DEVICES": "void"}
    assert gpus.environment((), machine_has_some=False) == {}
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    names = [Path(path).name for path in gpus.devices(own, str(tmp_path))]
    assert names == ["nvidia2", "nvidia0", "nvidiactl", "nvidia-uvm"]
    assert gpus.devices((), str(tmp_path)) == ()


def test_labels() -> None:
    assert gpus.labels(()) == {}
    assert gpus.labels(GPUS)["nvidia.com/gpu.product"] == "NVIDIA-Test-80GB"


def test_the_doctor() -> None:
    assert doctor.gpus(["NVIDIA Test"] * 2, "", driver=True, missing=[]).found == "2: NVIDIA Test"
    assert "nvidia-modprobe" in doctor.gpus(["NVIDIA Test"], "", driver=True, missing=["/dev/nvidia-uvm"]).remedy
    assert "libnvidia-compute" in doctor.gpus([], "", driver=True, missing=[]).remedy
    assert "nvidia-smi" in doctor.gpus([], "GPU is lost", driver=True, missing=[]).remedy
