"""The auditor that the user's settings ask for."""

from __future__ import annotations

from pathlib import Path

from homeport.apiserver import config_file
from homeport.apiserver.audit import policy
from homeport.apiserver.audit.auditor import Auditor
from homeport.apiserver.audit.log import LogFile, Rotation
from homeport.kube.errors import Permanent
from homeport.settings import AuditSettings


def open_auditor(settings: AuditSettings) -> Auditor:
    """Raises Permanent for a policy that is none, or a log that can't be written."""
    chosen = policy.everything() if settings.policy_file is None else _read(settings.policy_file)
    rotation = Rotation(settings.max_size, settings.max_backup, settings.max_age)
    try:
        return Auditor(chosen, LogFile(settings.log_path, rotation))
    except OSError as error:
        raise Permanent(f"--audit-log-path: {settings.log_path} can't be written: {error.strerror}") from error


def _read(path: Path) -> policy.Policy:
    document = config_file.load("--audit-policy-file", path, "Policy")
    found, errors = policy.read(document)
    if found is None:
        raise Permanent(f"--audit-policy-file: {path}: {'; '.join(map(str, errors))}")
    return found
