"""What ails a trained model: what was measured, what is normal, the likely cause, and the one setting that mends it."""

from ..data import Dataset
from ..run import Run
from .checks import BEFORE_WEIGHTS, CHECKS, FEW_STEPS, Finding, meets_prior, still_improving
from .exam import Exam, gaussian, split_of_rate
from .live import signs_of_trouble

__all__ = ["CHECKS", "FEW_STEPS", "Exam", "Finding", "examine", "signs_of_trouble", "still_improving"]


def examine(run: Run, data: Dataset, seed: int = 0) -> tuple[list[Finding], dict[str, float]]:
    """What every check finds, and the vital signs: nats per group, how the rate splits, the gap between codes and prior.

    Of a run that diverged before it had weights only what can be said without them.
    """
    exam = Exam(run, data, seed)
    checks = CHECKS if run.weights_digest else BEFORE_WEIGHTS
    findings = [finding for check in checks if (finding := check(exam)) is not None]
    if checks is BEFORE_WEIGHTS:
        return findings, {}
    signs: dict[str, float] = {f"residual, {name}": value for name, value in exam.rmse.items()}
    if exam.has_rate:
        signs["rate"] = exam.rate
        if len(exam.kl_per_group) > 1:
            signs |= {f"rate of group {number}": nats for number, nats in enumerate(exam.kl_per_group)}
        if gaussian(exam):
            signs |= split_of_rate(exam)
    if meets_prior(exam):
        signs["AUC of codes against the prior"], signs["MMD^2 of codes and the prior"] = exam.distances
    return findings, signs
