"""Devices, and claims to them (resource.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeport.kube.core.types.bases import ResourceV1
from homeport.kube.core.types.meta import Condition, ObjectMeta
from homeport.kube.core.types.placement import NodeSelector
from homeport.kube.schema.fields import AnyObject, Int64, Quantity, Time, atomic_list, doc, map_list, set_list


class DeviceClass(ResourceV1, frozen=True):
    """A sort of device that claims can ask for."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[DeviceClassSpec | None, doc("Which devices are of the class.")] = None


class DeviceClassSpec(ResourceV1, frozen=True):
    """Which devices are of a class."""

    selectors: Annotated[list[DeviceSelector], doc("What a device must be like; all must hold."), atomic_list()] = []
    config: Annotated[list[DeviceClassConfiguration], doc("Settings for the devices of the class."), atomic_list()] = []
    extended_resource_name: Annotated[str | None, doc("Extended resource by which pods can ask for such devices.")] = (
        None
    )


class DeviceClassConfiguration(ResourceV1, frozen=True):
    """Settings for devices of a class."""

    opaque: Annotated[OpaqueDeviceConfiguration | None, doc("Settings for a driver.")] = None


class DeviceSelector(ResourceV1, frozen=True):
    """What a device must be like."""

    cel: Annotated[CELDeviceSelector | None, doc("An expression on the device.")] = None


class CELDeviceSelector(ResourceV1, frozen=True):
    """An expression that a device must make true."""

    expression: Annotated[str, doc("The expression in CEL; it knows device.")]


class OpaqueDeviceConfiguration(ResourceV1, frozen=True):
    """Settings for a driver."""

    driver: Annotated[str, doc("Name of the driver.")]
    parameters: Annotated[AnyObject, doc("The settings.")]


