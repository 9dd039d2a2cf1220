"""What MPI jobs of every API need: the keys by which a launcher reaches its workers, and the hosts that it finds there.

Upstream: ``newSSHAuthSecret`` of the MPI operator and ``buildSSHAuthSecret`` of Kubeflow Trainer.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Literal, TypeAlias

from homeport.kube.meta import Object

Implementation: TypeAlias = Literal["OpenMPI", "Intel", "MPICH"]

CONFIG_MOUNT = "/etc/mpi"
"""Where launchers find what is particular to the job."""
NO_GPUS = {"NVIDIA_VISIBLE_DEVICES": "", "NVIDIA_DRIVER_CAPABILITIES": ""}
"""Variables of a launcher that only launches: it must not see GPUs that it hasn't asked for."""
SECRET_TYPE = "kubernetes.io/ssh-auth"
PRIVATE_KEY = "ssh-privatekey"
PUBLIC_KEY = "ssh-publickey"
KEY_FILES = ((PRIVATE_KEY, "id_rsa"), (PUBLIC_KEY, "id_rsa.pub"), (PUBLIC_KEY, "authorized_keys"))
"""Key of the secret -> the file that SSH wants."""


def with_keys(secret: Object) -> Object:
    """The secret with a pair of keys that nobody else has: P-521, the private one as PEM, the public one as a line of
    ``authorized_keys``. It computes for a few milliseconds."""
    from cryptography.hazmat.primitives import serialization  # few platforms ever run a job of this kind
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP521R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH) + b"\n"
    data = {PRIVATE_KEY: base64.b64encode(private).decode(), PUBLIC_KEY: base64.b64encode(public).decode()}
    return {**secret, "data": {**(secret.get("data") or {}), **data}}


def hostfile(hosts: Iterable[str], slots: int, implementation: Implementation) -> str:
    """One line for each host, with the processes that may run there."""
    between = " slots=" if implementation == "OpenMPI" else ":"
    return "".join(f"{host}{between}{slots}\n" for host in hosts)


def launcher_variables(implementation: Implementation, hostfile: str, slots: int) -> tuple[Object, ...]:
    """What tells ``mpirun`` of the hosts (a file), how many processes each runs, and to try a while to reach it."""
    patience = "-o ConnectionAttempts=10"
    values: dict[str, str]
    match implementation:
        case "Intel":
            values = {
                "I_MPI_HYDRA_HOST_FILE": hostfile,
                "I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS": patience,
                "I_MPI_PERHOST": str(slots),
            }
        case "MPICH":
            values = {"HYDRA_HOST_FILE": hostfile, "HYDRA_LAUNCH_EXTRA_ARGS": patience}
        case _:
            values = {
                "OMPI_MCA_orte_default_hostfile": hostfile,
                "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
                "OMPI_MCA_orte_set_default_slots": str(slots),
                "OMPI_MCA_plm_rsh_args": patience,
                # Open MPI 5 has another launcher, which reads variables of its own. It would not know its own short
                # name in a file of whole names; it reaches the others by the whole ones all the same.
                "PRTE_MCA_prte_default_hostfile": hostfile,
                "PRTE_MCA_prte_keep_fqdn_hostnames": "0",
                "PRTE_MCA_prte_set_default_slots": str(slots),
                "PRTE_MCA_plm_ssh_args": patience,
            }
    return tuple({"name": name, "value": value} for name, value in values.items())
