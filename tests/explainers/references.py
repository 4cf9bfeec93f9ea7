"""Which test proves each method of the package against its formula, written a second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.explainers import (
    test_activation_maps,
    test_attention_methods,
    test_augmented_grad_cam,
    test_family,
    test_probing,
    test_rise,
)
from tests.explainers.kinds import hiding_formulas, pixel_formulas, test_methods_on_kinds

REFERENCES: dict[str, Callable[..., Any]] = {
    "cam": test_activation_maps.test_cam_is_the_weighted_sum_of_features_and_its_mean_is_the_logit,
    **dict.fromkeys(test_family.FORMULAS, test_family.test_the_raw_map_is_the_formula_in_torch),
    "smooth-grad-cam++": test_family.test_smooth_grad_cam_plus_plus_averages_the_powers_over_noisy_copies,
    "finer-cam": test_family.test_finer_cam_is_grad_cam_of_the_contrast,
    "augmented-grad-cam": test_augmented_grad_cam.test_each_mode_is_its_parts_on_the_copies_grad_cams,
    **dict.fromkeys(test_probing.METHODS, test_probing.test_the_formula_in_torch),
    **dict.fromkeys(test_attention_methods.METHODS, test_attention_methods.test_maps_are_those_of_the_formulas),
    "rise": test_rise.test_the_papers_estimator_with_an_engine,
    **dict.fromkeys(
        [*hiding_formulas.FORMULAS, *pixel_formulas.FORMULAS], test_methods_on_kinds.test_a_method_on_a_kind
    ),
}
