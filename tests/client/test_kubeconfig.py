from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from homeport.client import kubeconfig
from homeport.client.kubeconfig import Kubeconfig, KubeconfigError


def write(path: Path, **changes: Any) -> Path:
    document = kubeconfig.document("dev", server="https://localhost:6443", ca_pem=b"CA", token="secret")
    kubeconfig.write(path, {**document, **changes})
    return path


def test_a_written_file_is_read_back_and_for_its_owner_only(tmp_path: Path) -> None:
    path = write(tmp_path / "sub" / "config")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    access = Kubeconfig.find(path).access()
    assert (access.server, access.token, access.ca_pem, access.namespace) == (
        "https://localhost:6443",
        "secret",
        b"CA",
        "default",
    )
    assert "secret" not in repr(access)
    assert list(path.parent.iterdir()) == [path]


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    target = write(tmp_path / "real")
    link = tmp_path / "link"
    link.symlink_to(target)
    kubeconfig.write(link, {"kind": "Config"})
    assert link.is_symlink()
    assert kubeconfig.read(target) == {"kind": "Config"}


def test_files_merge_the_first_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "one", **{"current-context": ""})
    two = tmp_path / "two"
    other = kubeconfig.document("prod", server="https://prod", token="p")
    other["clusters"].append({"name": "dev", "cluster": {"server": "https://wrong"}})
    kubeconfig.write(two, other)
    monkeypatch.setenv("KUBECONFIG", f"{one}{os.pathsep}{tmp_path / 'absent'}{os.pathsep}{two}")
    config = Kubeconfig.find()
    assert config.access().server == "https://prod"
    assert config.access("dev").server == "https://localhost:6443"


def test_merging_touches_nothing_else() -> None:
    mine = kubeconfig.document("mine", server="https://mine") | {"extensions": [{"name": "x"}]}
    dev = kubeconfig.document("dev", server="https://dev")
    merged = kubeconfig.merge(mine, dev)
    assert [entry["name"] for entry in merged["contexts"]] == ["mine", "dev"]
    assert merged["current-context"] == "dev"
    again = kubeconfig.merge(merged, kubeconfig.document("dev", server="https://moved"))
    assert [entry["cluster"]["server"] for entry in again["clusters"]] == ["https://mine", "https://moved"]
    assert again["extensions"] == [{"name": "x"}]


def test_data_wins_over_files_and_files_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"from file")
    path = tmp_path / "config"
    document = kubeconfig.document("dev", server="https://x")
    document["clusters"][0]["cluster"]["certificate-authority"] = "ca.crt"
    document["users"][0]["user"] = {"tokenFile": "token"}
    kubeconfig.write(path, document)
    access = Kubeconfig.find(path).access()
    assert access.ca_pem == b"from file"
    assert access.token_file == tmp_path / "token"
    document["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(b"data").decode()
    kubeconfig.write(path, document)
    assert Kubeconfig.find(path).access().ca_pem == b"data"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not YAML"),
        ("- a", "expected a mapping"),
        ("kind: Config\n---\nkind: Config", "expected a mapping"),
        ("[" * 100_000, "nested deeper than 200 levels"),
        ("{a: " * 100_000, "nested deeper than 200 levels"),
        ("clusters: 3", "clusters: expected a list"),
        ("users: [{name: u, user: 3}]", "user: expected a mapping"),
        ("current-context: x", 'context "x" does not exist'),
        ("kind: Config", "no current-context"),
        ("{contexts: [{context: {}}]}", "needs a name"),
        ("{current-context: x, contexts: [{name: x, context: {cluster: y}}]}", 'names the cluster "y"'),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}], clusters: [{name: y, cluster: {}}]}",
            "cluster.server is missing",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}], "
            "clusters: [{name: y, cluster: {server: 'https://[x'}}]}",
            "cluster.server 'https://\\[x': Invalid IPv6 URL",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}], "
            "clusters: [{name: y, cluster: {server: 'localhost:6443'}}]}",
            "expected a URL like https://host:port",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}], "
            "clusters: [{name: y, cluster: {server: 'https://x', certificate-authority: \"a\\0b\"}}]}",
            "no null byte",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}], "
            "clusters: [{name: y, cluster: {server: 'https://x', certificate-authority-data: '*'}}]}",
            "certificate-authority-data is not base64",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: y, user: u}}], "
            "clusters: [{name: y, cluster: {server: 'https://x'}}], users: [{name: u, user: {exec: {command: a}}}]}",
            "exec.apiVersion",
        ),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=said):
        Kubeconfig.find(path).access()


def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubeconfigError, match="absent"):
        Kubeconfig.find()


def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    assert kubeconfig.in_cluster(tmp_path, {}) is None
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_bytes(b"CA")
    (tmp_path / "namespace").write_text("team\n")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = kubeconfig.in_cluster(tmp_path, environ)
    assert access is not None
    assert (access.server, access.namespace, access.ca_pem) == ("https://[fd00::1]:443", "team", b"CA")
    assert access.token_file == tmp_path / "token"
