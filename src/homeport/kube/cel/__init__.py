"""The Common Expression Language as Kubernetes has it (cel-spec; Kubernetes' libraries as of 1.37).

An expression is parsed (`parser`), checked against the types of its variables and made into closures (`compiler`) once,
then evaluated any number of times, within a budget, so that no expression can hold up the server::

    environment = Environment({"object": DYN, "params": DYN})
    program = environment.compile("object.spec.replicas <= params.max", BOOL)  # raises CelError
    program.evaluate({"object": {...}, "params": {...}})  # raises EvaluationError

Variables of type ``DYN`` hold any JSON; :func:`homeport.kube.cel.schema.type_of_schema` makes a type of a structural
schema, against which fields are checked when an expression is compiled. Protocol buffers are not supported.
"""

from homeport.kube.cel.environment import CALL_LIMIT, OBJECT_LIMIT, Environment, Program
from homeport.kube.cel.syntax import CelError
from homeport.kube.cel.types import BOOL, DYN, INT, STRING, Type
from homeport.kube.cel.values import Budget, BudgetExceeded, EvaluationError, HurriedBudget, LazyMap, TakesLong

__all__ = [
    "BOOL",
    "CALL_LIMIT",
    "DYN",
    "INT",
    "OBJECT_LIMIT",
    "STRING",
    "Budget",
    "BudgetExceeded",
    "CelError",
    "Environment",
    "EvaluationError",
    "HurriedBudget",
    "LazyMap",
    "Program",
    "TakesLong",
    "Type",
]
