"""Service accounts as users: the tokens that say so, issued and believed.

The rules are upstream's (``pkg/serviceaccount``): a token is of one account (by uid), perhaps bound to a pod, a secret
or a node, and holds no longer than they are there. Whoever sends the same token again costs a look-up: what was once
verified is remembered, with the revisions of the objects that it hangs on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from homeport.apiserver.authn import AUTHENTICATED_GROUP, CREDENTIAL_ID, UNSURE, Identified, Unsure, token_digest
from homeport.apiserver.identity import jose
from homeport.apiserver.identity.keys import SigningKey
from homeport.apiserver.uids import new_uid
from homeport.clock import utc_now
from homeport.kube import meta
from homeport.kube.errors import Unauthorized
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.settings import AccountSettings
from homeport.store.protocol import Key, Record, Store

DEFAULT_ISSUER = AccountSettings().issuer
LEGACY_ISSUER = "kubernetes/serviceaccount"
LEEWAY = 60.0
"""Seconds that clocks may differ, and that a deleted object's tokens still hold."""
WARN_SECONDS = 3607
"""The life that the projected token of every pod asks for. Clients that never read the file again must go on working:
such a token is good for a year, and its use after this time is noted in the audit log."""
EXTENDED_SECONDS = 365 * 24 * 3600

_MAX_CACHED = 4096
_EXTRA = "authentication.kubernetes.io/"
ACCOUNTS, PODS, SECRETS, NODES = "/serviceaccounts", "/pods", "/secrets", "/nodes"


def user_name(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def groups(namespace: str) -> tuple[str, ...]:
    """The groups of every account of the namespace."""
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED_GROUP)


