"""kubeflow-katib: an experiment is made, read back, edited and removed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import kubeflow.katib as katib
import pytest
from open_kinds import definition, served

GROUP, VERSION = "kubeflow.org", "v1beta1"


@pytest.fixture(scope="module", autouse=True)
def kinds() -> Iterator[None]:
    with served(
        definition(GROUP, VERSION, "Experiment", "experiments"),
        definition(GROUP, VERSION, "Trial", "trials"),
        definition(GROUP, VERSION, "Suggestion", "suggestions"),
    ):
        yield


def objective(parameters: dict[str, str]) -> None:
    print(f"result={float(parameters['a']) ** 2}")


def test_an_experiment_is_made_edited_and_removed() -> None:
    name = f"tune-{uuid.uuid4().hex[:8]}"
    client = katib.KatibClient(namespace="default")
    client.tune(
        name=name,
        objective=objective,
        parameters={"a": katib.search.double(min=0.1, max=0.2)},
        objective_metric_name="result",
        max_trial_count=4,
        resources_per_trial={"cpu": "1"},
    )
    try:
        made = client.get_experiment(name)
        assert made.spec.max_trial_count == 4
        assert made.spec.parameters[0].feasible_space.max == "0.2"
        client.edit_experiment_budget(name, max_trial_count=6)
        assert client.get_experiment(name).spec.max_trial_count == 6
        assert name in [found.metadata.name for found in client.list_experiments()]
        assert client.list_trials(name) == []
    finally:
        client.delete_experiment(name)
