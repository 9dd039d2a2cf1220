from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from homeport.kube import meta
from homeport.kube.core import claims
from homeport.kube.meta import Object


def claim(**more: Any) -> Object:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}, **more}
    return {"metadata": {"namespace": "default", "name": "data", "uid": "1"}, "spec": wanted}


def volume(name: str, size: int = 2, phase: str = "Available", **more: Any) -> Object:
    has = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": f"{size}Gi"}, **more}
    return {"metadata": {"name": name}, "spec": has, "status": {"phase": phase}}


def names(volumes: list[Object]) -> list[str]:
    return [meta.name(each) for each in volumes]


def test_what_is_meant_for_a_claim_comes_first_and_then_the_smallest() -> None:
    own = {"namespace": "default", "name": "data"}
    present = [
        volume("large", 9),
        volume("b"),
        volume("a"),
        volume("small", 1),
        volume("meant", 10, claimRef=own),
        volume("else's", claimRef={**own, "uid": "2"}),
        volume("bound", phase="Bound"),
        volume("fast", storageClassName="fast"),
        volume("block", volumeMode="Block"),
        volume("read", accessModes=["ReadOnlyMany"]),
    ]
    assert names(claims.suiting(present, claim())) == ["meant", "a", "b", "large"]
    assert names(claims.suiting(present, claim(), delayed=True)) == ["meant"]
    assert names(claims.suiting(present, claim(selector={"matchLabels": {"disk": "ssd"}}))) == ["meant"]


volumes = st.builds(
    volume,
    st.text("ab", min_size=1, max_size=3),
    st.integers(1, 3),
    st.sampled_from(["Available", "Bound"]),
    storageClassName=st.sampled_from(["", "fast"]),
    claimRef=st.sampled_from(
        [None, {"namespace": "default", "name": "data"}, {"namespace": "other", "name": "data", "uid": "3"}]
    ),
)


@given(st.lists(volumes, max_size=8), st.sampled_from(["", "fast"]))
def test_all_volumes_that_suit_are_under_the_claims_keys(present: list[Object], storage_class: str) -> None:
    wanted = claim(storageClassName=storage_class)
    keys = claims.candidate_keys(wanted)
    found = [each for each in present if set(claims.candidate_key(each)) & set(keys)]
    assert claims.suiting(found, wanted) == claims.suiting(present, wanted)
