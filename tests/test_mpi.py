from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_public_key

from homeport import mpi


def test_the_keys_of_a_secret_belong_together_and_to_nobody_else() -> None:
    one, other = mpi.with_keys({"type": mpi.SECRET_TYPE}), mpi.with_keys({"type": mpi.SECRET_TYPE})
    assert one["type"] == mpi.SECRET_TYPE
    assert one["data"] != other["data"]
    private = load_pem_private_key(base64.b64decode(one["data"][mpi.PRIVATE_KEY]), None)
    public = load_ssh_public_key(base64.b64decode(one["data"][mpi.PUBLIC_KEY]))
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert private.public_key().public_numbers() == public.public_numbers()
    assert private.curve.name == "secp521r1"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not on this machine")
def test_openssh_reads_the_private_key(tmp_path: Path) -> None:
    data = mpi.with_keys({})["data"]
    file = tmp_path / "id_rsa"
    file.write_bytes(base64.b64decode(data[mpi.PRIVATE_KEY]))
    file.chmod(0o600)
    told = subprocess.run(["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True).stdout
    assert told.split()[:2] == base64.b64decode(data[mpi.PUBLIC_KEY]).decode().split()[:2]


def test_each_implementation_has_its_hostfile() -> None:
    hosts = ("a.job", "b.job")
    assert mpi.hostfile(hosts, 2, "OpenMPI") == "a.job slots=2\nb.job slots=2\n"
    assert mpi.hostfile(hosts, 2, "Intel") == mpi.hostfile(hosts, 2, "MPICH") == "a.job:2\nb.job:2\n"
