"""What is remembered of texts that anybody may send."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from homeport.apiserver import object_meta
from homeport.kube import fieldset, names, selector
from homeport.kube.core import rules
from homeport.kube.remembered import of_short_texts


def test_short_texts_are_remembered_and_long_ones_are_not() -> None:
    asked: list[str] = []

    @of_short_texts(2, longest=3)
    def size(text: str) -> int:
        asked.append(text)
        return len(text)

    assert [size("abc"), size("abc"), size("abcd"), size("abcd")] == [3, 3, 4, 4]
    assert asked == ["abc", "abcd", "abcd"]


@pytest.mark.parametrize(
    "work",
    [
        object_meta._label_value,
        object_meta._qualified_name,
        selector.parse_labels,
        selector.parse_fields,
        fieldset.value,
        lambda text: fieldset.key("name", text),
        lambda text: list(rules.checked("spec.nodeName", text, names.dns1123_subdomain)),
    ],
)
def test_nothing_long_stays(work: Callable[[str], Any]) -> None:
    text = ",".join(f"a{index}=b" for index in range(2_000))
    tracemalloc.start()
    for number in range(25):
        work(text.replace("a", f"a{number}-"))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (
        used < 300_000
    )  # all of them: 600 kB, and more that was made of them; short pieces may stay, a bounded number
