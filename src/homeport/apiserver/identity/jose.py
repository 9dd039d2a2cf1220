"""JSON Web Signatures, Keys and Tokens (RFC 7515, 7517, 7519), as far as an API server needs them.

Only the asymmetric algorithms that Kubernetes accepts; neither ``none`` nor an HMAC can get in by a header's word. The
arithmetic is ``cryptography``'s, imported when a key is first needed: it takes a tenth of a second and 14 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from homeport.apiserver import base64url
from homeport.kube.wire import NOT_JSON

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

MAX_TOKEN = 64 << 10
"""Characters of the longest token that is looked at."""
_MIN_RSA_BITS = 2048


class _Algorithm(NamedTuple):
    kind: str
    """Of the key: ``RSA`` (PKCS #1 v1.5), ``PSS`` or the curve."""
    hash: str


ALGORITHMS: Mapping[str, _Algorithm] = {
    "RS256": _Algorithm("RSA", "SHA256"),
    "RS384": _Algorithm("RSA", "SHA384"),
    "RS512": _Algorithm("RSA", "SHA512"),
    "PS256": _Algorithm("PSS", "SHA256"),
    "PS384": _Algorithm("PSS", "SHA384"),
    "PS512": _Algorithm("PSS", "SHA512"),
    "ES256": _Algorithm("secp256r1", "SHA256"),
    "ES384": _Algorithm("secp384r1", "SHA384"),
    "ES512": _Algorithm("secp521r1", "SHA512"),
}
"""The signatures that Kubernetes takes from an identity provider (``--oidc-signing-algs``)."""
_CURVES = {"P-256": "SECP256R1", "P-384": "SECP384R1", "P-521": "SECP521R1"}


class BadToken(ValueError):
    """No token, or one that must not be believed. The text never quotes the token."""


class Token(msgspec.Struct, frozen=True):
    """A signed token, taken apart and not yet believed."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    """What the signature is of."""
    signature: bytes

    @property
    def algorithm(self) -> str:
        return str(self.header["alg"])

    @property
    def key_id(self) -> str:
        found = self.header.get("kid")
        return found if isinstance(found, str) else ""


def _decode(part: str) -> bytes:
    try:
        return base64url.decode(part)
    except ValueError as error:
        raise BadToken("a part of the token is not base64url") from error


def parse(text: str) -> Token:
    """Take a compact token apart. Raises BadToken for what is none; nothing is verified."""
    if len(text) > MAX_TOKEN:
        raise BadToken("the token is too long")
    parts = text.split(".")
    if len(parts) != 3:
        raise BadToken("a signed token has three parts")
    header, claims = _object(parts[0]), _object(parts[1])
    if not isinstance(header.get("alg"), str):
        raise BadToken("the token names no algorithm")
    if "crit" in header:
        raise BadToken("the token has extensions that must be understood")
    return Token(header, claims, f"{parts[0]}.{parts[1]}".encode(), _decode(parts[2]))


def _object(part: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(_decode(part))
    except NOT_JSON as error:
        raise BadToken("a part of the token is not JSON") from error
    if not isinstance(value, dict):
        raise BadToken("a part of the token is not an object")
    return value


def verify(token: Token, key: PublicKey) -> None:
    """Raises BadToken unless `key` made the signature, by the algorithm in the header, which must fit the key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

    algorithm = ALGORITHMS.get(token.algorithm)
    if algorithm is None:
        raise BadToken("the token's algorithm is not accepted")
    digest: hashes.HashAlgorithm = getattr(hashes, algorithm.hash)()
    signature = token.signature
    try:
        if isinstance(key, rsa.RSAPublicKey):
            if algorithm.kind == "RSA":
                key.verify(signature, token.signed, padding.PKCS1v15(), digest)
                return
            if algorithm.kind == "PSS":
                pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
                key.verify(signature, token.signed, pss, digest)
                return
        elif algorithm.kind == key.curve.name:
            size = (key.curve.key_size + 7) // 8
            if len(signature) != 2 * size:
                raise BadToken("the token's signature has not its algorithm's length")
            pair = (int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))
            key.verify(utils.encode_dss_signature(*pair), token.signed, ec.ECDSA(digest))
            return
    except InvalidSignature as error:
        raise BadToken("the token's signature does not hold") from error
    raise BadToken("the token's algorithm does not fit the key")


def algorithm_of(key: PublicKey | PrivateKey) -> str:
    """What tokens are signed by with such a key. Raises BadToken for a curve that has no algorithm."""
    from cryptography.hazmat.primitives.asymmetric import ec

    kind = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) else "RSA"
    for name, algorithm in ALGORITHMS.items():
        if algorithm.kind == kind:
            return name
    raise BadToken(f"a key of the curve {kind}")


def sign(signed: bytes, key: PrivateKey) -> bytes:
    """The signature of a token's first two parts, by :func:`algorithm_of` the key."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    digest: hashes.HashAlgorithm = getattr(hashes, ALGORITHMS[algorithm_of(key)].hash)()
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(signed, padding.PKCS1v15(), digest)
    size = (key.curve.key_size + 7) // 8
    pair = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
    return b"".join(number.to_bytes(size, "big") for number in pair)


def jwk(key: PublicKey) -> dict[str, str]:
    """The key as a JSON Web Key, without what it is for."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _encoded(numbers.n), "e": _encoded(numbers.e)}
    point, size = key.public_numbers(), (key.curve.key_size + 7) // 8
    names = {curve.lower(): name for name, curve in _CURVES.items()}
    return {"kty": "EC", "crv": names[key.curve.name], "x": _encoded(point.x, size), "y": _encoded(point.y, size)}


def _encoded(number: int, size: int = 0) -> str:
    return base64url.encode(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


def public_key(jwk: Mapping[str, Any]) -> PublicKey | None:
    """The key of a JSON Web Key; None for one of another use or kind than signatures here. Raises BadToken if it is
    malformed."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if jwk.get("use") not in (None, "sig"):
        return None
    try:
        if jwk.get("kty") == "RSA":
            numbers = rsa.RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n"))
            if numbers.n.bit_length() < _MIN_RSA_BITS:
                raise BadToken(f"an RSA key of less than {_MIN_RSA_BITS} bits")
            return numbers.public_key()
        if jwk.get("kty") == "EC" and jwk.get("crv") in _CURVES:
            curve: ec.EllipticCurve = getattr(ec, _CURVES[jwk["crv"]])()
            return ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), curve).public_key()
    except ValueError as error:
        raise BadToken("a key that is not well-formed") from error
    return None


def _number(jwk: Mapping[str, Any], name: str) -> int:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise BadToken(f"a key without {name}")
    return int.from_bytes(_decode(value), "big")


def audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The claim ``aud``: one text or several."""
    found = claims.get("aud")
    if isinstance(found, str):
        return (found,)
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def moment(claims: Mapping[str, Any], name: str) -> float | None:
    """A time claim in seconds since 1970; None if it's not there. Raises BadToken if it is no number."""
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise BadToken(f"the claim {name} is not a time")
    try:
        return float(found)
    except OverflowError:
        raise BadToken(f"the claim {name} is not a time") from None