class ResourceClaim(ResourceV1, frozen=True):
    """A claim to devices."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ResourceClaimSpec | None, doc("The devices that are asked for. It can't be changed.")] = None
    status: Annotated[ResourceClaimStatus | None, doc("What was given out.")] = None


class ResourceClaimSpec(ResourceV1, frozen=True):
    """The devices that are asked for."""

    devices: Annotated[DeviceClaim | None, doc("The devices.")] = None


class DeviceClaim(ResourceV1, frozen=True):
    """Devices that are asked for."""

    requests: Annotated[list[DeviceRequest], doc("The devices, request by request."), atomic_list()] = []
    constraints: Annotated[
        list[DeviceConstraint], doc("What must hold for several of the devices together."), atomic_list()
    ] = []
    config: Annotated[list[DeviceClaimConfiguration], doc("Settings for the devices."), atomic_list()] = []


class DeviceRequest(ResourceV1, frozen=True):
    """A request for devices."""

    name: Annotated[str, doc("Name of the request.")]
    exactly: Annotated[ExactDeviceRequest | None, doc("What is asked for.")] = None
    first_available: Annotated[
        list[DeviceSubRequest], doc("Several requests, of which the first that can be met counts."), atomic_list()
    ] = []


class ExactDeviceRequest(ResourceV1, frozen=True):
    """Devices that are asked for."""

    device_class_name: Annotated[str, doc("The class of the devices.")]
    selectors: Annotated[list[DeviceSelector], doc("What a device must be like; all must hold."), atomic_list()] = []
    allocation_mode: Annotated[Literal["All", "ExactCount"] | None, doc("ExactCount, or All devices that fit.")] = None
    count: Annotated[Int64, doc("How many devices, with ExactCount.")] = 0
    admin_access: Annotated[bool | None, doc("Whether the devices may be in use; for those who look after them.")] = (
        None
    )
    tolerations: Annotated[list[DeviceToleration], doc("Taints of devices that do not matter."), atomic_list()] = []
    capacity: Annotated[CapacityRequirements | None, doc("How much of a device is needed.")] = None


class DeviceSubRequest(ResourceV1, frozen=True):
    """One of several requests, of which the first that can be met counts."""

    name: Annotated[str, doc("Name of the request.")]
    device_class_name: Annotated[str, doc("The class of the devices.")]
    selectors: Annotated[list[DeviceSelector], doc("What a device must be like; all must hold."), atomic_list()] = []
    allocation_mode: Annotated[Literal["All", "ExactCount"] | None, doc("ExactCount, or All devices that fit.")] = None
    count: Annotated[Int64, doc("How many devices, with ExactCount.")] = 0
    tolerations: Annotated[list[DeviceToleration], doc("Taints of devices that do not matter."), atomic_list()] = []
    capacity: Annotated[CapacityRequirements | None, doc("How much of a device is needed.")] = None


class CapacityRequirements(ResourceV1, frozen=True):
    """How much of a device is needed."""

    requests: Annotated[dict[str, Quantity], doc("Amount of each capacity.")] = {}


class DeviceToleration(ResourceV1, frozen=True):
    """A taint of devices that does not matter."""

    key: Annotated[str, doc("Key of the taint; without one every taint is meant.")] = ""
    operator: Annotated[Literal["Equal", "Exists"], doc("Equal or Exists.")] = "Equal"
    value: Annotated[str, doc("Value of the taint, with Equal.")] = ""
    effect: Annotated[str, doc("Effect of the taint; without one every effect is meant.")] = ""
    toleration_seconds: Annotated[Int64 | None, doc("Seconds for which the taint does not matter.")] = None


class DeviceConstraint(ResourceV1, frozen=True):
    """What must hold for several devices together."""

    requests: Annotated[list[str], doc("The requests that are meant; without any, all are."), atomic_list()] = []
    match_attribute: Annotated[str | None, doc("Attribute that must be the same.")] = None
    distinct_attribute: Annotated[str | None, doc("Attribute that must differ.")] = None


class DeviceClaimConfiguration(ResourceV1, frozen=True):
    """Settings for devices of a claim."""

    requests: Annotated[list[str], doc("The requests that are meant; without any, all are."), atomic_list()] = []
    opaque: Annotated[OpaqueDeviceConfiguration | None, doc("Settings for a driver.")] = None


class ResourceClaimStatus(ResourceV1, frozen=True):
    """What was given out for a claim."""

    allocation: Annotated[AllocationResult | None, doc("The devices that were given out.")] = None
    reserved_for: Annotated[list[ResourceClaimConsumerReference], doc("Who may use them."), map_list("uid")] = []
    devices: Annotated[
        list[AllocatedDeviceStatus],
        doc("State of each device."),
        map_list("driver", "device", "pool", "shareID", patch=None),
    ] = []


class ResourceClaimConsumerReference(ResourceV1, frozen=True):
    """Who may use a claim's devices."""

    resource: Annotated[str, doc("Resource of the object, such as pods.")]
    name: Annotated[str, doc("Name of the object.")]
    uid: Annotated[str, doc("UID of the object.")]
    api_group: Annotated[str, doc("API group of the object; empty for the core group.")] = ""


class AllocationResult(ResourceV1, frozen=True):
    """The devices that were given out for a claim."""

    devices: Annotated[DeviceAllocationResult | None, doc("The devices.")] = None
    node_selector: Annotated[NodeSelector | None, doc("Nodes that the devices can be used on.")] = None
    allocation_timestamp: Annotated[Time | None, doc("When they were given out.")] = None


class DeviceAllocationResult(ResourceV1, frozen=True):
    """Devices that were given out."""

    results: Annotated[list[DeviceRequestAllocationResult], doc("The devices, request by request."), atomic_list()] = []
    config: Annotated[list[DeviceAllocationConfiguration], doc("Settings for them."), atomic_list()] = []


class DeviceRequestAllocationResult(ResourceV1, frozen=True):
    """A device that was given out."""

    request: Annotated[str, doc("Name of the request.")]
    driver: Annotated[str, doc("Name of the driver.")]
    pool: Annotated[str, doc("Name of the pool.")]
    device: Annotated[str, doc("Name of the device.")]
    admin_access: Annotated[bool | None, doc("Whether the device may be in use.")] = None
    tolerations: Annotated[list[DeviceToleration], doc("Taints of the device that do not matter."), atomic_list()] = []
    binding_conditions: Annotated[
        list[str], doc("Conditions that must be true before a pod is bound."), atomic_list()
    ] = []
    binding_failure_conditions: Annotated[
        list[str], doc("Conditions that make another allocation necessary."), atomic_list()
    ] = []
    share_id: Annotated[str | None, doc("Tells shares of the same device apart.")] = msgspec.field(
        name="shareID", default=None
    )
    consumed_capacity: Annotated[dict[str, Quantity], doc("How much of the device is taken.")] = {}
    skip_node_operations: Annotated[list[str], doc("What the node need not do for the device."), set_list()] = []


