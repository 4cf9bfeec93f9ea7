"""Loops that their condition alone ends: how many iterations they take is known only when they have ended."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

# A loop that its condition ends is written with the largest integer as its number of iterations.
WITHOUT_A_BOUND = 2**31 - 1
NO_BOUND = "it has no bound on its iterations, only its condition ends it"
BOUND_IT = "export it with a number of iterations, or choose a layer behind it"


def is_unbounded(node: ir.Node) -> bool:
    """Whether it is a Loop without a number of iterations, or with a constant one as large as a 'while' has."""
    if node.op_type != "Loop":
        return False
    count = node.inputs[0] if node.inputs else None
    while count is not None and (maker := count.producer()) is not None and maker.op_type in ("Cast", "Identity"):
        count = maker.inputs[0]
    if count is None:
        return True
    constant = None if count.is_graph_input() else ir.convenience.get_const_tensor(count)
    return constant is not None and constant.size == 1 and int(constant.numpy().item()) >= WITHOUT_A_BOUND


def first_unbounded(nodes: Iterable[ir.Node]) -> ir.Node | None:
    """The first Loop without a bound."""
    return next(filter(is_unbounded, nodes), None)
