"""The auditor that the user's settings ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeport.apiserver.audit import policy
from homeport.apiserver.audit.auditor import Auditor
from homeport.apiserver.audit.log import LogFile, Rotation
from homeport.kube.errors import BadRequest, Permanent
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
    from homeport.kube import yamltext

    try:
        document: Any = yamltext.load(path.read_bytes())[0]
    except OSError as error:
        raise Permanent(f"--audit-policy-file: {path} can't be read: {error.strerror}") from error
    except BadRequest as error:
        raise Permanent(f"--audit-policy-file: {path}: {error}") from error
    if not isinstance(document, dict):
        raise Permanent(f"--audit-policy-file: {path} is not a Policy")
    found, errors = policy.read(document)
    if found is None:
        raise Permanent(f"--audit-policy-file: {path}: {'; '.join(map(str, errors))}")
    return found
