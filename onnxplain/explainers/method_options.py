"""Which of the given options go to which method: an option that no chosen method takes is an error, never ignored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.registry import METHODS, find_method


def divide_options(methods: Sequence[str], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For each method the given options that it takes; None means not given.

    Raises OnnxplainError for an unknown method, and for an option that none of the methods takes.
    """
    given = {name: value for name, value in options.items() if value is not None}
    taken = {name: find_method(name).options for name in dict.fromkeys(methods)}
    for name in given:
        if not any(name in names for names in taken.values()):
            raise OnnxplainError(_describe_unused(name, tuple(taken)))
    return {method: {name: given[name] for name in given if name in names} for method, names in taken.items()}


def _describe_unused(option: str, methods: Collection[str]) -> str:
    takers = ", ".join(name for name, method in METHODS.items() if option in method.options)
    found = f"option {option}: found for {', '.join(methods) or 'no method'}"
    if not takers:
        return f"{found}, expected an option that a method takes: leave it out"
    return f"{found}, expected a method that takes it ({takers}): choose one of these, or leave the option out"
