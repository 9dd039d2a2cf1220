"""What training says of its progress: to the API server, with tokens that it has issued."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from shapes import job, stock_runtime

import support
from homeport.apiserver.authn import BearerTokens
from homeport.apiserver.identity.accounts import ServiceAccounts
from homeport.apiserver.identity.keys import SigningKey
from homeport.apiserver.server import ApiServer
from homeport.components import batch, trainer
from homeport.components.trainer import names
from homeport.components.trainer.progress import audience
from homeport.kube import core
from homeport.kube.meta import metadata, status
from homeport.kube.wire import Request, Response
from homeport.store.memory import MemoryStore

JOBS = names.JOBS
STATUS = JOBS.path("default", "mnist", "status")
TIME = "2026-01-01T00:00:00Z"


class Reporter(support.World):
    """A world that issues tokens and takes reports; in it a job that its pods report about."""

    async def token(self, place: str = "default", *audiences: str) -> str:
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": "default", "namespace": place},
            "spec": {"audiences": list(audiences)},
        }
        issued = await self.client.create(core.SERVICE_ACCOUNT.resource, request, subresource="token")
        token: str = issued["status"]["token"]
        return token

    async def report(self, token: str, body: bytes, path: str = STATUS) -> Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self.server.handle(Request("POST", path, headers=headers, body=body))

    async def told(self) -> Any:
        return status(await self.client.get(JOBS, "mnist", "default")).get("trainerStatus")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Reporter]:
    store = MemoryStore()
    accounts = ServiceAccounts(store, SigningKey(tmp_path / "key"))
    tokens = BearerTokens((accounts,), accounts.audiences)
    kinds = (*core.KINDS, *batch.KINDS, *trainer.KINDS)
    server = ApiServer(store, kinds, authenticators=(tokens,), accounts=accounts, hooks=trainer.ADMISSION)
    made = Reporter(store, server)
    server.first = trainer.progress_reports(made.client)
    for place in ("default", "other"):
        await made.make_namespace(place)
        await made.client.create(core.SERVICE_ACCOUNT.resource, core.SERVICE_ACCOUNT.new("default", place))
    await made.client.create(names.CLUSTER_RUNTIMES, stock_runtime("torch-distributed"))
    await made.client.create(JOBS, job())
    yield made
    await server.close()
    await store.close()


def says(**told: Any) -> bytes:
    return msgspec.json.encode({"trainerStatus": {"lastUpdatedTime": TIME, **told}})


def reason(answer: Response) -> tuple[int, str]:
    assert isinstance(answer.body, bytes)
    return answer.status, msgspec.json.decode(answer.body)["reason"]


async def test_each_report_takes_the_place_of_the_one_before(world: Reporter) -> None:
    token = await world.token("default", audience("default", "mnist"))
    loss = [{"name": "loss", "value": "0.5"}]
    first = await world.report(token, says(progressPercentage=10, estimatedRemainingSeconds=90, metrics=loss))
    assert first.status == 200
    assert first.body == says(progressPercentage=10, estimatedRemainingSeconds=90, metrics=loss)
    assert await world.told() == {
        "progressPercentage": 10, "estimatedRemainingSeconds": 90, "metrics": loss, "lastUpdatedTime": TIME
    }  # fmt: skip
    assert (await world.report(token, says(progressPercentage=20))).status == 200
    assert await world.told() == {"progressPercentage": 20, "lastUpdatedTime": TIME}
    # What says nothing changes nothing.
    assert (await world.report(token, b'{"trainerStatus": null}')).status == 200
    assert await world.told() == {"progressPercentage": 20, "lastUpdatedTime": TIME}


WRONG = (
    (b"{", (422, "Invalid")),
    (b"[" * 100_000, (413, "RequestEntityTooLarge")),
    (b"[" * 10_000, (422, "Invalid")),
    (b"[]", (422, "Invalid")),
    (b'"\xff"', (422, "Invalid")),
    (b'{"trainerStatus": {"progressPercentage": "ten"}}', (422, "Invalid")),
    (b'{"trainerStatus": {"progressPercentage": 10}}', (422, "Invalid")),
    (says(progressPercentage=101), (422, "Invalid")),
    (says(lastUpdatedTime="soon"), (422, "Invalid")),
    (says(metrics=[{"name": f"m{n}", "value": "1"} for n in range(257)]), (422, "Invalid")),
    (says(metrics=[{"name": "loss", "value": "1" * 65}]), (422, "Invalid")),
    (says(metrics=[{"name": "loss", "value": "x" * 70_000}]), (413, "RequestEntityTooLarge")),
)


async def test_wrong_reports_change_nothing(world: Reporter) -> None:
    token = await world.token("default", audience("default", "mnist"))
    for body, answer in WRONG:
        assert reason(await world.report(token, body)) == answer, body[:100]
    assert await world.told() is None


async def test_a_report_about_a_job_that_has_gone_does_not_make_it(world: Reporter) -> None:
    token = await world.token("default", audience("default", "gone"))
    path = JOBS.path("default", "gone", "status")
    assert reason(await world.report(token, says(), path)) == (404, "NotFound")
    assert await world.names(JOBS, "default") == ["mnist"]


async def test_only_the_jobs_own_token_reports(world: Reporter) -> None:
    mine = audience("default", "mnist")
    wrong = {
        "nobody's": "nobody's",
        "none": "",
        "of another audience": await world.token("default", audience("default", "other")),
        "for the API server": await world.token("default"),
        "of another namespace's account": await world.token("other", mine),
    }
    for case, token in wrong.items():
        assert reason(await world.report(token, says())) == (403, "Forbidden"), case
        # And nobody learns so which jobs there are.
        assert reason(await world.report(token, b"{", JOBS.path("default", "gone", "status"))) == (403, "Forbidden"), (
            case
        )
    assert await world.told() is None


async def test_the_token_is_good_for_nothing_else(world: Reporter) -> None:
    token = await world.token("default", audience("default", "mnist"))
    before = metadata(await world.client.get(JOBS, "mnist", "default"))["resourceVersion"]
    headers = {"authorization": f"Bearer {token}"}
    for method, path in (
        ("GET", STATUS),
        ("PUT", STATUS),
        ("DELETE", JOBS.path("default", "mnist")),
        ("POST", JOBS.path("default")),
    ):
        answer = await world.server.handle(Request(method, path, headers=headers, body=says()))
        assert answer.status == 401, path
    assert metadata(await world.client.get(JOBS, "mnist", "default"))["resourceVersion"] == before
