"""The keys of service-account tokens: those that sign, those that did, and what others learn of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from homeport.apiserver.identity import jose
from homeport.apiserver.identity.keys import SigningKey
from homeport.kube.errors import Permanent

P256, P521 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP521R1())


def private(path: Path, key: Any) -> Path:
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return path


def public(path: Path, key: Any) -> Path:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return path


async def test_tokens_of_a_former_key_are_believed(tmp_path: Path) -> None:
    former = SigningKey(tmp_path / "first.key")
    old = await former.sign({"sub": "old"})
    made = serialization.load_pem_private_key((tmp_path / "first.key").read_bytes(), None)
    keys = SigningKey(
        tmp_path / "second.key", [public(tmp_path / "first.pub", made), private(tmp_path / "ec.key", P256)]
    )
    new = await keys.sign({"sub": "new"})
    also = await SigningKey(tmp_path / "ec.key").sign({"sub": "also"})
    published = jwt.PyJWKSet.from_dict(await keys.jwks())
    assert len(published.keys) == 3
    assert await keys.algorithms() == ["ES256", "RS256"]
    for token in (old, new, also):
        await keys.verify(jose.parse(token))
        header = jwt.get_unverified_header(token)
        jwt.decode(token, published[header["kid"]], algorithms=[header["alg"]])
    assert published.keys[0].key_id == jwt.get_unverified_header(new)["kid"]
    without = SigningKey(tmp_path / "second.key")
    await without.verify(jose.parse(new))
    with pytest.raises(jose.BadToken, match="another key"):
        await without.verify(jose.parse(old))


@pytest.mark.parametrize(("key", "algorithm"), [(P256, "ES256"), (P521, "ES512")])
async def test_keys_of_ecdsa_sign_too(tmp_path: Path, key: Any, algorithm: str) -> None:
    path = private(tmp_path / "ec.key", key)
    token = await SigningKey(path, [public(tmp_path / "same.pub", key)], make=False).sign({"sub": "a"})
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    assert jwt.decode(token, key.public_key(), algorithms=[algorithm]) == {"sub": "a"}
    [described] = (await SigningKey(path).jwks())["keys"]
    assert (described["kty"], described["use"], described["alg"]) == ("EC", "sig", algorithm)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "can't be read"),
        (b"-----BEGIN NOTHING-----", "is not a private key in PEM"),
        (ed25519.Ed25519PrivateKey.generate(), "neither a key of RSA nor of ECDSA"),
        (ec.generate_private_key(ec.SECP256K1()), "can't sign tokens: it is a key of the curve secp256k1"),
    ],
)
async def test_files_that_hold_no_key(tmp_path: Path, content: Any, words: str) -> None:
    path, good = tmp_path / "key", private(tmp_path / "good", rsa.generate_private_key(65537, 2048))
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        private(path, content)
    with pytest.raises(Permanent, match=words):
        await SigningKey(path, make=False).load()
    with pytest.raises(Permanent, match=words.replace("a private key", "a key")):
        await SigningKey(good, [path]).load()