class DeviceAllocationConfiguration(ResourceV1, frozen=True):
    """Settings for devices that were given out."""

    source: Annotated[str, doc("Where the settings are from: FromClass or FromClaim.")]
    requests: Annotated[list[str], doc("The requests that are meant; without any, all are."), atomic_list()] = []
    opaque: Annotated[OpaqueDeviceConfiguration | None, doc("Settings for a driver.")] = None


class AllocatedDeviceStatus(ResourceV1, frozen=True):
    """State of a device that was given out."""

    driver: Annotated[str, doc("Name of the driver.", default="")]
    pool: Annotated[str, doc("Name of the pool.", default="")]
    device: Annotated[str, doc("Name of the device.", default="")]
    share_id: Annotated[str | None, doc("Tells shares of the same device apart.")] = msgspec.field(
        name="shareID", default=None
    )
    conditions: Annotated[
        list[Condition], doc("The current state, aspect by aspect."), map_list("type", patch=None)
    ] = []
    data: Annotated[AnyObject | None, doc("What else the driver says.")] = None
    network_data: Annotated[NetworkDeviceData | None, doc("What is known of a network device.")] = None


class NetworkDeviceData(ResourceV1, frozen=True):
    """What is known of a network device."""

    interface_name: Annotated[str, doc("Name of the interface in the pod.")] = ""
    ips: Annotated[list[str], doc("Addresses with the length of their prefix."), atomic_list()] = []
    hardware_address: Annotated[str, doc("The hardware address.")] = ""


class ResourceClaimTemplate(ResourceV1, frozen=True):
    """Claims to make for pods."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ResourceClaimTemplateSpec | None, doc("The claims. It can't be changed.")] = None


class ResourceClaimTemplateSpec(ResourceV1, frozen=True):
    """Claims to make."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ResourceClaimSpec | None, doc("What the claims ask for.")] = None


