"""Extra API servers: group-versions that an APIService hands to another server behind a service.

:mod:`~homeport.apiserver.aggregation.table` knows who answers for which group-version and in which order they are
shown, :mod:`~homeport.apiserver.aggregation.remote` speaks to an extra server,
:mod:`~homeport.apiserver.aggregation.aggregator` keeps both in step with the stored objects and passes requests on.
"""
