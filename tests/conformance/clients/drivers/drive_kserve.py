"""kserve: an inference service is made, patched, replaced and removed; credentials become a secret."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from kserve import (
    KServeClient,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
)
from kubernetes import client
from open_kinds import definition, served


@pytest.fixture(scope="module", autouse=True)
def kinds() -> Iterator[None]:
    with served(definition("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices")):
        yield


def service(name: str, uri: str) -> V1beta1InferenceService:
    model = V1beta1ModelSpec(model_format=V1beta1ModelFormat(name="sklearn"), storage_uri=uri)
    return V1beta1InferenceService(
        api_version="serving.kserve.io/v1beta1",
        kind="InferenceService",
        metadata=client.V1ObjectMeta(name=name, namespace="default"),
        spec=V1beta1InferenceServiceSpec(predictor=V1beta1PredictorSpec(model=model)),
    )


def test_a_service_is_made_patched_replaced_and_removed() -> None:
    name = f"iris-{uuid.uuid4().hex[:8]}"
    serving = KServeClient()
    serving.create(service(name, "pvc://one"))
    try:

        def uri() -> str:
            found: str = serving.get(name, namespace="default")["spec"]["predictor"]["model"]["storageUri"]
            return found

        assert uri() == "pvc://one"
        serving.patch(name, service(name, "pvc://two"), namespace="default")
        assert uri() == "pvc://two"
        serving.replace(name, service(name, "pvc://three"), namespace="default")
        assert uri() == "pvc://three"
    finally:
        serving.delete(name, namespace="default")