class ResourceSlice(ResourceV1, frozen=True):
    """Devices that a driver has."""

    spec: Annotated[ResourceSliceSpec, doc("The devices.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None


class ResourceSliceSpec(ResourceV1, frozen=True):
    """Devices that a driver has, and where."""

    driver: Annotated[str, doc("Name of the driver. It can't be changed.")]
    pool: Annotated[ResourcePool, doc("The pool that the slice is a part of.")]
    node_name: Annotated[str | None, doc("The node that has the devices. It can't be changed.")] = None
    node_selector: Annotated[NodeSelector | None, doc("Nodes that can use the devices.")] = None
    all_nodes: Annotated[bool | None, doc("Whether all nodes can use the devices.")] = None
    devices: Annotated[list[Device], doc("The devices."), atomic_list()] = []
    per_device_node_selection: Annotated[bool | None, doc("Whether each device says itself where it can be used.")] = (
        None
    )
    shared_counters: Annotated[list[CounterSet], doc("Counters that several devices take from."), atomic_list()] = []
    partition_type_attribute: Annotated[str | None, doc("Attribute that says how a device is divided.")] = None
    skip_node_operations: Annotated[list[str], doc("What nodes need not do for the devices."), set_list()] = []


class ResourcePool(ResourceV1, frozen=True):
    """A pool of devices, described by one or more slices."""

    name: Annotated[str, doc("Name of the pool.")]
    generation: Annotated[Int64, doc("Counts changes of the pool; slices of an older generation are out of date.")]
    resource_slice_count: Annotated[Int64, doc("How many slices the pool has.")]


class CounterSet(ResourceV1, frozen=True):
    """Counters that several devices take from."""

    name: Annotated[str, doc("Name of the set.")]
    counters: Annotated[dict[str, Counter], doc("The counters.")] = {}


class Counter(ResourceV1, frozen=True):
    """An amount to take from."""

    value: Annotated[Quantity, doc("The amount.")]


class Device(ResourceV1, frozen=True):
    """One device."""

    name: Annotated[str, doc("Name of the device.")]
    attributes: Annotated[dict[str, DeviceAttribute], doc("What the device is like.")] = {}
    capacity: Annotated[dict[str, DeviceCapacity], doc("How much the device has.")] = {}
    consumes_counters: Annotated[
        list[DeviceCounterConsumption], doc("What the device takes from shared counters."), atomic_list()
    ] = []
    node_name: Annotated[str | None, doc("The node that has the device.")] = None
    node_selector: Annotated[NodeSelector | None, doc("Nodes that can use the device.")] = None
    all_nodes: Annotated[bool | None, doc("Whether all nodes can use the device.")] = None
    taints: Annotated[list[DeviceTaint], doc("Reasons not to use the device."), atomic_list()] = []
    binds_to_node: Annotated[bool | None, doc("Whether a pod is held to the node once the device is given out.")] = None
    binding_conditions: Annotated[
        list[str], doc("Conditions that must be true before a pod is bound."), atomic_list()
    ] = []
    binding_failure_conditions: Annotated[
        list[str], doc("Conditions that make another allocation necessary."), atomic_list()
    ] = []
    allow_multiple_allocations: Annotated[bool | None, doc("Whether the device can be given out several times.")] = None
    node_allocatable_resources: Annotated[
        dict[str, NodeAllocatableResource], doc("What the device takes of the node's own resources.")
    ] = {}


class NodeAllocatableResource(ResourceV1, frozen=True):
    """What a device takes of one of the node's own resources."""

    mapping: Annotated[NodeAllocatableMapping | None, doc("How the amount follows from the device.")] = None
    overhead: Annotated[NodeAllocatableOverhead | None, doc("What it takes beside.")] = None


class NodeAllocatableMapping(ResourceV1, frozen=True):
    """How an amount follows from a device."""

    capacity_key: Annotated[str | None, doc("The capacity that counts.")] = None
    capacity_multiplier: Annotated[Quantity | None, doc("Factor of the capacity.")] = None
    device_multiplier: Annotated[Quantity | None, doc("Amount for each device.")] = None


class NodeAllocatableOverhead(ResourceV1, frozen=True):
    """What a device takes beside."""

    per_pod: Annotated[Quantity | None, doc("Amount for each pod.")] = None
    per_container: Annotated[Quantity | None, doc("Amount for each container.")] = None


class DeviceAttribute(ResourceV1, frozen=True):
    """One thing that a device is like; exactly one field is set."""

    int_: Annotated[Int64 | None, doc("A number.")] = None
    bool_: Annotated[bool | None, doc("True or false.")] = None
    string: Annotated[str | None, doc("A text.")] = None
    version: Annotated[str | None, doc("A semantic version.")] = None
    ints: Annotated[list[Int64], doc("Numbers."), atomic_list()] = []
    bools: Annotated[list[bool], doc("Truth values."), atomic_list()] = []
    strings: Annotated[list[str], doc("Texts."), atomic_list()] = []
    versions: Annotated[list[str], doc("Semantic versions."), atomic_list()] = []


class DeviceCapacity(ResourceV1, frozen=True):
    """How much a device has of something."""

    value: Annotated[Quantity, doc("The amount.")]
    request_policy: Annotated[CapacityRequestPolicy | None, doc("How much of it can be asked for.")] = None


class CapacityRequestPolicy(ResourceV1, frozen=True):
    """How much of a capacity can be asked for."""

    default: Annotated[Quantity | None, doc("Amount for who asks for none.")] = None
    valid_values: Annotated[list[Quantity], doc("The amounts that can be asked for."), atomic_list()] = []
    valid_range: Annotated[CapacityRequestPolicyRange | None, doc("The range that can be asked for.")] = None


class CapacityRequestPolicyRange(ResourceV1, frozen=True):
    """A range of amounts."""

    min: Annotated[Quantity | None, doc("The least.")] = None
    max: Annotated[Quantity | None, doc("The most.")] = None
    step: Annotated[Quantity | None, doc("Distance between the amounts.")] = None


class DeviceCounterConsumption(ResourceV1, frozen=True):
    """What a device takes from shared counters."""

    counter_set: Annotated[str, doc("Name of the set.")]
    counters: Annotated[dict[str, Counter], doc("Amount from each counter.")] = {}


class DeviceTaint(ResourceV1, frozen=True):
    """A reason not to use a device."""

    key: Annotated[str, doc("Key of the taint.")]
    effect: Annotated[str, doc("None, NoSchedule or NoExecute.")]
    value: Annotated[str, doc("Value of the taint.")] = ""
    time_added: Annotated[Time | None, doc("When the taint was added.")] = None