def split_user_name(name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name; None for another user."""
    parts = name.split(":")
    if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"] and parts[2] and parts[3]:
        return parts[2], parts[3]
    return None


class Binding(NamedTuple):
    """Objects that a token hangs on beside its account."""

    pod: Object | None = None
    secret: Object | None = None
    node: Object | None = None


UNBOUND = Binding()


class _Anchor:
    """An object that has to exist, and has to be the one that the token means."""

    __slots__ = ("deleted", "key", "revision", "uid")

    def __init__(self, key: Key, uid: str) -> None:
        self.key, self.uid = key, uid
        self.revision = -1
        self.deleted: float | None = None

    def holds(self, store: Store, now: float) -> bool:
        record = store.get(self.key)
        if record is None:
            return False
        if record.revision != self.revision and not self._look_at(record):
            return False
        return self.deleted is None or self.deleted >= now - LEEWAY

    def _look_at(self, record: Record) -> bool:
        found = _decode(record)
        if meta.uid(found) != self.uid:
            return False
        deleted = meta.metadata(found).get("deletionTimestamp")
        self.deleted = meta.parse_time(deleted).timestamp() if deleted else None
        self.revision = record.revision
        return True


class _Known(NamedTuple):
    """A token whose signature has been verified."""

    user: User
    audiences: tuple[str, ...]
    expires: float
    begins: float
    warn_after: float | None
    anchors: tuple[_Anchor, ...]
    legacy: str
    """The token itself, if it is one of those that a secret holds and that must still be in it."""


class _Metadata(msgspec.Struct):
    metadata: dict[str, Any]


_decoder = msgspec.json.Decoder(_Metadata)


def _decode(record: Record) -> Object:
    """The metadata of a stored object, which is all that matters here."""
    return {"metadata": _decoder.decode(record.value).metadata}


class ServiceAccounts:
    """Issues the tokens of service accounts, and authenticates by them.

    `audiences` are those of the API server itself, by default the issuer. Nobody gets a token for more than
    `longest` seconds (0: no limit). With `extend` the projected tokens of pods hold longer than they say.
    """

    def __init__(
        self,
        store: Store,
        key: SigningKey,
        *,
        now: Callable[[], datetime] = utc_now,
        issuer: str = DEFAULT_ISSUER,
        audiences: Sequence[str] = (),
        longest: int = 0,
        extend: bool = True,
    ) -> None:
        self.issuer = issuer
        self.audiences = tuple(audiences) or (issuer,)
        self.longest = longest
        self._extend = extend
        self._store, self._key, self._now = store, key, now
        self._known: dict[bytes, _Known] = {}

    # Issuing.

    async def issue(
        self, account: Object, audiences: Sequence[str], seconds: int, *, binding: Binding = UNBOUND
    ) -> tuple[str, str]:
        """A new token that holds for `seconds`, and its id."""
        now = int(self._now().timestamp())
        namespace, name = meta.namespace(account), meta.name(account)
        private: dict[str, Any] = {"namespace": namespace, "serviceaccount": _reference(account)}
        if binding.node is not None:
            private["node"] = _reference(binding.node)
        if binding.pod is not None:
            private["pod"] = _reference(binding.pod)
            if self._extend and seconds == WARN_SECONDS and set(audiences) <= set(self.audiences):
                private["warnafter"] = now + seconds
                seconds = EXTENDED_SECONDS
        elif binding.secret is not None:
            private["secret"] = _reference(binding.secret)
        identifier = new_uid()
        claims = {
            "aud": list(audiences),
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": identifier,
            "kubernetes.io": private,
            "nbf": now,
            "sub": user_name(namespace, name),
        }
        return await self._key.sign(claims), identifier

    async def issue_legacy(self, namespace: str, account: str, uid: str, secret: str) -> str:
        """The token of a secret of type ``kubernetes.io/service-account-token``. It has no end but the secret's."""
        prefix = "kubernetes.io/serviceaccount/"
        claims = {
            "iss": LEGACY_ISSUER,
            f"{prefix}namespace": namespace,
            f"{prefix}secret.name": secret,
            f"{prefix}service-account.name": account,
            f"{prefix}service-account.uid": uid,
            "sub": user_name(namespace, account),
        }
        return await self._key.sign(claims)

    async def discovery(self, base_url: str) -> dict[str, Any]:
        """The issuer's OpenID configuration; `base_url` is where whoever asks reaches this server."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{base_url}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": await self._key.algorithms(),
        }

    async def jwks(self) -> dict[str, Any]:
        """The public keys by which others verify tokens."""
        return await self._key.jwks()

    # Authenticating.

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> Identified | None:
        """The account's user. None for a token of another issuer; raises Unauthorized for one that must not be
        believed (any more)."""
        found = self.recall_token(token, audiences)
        if found is not UNSURE:
            return found
        known = await self._verify(token)
        if known is None:
            return None
        while len(self._known) >= _MAX_CACHED:
            del self._known[next(iter(self._known))]
        self._known[token_digest(token)] = known
        return self._identified(token, known, audiences)

    def recall_token(self, token: str, audiences: Sequence[str]) -> Identified | Literal[Unsure.UNSURE]:
        """As :meth:`authenticate_token`, of a token whose signature has been verified; UNSURE for others."""
        known = self._known.get(token_digest(token))
        return UNSURE if known is None else self._identified(token, known, audiences)

    def _identified(self, token: str, known: _Known, audiences: Sequence[str]) -> Identified:
        """Raises Unauthorized if the token holds no more, or is for others."""
        shared = known.audiences
        if shared != audiences:
            shared = tuple(audience for audience in shared if audience in audiences)
            if not shared:
                raise Unauthorized("the service account token is for another audience")
        now = self._now().timestamp()
        try:
            annotations, until = self._check(known, now)
        except Unauthorized:
            self._known.pop(token_digest(token), None)
            raise
        return Identified(known.user, shared, annotations, until)

    def _check(self, known: _Known, now: float) -> tuple[Mapping[str, str], float]:
        """What to note in the audit log of a use of the token, and the time until which nothing else is to be noted.
        Raises Unauthorized if it holds no more."""
        until = known.expires + LEEWAY
        if now > known.expires + LEEWAY:
            raise Unauthorized("service account token has expired")
        if now < known.begins - LEEWAY:
            raise Unauthorized("service account token is not valid yet")
        for anchor in known.anchors:
            if not anchor.holds(self._store, now):
                raise Unauthorized("service account token has been invalidated")
            if anchor.deleted is not None:
                until = min(until, anchor.deleted + LEEWAY)
        if known.legacy and not self._is_in_secret(known):
            raise Unauthorized("service account token has been invalidated")
        if known.warn_after is None:
            return {}, until
        if now <= known.warn_after:
            return {}, min(until, known.warn_after)
        late = int(now - known.warn_after)
        note = f"subject: {known.user.name}, seconds after warning threshold: {late}"
        return {"authentication.k8s.io/stale-token": note}, 0.0

    def _is_in_secret(self, known: _Known) -> bool:
        record = self._store.get(known.anchors[-1].key)
        if record is None:
            return False
        data = msgspec.json.decode(record.value).get("data") or {}
        try:
            stored = msgspec.convert(data.get("token", ""), bytes)
        except msgspec.ValidationError:
            return False
        return bool(stored == known.legacy.encode())

    async def _verify(self, text: str) -> _Known | None:
        try:
            token = jose.parse(text)
            issuer = token.claims.get("iss")
            if issuer not in (self.issuer, LEGACY_ISSUER):
                return None
            await self._key.verify(token)
            known = self._legacy(token, text) if issuer == LEGACY_ISSUER else self._bound(token)
        except jose.BadToken as error:
            if "." not in text:
                return None  # not a signed token at all: somebody else's
            raise Unauthorized(str(error)) from error
        except (KeyError, TypeError, AttributeError) as error:
            # Only reached with our own signature: claims that this program did not write.
            raise Unauthorized("the token's claims are not those of a service account") from error
        return known

    def _bound(self, token: jose.Token) -> _Known:
        claims = token.claims
        private = claims["kubernetes.io"]
        namespace, account = private["namespace"], private["serviceaccount"]
        name = account["name"]
        if claims.get("sub") != user_name(namespace, name):
            raise jose.BadToken("the token's subject is not its service account")
        anchors = [_Anchor(Key(ACCOUNTS, namespace, name), account["uid"])]
        extra: dict[str, tuple[str, ...]] = {}
        if claims.get("jti"):
            extra[CREDENTIAL_ID] = (f"JTI={claims['jti']}",)
        pod, secret, node = private.get("pod"), private.get("secret"), private.get("node")
        if pod:
            anchors.append(_Anchor(Key(PODS, namespace, pod["name"]), pod["uid"]))
            extra[f"{_EXTRA}pod-name"] = (pod["name"],)
            extra[f"{_EXTRA}pod-uid"] = (pod["uid"],)
        elif secret:
            anchors.append(_Anchor(Key(SECRETS, namespace, secret["name"]), secret["uid"]))
        if node:
            if not pod:
                anchors.append(_Anchor(Key(NODES, "", node["name"]), node["uid"]))
            extra[f"{_EXTRA}node-name"] = (node["name"],)
            if node.get("uid"):
                extra[f"{_EXTRA}node-uid"] = (node["uid"],)
        expires = jose.moment(claims, "exp")
        if expires is None:
            raise jose.BadToken("the token has no end")
        return _Known(
            User(user_name(namespace, name), groups(namespace), account["uid"], extra),
            jose.audiences(claims),
            expires,
            jose.moment(claims, "nbf") or 0.0,
            jose.moment(private, "warnafter"),
            tuple(anchors),
            "",
        )

    def _legacy(self, token: jose.Token, text: str) -> _Known:
        prefix = "kubernetes.io/serviceaccount/"
        namespace, name, uid, secret = (
            str(token.claims[f"{prefix}{part}"])
            for part in ("namespace", "service-account.name", "service-account.uid", "secret.name")
        )
        if token.claims.get("sub") != user_name(namespace, name):
            raise jose.BadToken("the token's subject is not its service account")
        record = self._store.get(Key(SECRETS, namespace, secret))
        if record is None:
            raise jose.BadToken("Token has been invalidated")
        anchors = (
            _Anchor(Key(ACCOUNTS, namespace, name), uid),
            _Anchor(Key(SECRETS, namespace, secret), meta.uid(_decode(record))),
        )
        user = User(user_name(namespace, name), groups(namespace), uid)
        return _Known(user, self.audiences, float("inf"), 0.0, None, anchors, text)


def _reference(obj: Object) -> dict[str, str]:
    reference = {"name": meta.name(obj)}
    if meta.uid(obj):
        reference["uid"] = meta.uid(obj)
    return reference
