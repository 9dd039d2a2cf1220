from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from homeport.client import kubeconfig
from homeport.kube import plainyaml

_TRAPS = ("yes", "No", "null", "~", "1", "1e3", ".inf", "a: b", "a:b", "- a", "=", "<<")
_TEXT = st.text(max_size=20) | st.sampled_from(_TRAPS)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=5))
def test_it_reads_as_what_it_was(value: dict[str, Any]) -> None:
    assert yaml.safe_load(plainyaml.dump(value)) == value


def test_it_looks_as_kubectl_writes_it() -> None:
    document = kubeconfig.document(
        "homeport", server="https://127.0.0.1:6443", ca_pem=b"CA", token="a.b-c", namespace="x"
    )
    assert (
        plainyaml.dump(document)
        == """\
apiVersion: v1
kind: Config
preferences: {}
clusters:
- name: homeport
  cluster:
    server: https://127.0.0.1:6443
    certificate-authority-data: Q0E=
users:
- name: homeport
  user:
    token: a.b-c
contexts:
- name: homeport
  context:
    cluster: homeport
    user: homeport
    namespace: x
current-context: homeport
"""
    )


@pytest.mark.parametrize("value", [{"a": object()}, {"a": float("nan")}, {"a": {1}}])
def test_what_json_has_not_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        plainyaml.dump(value)
