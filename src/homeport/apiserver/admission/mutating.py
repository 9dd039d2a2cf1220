"""The stage of admission that asks MutatingAdmissionPolicies, before the mutating webhooks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from homeport.apiserver.admission.attributes import DELETE, Attributes
from homeport.apiserver.admission.chain import Turns
from homeport.apiserver.admission.matching import GROUP
from homeport.apiserver.admission.metrics import ADMIT, AdmissionMetrics
from homeport.apiserver.admission.objects import redone
from homeport.apiserver.admission.plugin import refusal
from homeport.apiserver.admission.policing import ParamsError, PolicyStage
from homeport.apiserver.context import Api
from homeport.apiserver.resources import Served
from homeport.apiserver.versions import converted
from homeport.kube.errors import Invalid
from homeport.kube.meta import Object

if TYPE_CHECKING:
    from homeport.apiserver.admission.mutations import MutatingPolicy
    from homeport.apiserver.admission.policies import Binding

POLICIES = f"{GROUP}/mutatingadmissionpolicies"
BINDINGS = f"{GROUP}/mutatingadmissionpolicybindings"
_LEFT = "mutating policies"


def _policies(obj: Object) -> tuple[MutatingPolicy, ...]:
    from homeport.apiserver.admission import mutations

    return mutations.mutating_policies(obj)


class MutatingPolicies(PolicyStage["MutatingPolicy"]):
    """Policies that change objects. One that asks for it (``reinvocationPolicy: IfNeeded``) sees the object once more
    when a later policy or a webhook changed it."""

    mutating = "MutatingAdmissionPolicy"
    step = ADMIT

    def __init__(self, api: Api, metrics: AdmissionMetrics) -> None:
        super().__init__(api, POLICIES, BINDINGS, _policies, metrics)

    async def mutate(self, attributes: Attributes, plugins: Turns) -> None:
        if attributes.operation == DELETE or attributes.object is None:
            return
        asked = list(self._asked(attributes))
        if not asked:
            return
        again: list[tuple[MutatingPolicy, Binding, Served]] = []
        for policy, binding, served in asked:
            await self._mutate(policy, binding, served, attributes)
            if policy.again:
                again.append((policy, binding, served))
                attributes.memo[_LEFT] = (again, attributes.object)

    async def settle(self, attributes: Attributes) -> None:
        if _LEFT in attributes.memo:
            again, left = attributes.memo.pop(_LEFT)
            if attributes.object != left:
                for policy, binding, served in again:
                    await self._mutate(policy, binding, served, attributes)

    async def validate(self, attributes: Attributes) -> None:
        """Mutating policies refuse nothing once the object is complete."""

    async def _mutate(self, policy: MutatingPolicy, binding: Binding, served: Served, attributes: Attributes) -> None:
        """Let one policy change the object. Raises Invalid if it can't and its failurePolicy says so."""
        from homeport.apiserver.admission import expressions, mutations

        try:
            for params in await self.params(policy, binding, attributes):
                scene = await expressions.scene(self._api, attributes, served)
                namespace = self.namespace(attributes)
                chooses = self.chooses(policy, attributes)
                mutated = partial(
                    mutations.mutated,
                    policy=policy,
                    served=served,
                    params=params,
                    namespace=namespace,
                    now=self._api.now(),
                    chooses=chooses,
                )
                after = await expressions.unhurried(scene, mutated)
                if after == scene["object"]:
                    continue
                if any(after.get(key) != scene["object"].get(key) for key in ("apiVersion", "kind")):
                    raise mutations.MutationError("a mutation may not change apiVersion or kind")
                if not isinstance(after.get("metadata"), dict):
                    raise mutations.MutationError("a mutation made metadata something else than an object")
                if not attributes.has_own_kind:
                    after = await converted(after, served, attributes.served)
                    after = redone(attributes.served, after, attributes.old)
                attributes.object, attributes.rough = after, True
        except (ParamsError, mutations.MutationError) as error:
            if policy.ignores_failure:
                return
            text = f"MutatingAdmissionPolicy '{policy.name}' with binding '{binding.name}' denied request: {error}"
            refused = refusal(attributes, text)
            raise Invalid(refused.message, details={**refused.details, "causes": [{"message": str(error)}]}) from error
