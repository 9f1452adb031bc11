"""What a trained model is worth: values with their unit, count and split."""

from .evaluate import Metric, evaluate
from .weights import Weights, weights_of

__all__ = ["Metric", "Weights", "evaluate", "weights_of"]
