"""EndpointSlices and Endpoints: which addresses are behind a service, and in what state.

`facts` says what a pod is to a service, `slices` and `subsets` how that is written down (all pure); `index` finds the
pods of a service and the services of a pod; `controller` and `mirror` act.
"""
