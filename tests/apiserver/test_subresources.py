"""One table declares the subresources; what is keyed by their names has to keep up with it."""

from homeport.apiserver import dispatch, subresources
from homeport.apiserver.openapi import parameters
from homeport.apiserver.resources import Registry
from homeport.kube import core


def test_each_name_is_declared_once() -> None:
    assert len(subresources.BY_NAME) == len(subresources.TABLE)


def test_each_has_a_verb() -> None:
    assert dispatch.ON_SUBRESOURCE.keys() == subresources.BY_NAME.keys()


def test_those_that_pass_a_connection_on_have_options() -> None:
    assert parameters.CONNECT.keys() == subresources.CONNECTIONS


def test_whoever_has_one_by_nature_is_served() -> None:
    registry = Registry(core.KINDS)
    for each in subresources.TABLE:
        for group, plural in each.of:
            served = registry.find(group, "v1", plural)
            assert served is not None
            assert each.name in served.subresources
