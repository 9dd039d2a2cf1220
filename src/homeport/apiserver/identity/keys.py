"""The key that signs service-account tokens: RSA, made once, in a file that only its owner reads.

RS256 rather than ES256: a token is signed once and verified often, RSA verifies three times as fast (33 against 109
microseconds) and is the one algorithm that every OpenID Connect client has to know.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from homeport.apiserver import base64url
from homeport.apiserver.identity import jose
from homeport.files import write_atomically
from homeport.kube.errors import Permanent

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

_BITS = 2048
ALGORITHM = "RS256"


class SigningKey:
    """The key in the file at `path`, which is made when it is first needed and missing.

    Nothing is read before that: a platform on which nobody uses a service account pays nothing for them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self._private: rsa.RSAPrivateKey | None = None
        self._public: rsa.RSAPublicKey
        self._id = ""

    async def _loaded(self) -> rsa.RSAPrivateKey:
        if self._private is None:
            async with self._lock:
                if self._private is None:
                    await asyncio.to_thread(self._load)
        assert self._private is not None
        return self._private

    def _load(self) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        try:
            found = serialization.load_pem_private_key(self._path.read_bytes(), None)
        except FileNotFoundError:
            found = rsa.generate_private_key(65537, _BITS)
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(
                self._path,
                found.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            )
        except (ValueError, TypeError) as error:
            raise Permanent(f"{self._path} is not a private key in PEM: remove it to have a new one made") from error
        if not isinstance(found, rsa.RSAPrivateKey):
            raise Permanent(f"{self._path} is not an RSA key: remove it to have a new one made")
        public = found.public_key()
        encoded = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        # Upstream's key id: the digest of the public key, so that the same key has the same id everywhere.
        self._id = base64url.encode(hashlib.sha256(encoded).digest())
        self._public = public
        self._private = found

    async def sign(self, claims: Mapping[str, Any]) -> str:
        """A signed token in the compact form."""
        key = await self._loaded()
        header = {"alg": ALGORITHM, "kid": self._id}
        signed = f"{base64url.encode(msgspec.json.encode(header))}.{base64url.encode(msgspec.json.encode(claims))}"

        def sign() -> bytes:
            from cryptography.hazmat.primitives import hashes
            from cryptography.hazmat.primitives.asymmetric import padding

            return key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())

        # A millisecond in which other requests need not wait: OpenSSL lets go of the interpreter.
        return f"{signed}.{base64url.encode(await asyncio.to_thread(sign))}"

    async def verify(self, token: jose.Token) -> None:
        """Raises BadToken unless this key signed `token`."""
        await self._loaded()
        if token.algorithm != ALGORITHM or token.key_id not in ("", self._id):
            raise jose.BadToken("the token was signed by another key")
        jose.verify(token, self._public)

    async def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set."""
        await self._loaded()
        numbers = self._public.public_numbers()
        key = {
            "use": "sig",
            "kty": "RSA",
            "kid": self._id,
            "alg": ALGORITHM,
            "n": base64url.encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": base64url.encode(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
        }
        return {"keys": [key]}
