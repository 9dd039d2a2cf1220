"""The webhooks' certificate: made, judged, made anew."""

from __future__ import annotations

import ssl
import time

from homeport.standalone import certificates


def test_a_certificate_is_good_for_its_names_and_for_a_while() -> None:
    keys = certificates.make(frozenset({"webhooks.example.com", "127.0.0.1"}), "")
    now = time.time()
    assert certificates.names_of(keys) == {"webhooks.example.com", "127.0.0.1"}
    assert certificates.is_good(keys, "127.0.0.1", now)
    assert not certificates.is_good(keys, "elsewhere.example.com", now)
    assert not certificates.is_good(keys, "127.0.0.1", now + 340 * 86400)
    keys.context()


def test_the_authority_before_the_last_is_believed_no_more() -> None:
    first, hosts = certificates.make(frozenset({"a"}), ""), frozenset({"a"})
    second = certificates.make(hosts, first.bundle)
    third = certificates.make(hosts, second.bundle)
    own = [keys.bundle.partition("-----END")[0] for keys in (first, second, third)]
    assert [part in second.bundle for part in own] == [True, True, False]
    assert [part in third.bundle for part in own] == [False, True, True]
    ssl.create_default_context(cadata=third.bundle)


def test_what_is_no_certificate_is_not_good() -> None:
    assert not certificates.is_good(certificates.Keys("", "rubbish", ""), "a", time.time())
