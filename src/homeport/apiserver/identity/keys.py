"""The keys of service-account tokens: one that signs, in a file that only its owner reads, and others that have signed
before, whose tokens are still believed.

A key that is made here is RSA: a token is signed once and verified often, RSA verifies three times as fast as ECDSA (33
against 109 microseconds), and RS256 is the one algorithm that every OpenID Connect client has to know.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from homeport.apiserver import base64url
from homeport.apiserver.identity import jose
from homeport.files import write_atomically
from homeport.kube.errors import Permanent

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_BITS = 2048


class _Public(NamedTuple):
    key: jose.PublicKey
    id: str
    algorithm: str
    """By which its tokens are signed."""


class _Loaded(NamedTuple):
    private: PrivateKey
    public: _Public
    """Of `private`."""
    believed: Mapping[str, _Public]
    """All keys by their ids, the one that signs first."""


class SigningKey:
    """The key in the file at `path`, which is made when it is first needed and missing. Tokens that one of the `former`
    keys has signed, public or private ones in PEM, are believed as well.

    Nothing is read before it is needed: a platform on which nobody uses a service account pays nothing for them.
    """

    def __init__(self, path: Path, former: Sequence[Path] = (), *, make: bool = True) -> None:
        self._path = path
        self._former = tuple(former)
        self._make = make
        self._lock = asyncio.Lock()
        self._keys: _Loaded | None = None

    async def load(self) -> None:
        """Read the keys now. Raises Permanent for files that hold none."""
        await self._loaded()

    async def _loaded(self) -> _Loaded:
        if self._keys is None:
            async with self._lock:
                if self._keys is None:
                    self._keys = await asyncio.to_thread(self._load)
        return self._keys

    def _load(self) -> _Loaded:
        private = self._private()
        own = _described(private.public_key(), self._path)
        believed = {own.id: own}
        for path in self._former:
            each = _described(_read_public(path), path)
            believed.setdefault(each.id, each)
        return _Loaded(private, own, believed)

    def _private(self) -> PrivateKey:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        try:
            found = serialization.load_pem_private_key(self._path.read_bytes(), None)
        except FileNotFoundError as error:
            if not self._make:
                raise Permanent(f"{self._path} can't be read: {error.strerror}") from error
            return self._made()
        except OSError as error:
            raise Permanent(f"{self._path} can't be read: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise Permanent(f"{self._path} is not a private key in PEM{self._advice}") from error
        if not isinstance(found, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise Permanent(f"{self._path} is neither a key of RSA nor of ECDSA{self._advice}")
        return found

    @property
    def _advice(self) -> str:
        return ": remove it to have a new one made" if self._make else ""

    def _made(self) -> rsa.RSAPrivateKey:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(65537, _BITS)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(
            self._path,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        return key

    async def sign(self, claims: Mapping[str, Any]) -> str:
        """A signed token in the compact form."""
        keys = await self._loaded()
        header = {"alg": keys.public.algorithm, "kid": keys.public.id}
        signed = f"{base64url.encode(msgspec.json.encode(header))}.{base64url.encode(msgspec.json.encode(claims))}"
        # A millisecond in which other requests need not wait: OpenSSL lets go of the interpreter.
        signature = await asyncio.to_thread(jose.sign, signed.encode(), keys.private)
        return f"{signed}.{base64url.encode(signature)}"

    async def verify(self, token: jose.Token) -> None:
        """Raises BadToken unless one of these keys signed `token`."""
        believed = (await self._loaded()).believed
        named = believed.get(token.key_id)
        wrong = jose.BadToken("the token was signed by another key")
        for each in believed.values() if not token.key_id else () if named is None else (named,):
            if each.algorithm != token.algorithm:
                continue
            try:
                jose.verify(token, each.key)
                return
            except jose.BadToken as error:
                wrong = error
        raise wrong

    async def jwks(self) -> dict[str, Any]:
        """The public keys as a JSON Web Key Set."""
        believed = (await self._loaded()).believed.values()
        return {
            "keys": [{"use": "sig", "kid": each.id, "alg": each.algorithm, **jose.jwk(each.key)} for each in believed]
        }

    async def algorithms(self) -> list[str]:
        """By which tokens may be signed."""
        return sorted({each.algorithm for each in (await self._loaded()).believed.values()})


def _described(key: jose.PublicKey, path: Path) -> _Public:
    """Raises Permanent for a key that no token can be signed with."""
    from cryptography.hazmat.primitives import serialization

    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    # Upstream's key id: the digest of the public key, so that the same key has the same id everywhere.
    identifier = base64url.encode(hashlib.sha256(encoded).digest())
    try:
        return _Public(key, identifier, jose.algorithm_of(key))
    except jose.BadToken as error:
        raise Permanent(f"{path} can't sign tokens: it is {error}") from error


def _read_public(path: Path) -> jose.PublicKey:
    """The public key in a file, or of the private key in it. Raises Permanent."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    try:
        pem = path.read_bytes()
        if b"PRIVATE KEY" in pem:
            found: Any = serialization.load_pem_private_key(pem, None).public_key()
        else:
            found = serialization.load_pem_public_key(pem)
    except OSError as error:
        raise Permanent(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise Permanent(f"{path} is not a key in PEM") from error
    if not isinstance(found, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise Permanent(f"{path} is neither a key of RSA nor of ECDSA")
    return found
