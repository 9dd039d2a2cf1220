"""The error tree.

::

    HomeportError
    ├── Permanent                 do not retry: the same input fails the same way
    └── ApiError                  an answer of a Kubernetes API server (``Status``)
        ├── BadRequest            400 BadRequest
        ├── Unauthorized          401 Unauthorized
        ├── Forbidden             403 Forbidden
        ├── NotFound              404 NotFound
        ├── MethodNotAllowed      405 MethodNotAllowed
        ├── NotAcceptable         406 NotAcceptable
        ├── AlreadyExists         409 AlreadyExists
        ├── Conflict              409 Conflict
        ├── Expired               410 Expired
        ├── TooLarge              413 RequestEntityTooLarge
        ├── UnsupportedMediaType  415 UnsupportedMediaType
        ├── Invalid               422 Invalid
        ├── TooManyRequests       429 TooManyRequests
        ├── InternalError         500 InternalError
        ├── ServiceUnavailable    503 ServiceUnavailable
        ├── Timeout               504 Timeout
        └── StorageFull           507 InsufficientStorage

Any error that is neither ``Permanent`` nor a client-side ``ApiError`` means: back off and retry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import msgspec


class HomeportError(Exception):
    """Root of every error that Homeport raises on purpose; its text is written for the user."""


class Permanent(HomeportError):
    """The same input will fail the same way: report, do not retry."""


class Ending(Permanent):
    """The namespace goes away, and everything in it: nothing to tell of and nothing to retry."""


class FieldError(msgspec.Struct, frozen=True):
    """One wrong field of an object, worded as Kubernetes words it.

    ``reason`` is the machine-readable cause (``FieldValueRequired``, ``FieldValueInvalid``, ``FieldValueNotSupported``,
    ``FieldValueForbidden``, ``FieldValueDuplicate``, ``FieldValueTypeInvalid``, ``FieldValueTooLong``,
    ``FieldValueTooMany``).
    ``message`` is the text without the path, for example ``Required value`` or ``Invalid value: "x": must be ...``.
    """

    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def _qualified(what: str, group: str) -> str:
    """``plural.group``, as messages name a resource; just the plural for the core group."""
    return f"{what}.{group}" if group else what


def object_details(group: str, kind: str, name: str = "") -> dict[str, Any]:
    """The ``details`` of a ``Status`` that say which object it is about, without what is empty. In most of them
    upstream's ``kind`` is the plural."""
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}


class ApiError(HomeportError):
    """An API server's refusal; maps one to one to a ``Status`` object."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        retry_after: int | None = None,
        status: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}
        if retry_after is not None:
            self.details["retryAfterSeconds"] = retry_after
        self._status = status

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the server invites a retry, or None."""
        value = self.details.get("retryAfterSeconds")
        return value if isinstance(value, int) else None

    def to_status(self) -> dict[str, Any]:
        """The ``Status`` object that goes on the wire."""
        if self._status is not None:
            return self._status
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status

    @staticmethod
    def from_status(status: dict[str, Any], http_code: int = 500) -> ApiError:
        """The error for a ``Status`` object that a server sent (any ``dict`` will do: proxies answer oddly)."""
        code = status.get("code") if isinstance(status.get("code"), int) else http_code
        reason = str(status.get("reason") or "")
        cls = _BY_REASON.get(reason) or _BY_CODE.get(code or http_code) or ApiError
        message = str(status.get("message") or reason or f"the server answered {code}")
        details = status.get("details")
        return cls(message, details=dict(details) if isinstance(details, dict) else None, status=status)


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"

    @classmethod
    def of(cls, group: str, plural: str, name: str) -> NotFound:
        return cls(f'{_qualified(plural, group)} "{name}" not found', details=object_details(group, plural, name))


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"

    @classmethod
    def of(cls, group: str, plural: str, name: str) -> AlreadyExists:
        return cls(f'{_qualified(plural, group)} "{name}" already exists', details=object_details(group, plural, name))


class Superseded(HomeportError):
    """Somebody else wrote first. Two writers that meet are nothing to tell of: what is new comes by itself, and then it
    is decided anew."""


class Conflict(ApiError):
    code, reason = 409, "Conflict"

    @classmethod
    def modified(cls, group: str, plural: str, name: str) -> Conflict:
        """The optimistic lock failed: somebody else wrote the object first."""
        return cls._unfulfilled(
            group,
            plural,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )

    @classmethod
    def precondition(cls, group: str, plural: str, name: str, field: str, wanted: str, found: str) -> Conflict:
        """The object is not the one that the client means: `field` is ``UID`` or ``ResourceVersion``."""
        why = f"Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {found}"
        return cls._unfulfilled(group, plural, name, why)

    @classmethod
    def _unfulfilled(cls, group: str, plural: str, name: str, why: str) -> Conflict:
        message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
        return cls(message, details=object_details(group, plural, name))


class Expired(ApiError):
    code, reason = 410, "Expired"


class TooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"

    @classmethod
    def of(cls, group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Invalid:
        texts = [str(error) for error in errors]
        joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
        causes = [{"reason": e.reason, "message": e.message, "field": e.path} for e in errors]
        details = {**object_details(group, kind), "name": name, "causes": causes}
        return cls(f'{_qualified(kind, group)} "{name}" is invalid: {joined}', details=details)


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


class StorageFull(ApiError):
    code, reason = 507, "InsufficientStorage"


_CLASSES: Iterable[type[ApiError]] = (
    BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, Conflict, AlreadyExists, Expired,
    TooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, ServiceUnavailable, Timeout, StorageFull,
)  # fmt: skip
_BY_REASON = {cls.reason: cls for cls in _CLASSES} | {"Gone": Expired}
_BY_CODE = {cls.code: cls for cls in reversed(list(_CLASSES))}
