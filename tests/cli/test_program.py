from __future__ import annotations

from pathlib import Path

import pytest

from homeport import cli
from homeport.cli.program import FRAMEWORKS, MOST, Program, manifests
from homeport.kube import core, meta
from homeport.kube.errors import Permanent


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train_it.py").write_text("print('hello')\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text("print('hello')\n")
    return tmp_path


def test_a_program_is_a_config_map_and_a_job() -> None:
    arguments = ("--epochs", "$(HOME)")
    program = Program("train_it.py", arguments=arguments, framework="torch", replicas=4, gpus=2, env={"A": "b=c"})
    source, job = (manifest.object for manifest in manifests(program))
    assert source["data"] == {"0-train_it.py": "print('hello')\n"}
    assert (job["kind"], meta.name(job), meta.spec(job)["nprocPerNode"]) == ("PyTorchJob", "train-it", "2")
    replicas = meta.spec(job)["pytorchReplicaSpecs"]
    assert {type: spec["replicas"] for type, spec in replicas.items()} == {"Master": 1, "Worker": 3}
    (container,) = replicas["Worker"]["template"]["spec"]["containers"]
    launched = ["python3", "-u", "-m", "torch.distributed.run", "/app/train_it.py", "--epochs", "$$(HOME)"]
    assert container["command"] == launched
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "2"}}
    assert container["env"] == [{"name": "A", "value": "b=c"}]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("replicas", [1, 3])
def test_every_pod_is_one_that_the_server_takes(framework: str, replicas: int) -> None:
    _, job = (one.object for one in manifests(Program("train_it.py", framework=framework, replicas=replicas)))
    spec = meta.spec(job)
    groups = next((value for key, value in spec.items() if key.endswith("ReplicaSpecs")), {"": spec})
    assert sum(group.get("replicas") or group["completions"] for group in groups.values()) == replicas
    for group in groups.values():
        assert not list(core.validate_template(group["template"], "template"))


def test_a_module_brings_its_package(here: Path) -> None:
    (here / "trainer" / "deep").mkdir(parents=True)
    for name in ("__init__.py", "task.py", "deep/__init__.py"):
        (here / "trainer" / name).write_text(f"# {name}\n")
    (here / "trainer" / "notes.txt").write_text("not a program")
    source, job = (one.object for one in manifests(Program(module="trainer.task")))
    spec = meta.spec(job)["template"]["spec"]
    (volume,) = spec["volumes"]
    contents = {item["path"]: source["data"][item["key"]] for item in volume["configMap"]["items"]}
    assert contents == {f"trainer/{n}": f"# {n}\n" for n in ("__init__.py", "deep/__init__.py", "task.py")}
    assert spec["containers"][0]["command"] == ["python3", "-u", "-m", "trainer.task"]
    assert meta.name(job) == "trainer-task"


def test_what_can_not_be_sent(here: Path) -> None:
    (here / "big.py").write_text("#" * (MOST + 1))
    with pytest.raises(Permanent, match="a config map holds 1,048,576"):
        manifests(Program("big.py"))
    with pytest.raises(Permanent, match=r"missing\.py: no such file"):
        manifests(Program("missing.py"))
    with pytest.raises(Permanent, match="there is no module nowhere"):
        manifests(Program(module="nowhere.task"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["job.yaml", "--replicas", "2"], "--replicas is for a program"),
        (["job.yaml", "--", "x"], "arguments after -- are for a program"),
        (["train_it.py", "job.yaml"], "one program at a time"),
        (["train_it.py", "--env", "x"], "--env x: expected NAME=VALUE"),
        ([], "nothing to run"),
        (
            ["."],
            "file in this directory; a Python program is run by its own name: homeport run train_it.py",
        ),
        ([".", "--framework", "torch"], "by its own name: homeport run train_it.py"),
        (["package"], "; to run it as a program: homeport run -m package, in /"),
    ],
)
def test_wrong_arguments_are_told(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert cli.main(["run", *arguments]) == cli.EXIT_FAILURE
    assert words in capsys.readouterr().err
