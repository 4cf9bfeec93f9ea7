"""The estimators of RISE: which masks they use, and how they reduce the variance of the map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.masked.masks import MaskGeometry
from onnxplain.explainers.rise.samplers import IndependentSampler, MaskSampler, SobolSampler

SamplerName: TypeAlias = Literal["independent", "sobol"]
EstimatorName: TypeAlias = Literal["paper", "centred", "sobol", "default", "log-linear"]

_SAMPLERS: Mapping[SamplerName, type[MaskSampler]] = {"independent": IndependentSampler, "sobol": SobolSampler}


@dataclass(frozen=True)
class Estimator:
    """The parts of an estimator of ``S(x) = E[s · M(x)] / p``. None of them changes the expectation of `raw`.

    `sampler`: "independent" masks, as in the paper, or antithetic "sobol" masks. `centred`: masks are weighted by the
    score's deviation from the mean score, and the mean score is added back. `control_variate`: a linear regression of
    the score on the masks' principal components is also subtracted; its share of the map is known in closed form and
    added back. `log_linear`: the heatmap does not show `raw` but a map with less error and a bias that vanishes with
    more masks: `raw` shrunk toward the map of a log-linear model of the score.
    Raises OnnxplainError for an unknown sampler, for a control variate without centring, and for a log-linear model
    without a control variate.
    """

    sampler: SamplerName = "sobol"
    centred: bool = True
    control_variate: bool = True
    log_linear: bool = False

    def __post_init__(self) -> None:
        if self.sampler not in _SAMPLERS:
            raise OnnxplainError(f"sampler: found {self.sampler!r}, expected one of {', '.join(_SAMPLERS)}")
        if self.control_variate and not self.centred:
            raise OnnxplainError(
                "control_variate: found True with centred=False, expected centred=True: the regression has a mean"
            )
        if self.log_linear and not self.control_variate:
            raise OnnxplainError(
                "log_linear: found True with control_variate=False, expected control_variate=True: both use the masks' "
                "principal components"
            )

    def __str__(self) -> str:
        for name, estimator in ESTIMATORS.items():
            if estimator == self:
                return name
        parts = {"centred": self.centred, "control variate": self.control_variate, "log-linear": self.log_linear}
        return ", ".join([self.sampler, *(name for name, there in parts.items() if there)])

    def open_sampler(self, geometry: MaskGeometry, seed: int) -> MaskSampler:
        """The sampler of masks. Raises OnnxplainError for a seed or a grid out of range."""
        return _SAMPLERS[self.sampler](geometry, seed)


# The first row is the paper's estimator. Each further row adds one part; the last one changes only the heatmap.
ESTIMATORS: Mapping[EstimatorName, Estimator] = {
    "paper": Estimator("independent", centred=False, control_variate=False),
    "centred": Estimator("independent", centred=True, control_variate=False),
    "sobol": Estimator("sobol", centred=True, control_variate=False),
    "default": Estimator(),
    "log-linear": Estimator(log_linear=True),
}


def find_estimator(estimator: Estimator | EstimatorName) -> Estimator:
    """An estimator by its name, or itself. Raises OnnxplainError for an unknown name."""
    if isinstance(estimator, Estimator):
        return estimator
    if estimator not in ESTIMATORS:
        raise OnnxplainError(
            f"estimator: found {estimator!r}, expected an Estimator or one of {', '.join(get_args(EstimatorName))}"
        )
    return ESTIMATORS[estimator]
