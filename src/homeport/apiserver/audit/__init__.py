"""The audit log: who did what, and what came of it, as events of ``audit.k8s.io/v1``.

Everybody may note something about the request that is being served with :func:`annotate`; without an audit log that
does nothing.
"""

from __future__ import annotations

from homeport.apiserver.audit.trail import annotate

__all__ = ["annotate"]
