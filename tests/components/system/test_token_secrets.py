from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import support
from homeport.components.system.api import ApiPlace, KubernetesService
from homeport.components.system.token_secrets import ACCOUNT_NAME, ACCOUNT_UID, TYPE, TokenSecrets
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.errors import NotFound
from homeport.kube.meta import Object


@asynccontextmanager
async def filling(world: support.World) -> AsyncIterator[None]:
    async def sign(namespace: str, account: str, uid: str, secret: str) -> str:
        return f"{namespace} {account} {uid} {secret}"

    informers = Informers(world.client)
    part = TokenSecrets(world.client, informers, sign=sign, ca_pem="PEM")
    async with support.running(informers.run(), part.run()):
        await part.ready.wait()
        yield


def secret(account: str) -> Object:
    return core.SECRET.new("s", "default", metadata={"annotations": {ACCOUNT_NAME: account}}, type=TYPE)


async def test_a_secret_gets_its_token_and_goes_with_its_account(world: support.World) -> None:
    accounts, secrets = core.SERVICE_ACCOUNT.resource, core.SECRET.resource
    account = await world.client.create(accounts, core.SERVICE_ACCOUNT.new("a", "default"))
    async with filling(world):
        await world.client.create(secrets, secret("a"))

        async def filled() -> bool:
            found = await world.client.get(secrets, "s", "default")
            return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()} == {
                "token": f"default a {account['metadata']['uid']} s".encode(),
                "ca.crt": b"PEM",
                "namespace": b"default",
            }

        await world.eventually(filled)
        found = await world.client.get(secrets, "s", "default")
        assert found["metadata"]["annotations"][ACCOUNT_UID] == account["metadata"]["uid"]
        await world.client.delete(accounts, "a", "default")

        async def gone() -> bool:
            return "s" not in await world.names(secrets)

        await world.eventually(gone)


async def test_an_account_forgets_a_secret_that_is_deleted(world: support.World) -> None:
    accounts, secrets = core.SERVICE_ACCOUNT.resource, core.SECRET.resource
    listed = [{"name": "s"}, {"name": "other"}]
    await world.client.create(accounts, core.SERVICE_ACCOUNT.new("a", "default", secrets=listed))
    async with filling(world):
        await world.client.create(secrets, secret("a"))
        await world.client.delete(secrets, "s", "default")

        async def forgotten() -> bool:
            return bool((await world.client.get(accounts, "a", "default"))["secrets"] == [{"name": "other"}])

        await world.eventually(forgotten)


async def test_a_secret_for_no_account_goes(world: support.World) -> None:
    async with filling(world):
        await world.client.create(core.SECRET.resource, secret("nope"))

        async def gone() -> bool:
            try:
                await world.client.get(core.SECRET.resource, "s", "default")
            except NotFound:
                return True
            return False

        await world.eventually(gone)


async def test_the_service_of_the_api_server_is_kept(world: support.World) -> None:
    informers = Informers(world.client)
    part = KubernetesService(world.client, informers, place=ApiPlace("10.43.0.1", "10.42.0.1", 443))

    async def is_there() -> bool:
        try:
            service = await world.client.get(core.SERVICE.resource, "kubernetes", "default")
            endpoints = await world.client.get(core.ENDPOINTS.resource, "kubernetes", "default")
            part_of = await world.client.get(core.ENDPOINT_SLICE.resource, "kubernetes", "default")
        except NotFound:
            return False
        ports = [(port["name"], port["port"]) for port in service["spec"]["ports"]]
        return (
            (service["spec"]["clusterIP"], ports) == ("10.43.0.1", [("https", 443)])
            and endpoints["subsets"][0]["addresses"] == [{"ip": "10.42.0.1"}]
            and part_of["endpoints"][0]["addresses"] == ["10.42.0.1"]
        )

    async with support.running(informers.run(), part.run()):
        await world.eventually(is_there)
        await world.client.delete(core.ENDPOINTS.resource, "kubernetes", "default")
        await world.client.delete(core.SERVICE.resource, "kubernetes", "default")
        await world.eventually(is_there)
    another = Informers(world.client)
    part = KubernetesService(world.client, another, place=ApiPlace("10.43.0.2", "10.42.0.1", 443))
    async with support.running(another.run(), part.run()):

        async def has_moved() -> bool:
            try:
                service = await world.client.get(core.SERVICE.resource, "kubernetes", "default")
            except NotFound:
                return False
            return bool(service["spec"]["clusterIP"] == "10.43.0.2")

        await world.eventually(has_moved)
