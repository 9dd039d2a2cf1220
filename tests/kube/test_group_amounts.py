from __future__ import annotations

from homeport.kube.scheduling import amounts


def test_a_limit_without_a_request_counts_as_one() -> None:
    gpu = {"limits": {"nvidia.com/gpu": 1, "cpu": "2"}, "requests": {"cpu": "500m"}}
    worker = {"containers": [{"name": "main", "resources": gpu}]}
    assert amounts.needed([({"containers": [{"name": "main"}]}, 2), (worker, 4)]) == {
        "cpu": "2",
        "nvidia.com/gpu": "4",
    }
    assert amounts.needed([(worker, 4)], 3) == {"cpu": "1500m", "nvidia.com/gpu": "3"}
