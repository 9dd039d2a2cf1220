"""base64url without padding (RFC 4648, section 5), as tokens are written. Pure."""

from __future__ import annotations

import base64


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises ValueError for anything else: the codec alone would skip what it does not know."""
    if not text.isascii() or "+" in text or "/" in text or "=" in text:
        raise ValueError("not base64url without padding")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
