"""Warnings in words: a processor whose 8-bit kernels saturate, and what other tools say about a model in vain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxplain.exporters import Saturation
    from onnxplain.sidecars import SidecarProblem

TRAIT = "this processor's 8-bit kernels saturate (AVX2 without VNNI)"
WAY_OUT = "Quantize the model again with reduce_range=True"


def describe_saturation(saturation: Saturation) -> str:
    """The trait, what it does to the answers of a file and of what was made of it, and the way out."""
    return (
        f"{TRAIT}: {_count(saturation.products)} of this file can be wrong here. On random images the outputs of the "
        f"original are off by up to {saturation.original_error:.1%} of their largest value, those of the written file "
        f"by {saturation.written_error:.1%}. Other processors are exact. {WAY_OUT}"
    )


def describe_products(products: Sequence[str]) -> str:
    """The trait, what it may do to the answers of a file, and the way out."""
    return f"{TRAIT}: {_count(products)} of this file can be wrong here. Other processors are exact. {WAY_OUT}"


def problem_text(problem: SidecarProblem) -> str:
    """What was found in another tool's metadata or file, but not used."""
    return f"{problem.source}: found {problem.found}, expected {problem.expected}: not used"


def _count(products: Sequence[str]) -> str:
    return "1 product" if len(products) == 1 else f"{len(products)} products"
