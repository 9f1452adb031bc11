"""What a trained model is worth: values with their unit, count and split."""

from .bounds import Bound, importance_bound
from .evaluate import Metric, evaluate, likelihood
from .weights import Weights, weights_of

__all__ = ["Bound", "Metric", "Weights", "evaluate", "importance_bound", "likelihood", "weights_of"]
