"""What ails a trained model: what was measured, what is normal, the likely cause, and the one setting that mends it."""

from ..data import Dataset
from ..run import Run
from .checks import BEFORE_WEIGHTS, CHECKS, FOLLOWING, meets_prior
from .course import FEW_STEPS, came_to_nothing, still_improving
from .exam import COMPARED, Exam, gaussian, split_of_rate
from .live import signs_of_trouble
from .said import Finding, Sign

__all__ = ["CHECKS", "FEW_STEPS", "Exam", "Finding", "Sign", "examine", "signs_of_trouble", "still_improving"]


def examine(run: Run, data: Dataset, seed: int = 0) -> tuple[list[Finding], dict[str, Sign]]:
    """What every check finds, and the vital signs: nats per group, how the rate splits, the gap between codes and prior.

    Of a run that diverged before it had weights only what can be said without them; of any that diverged nothing that follows
    from that.
    """
    exam = Exam(run, data, seed)
    checks = CHECKS if run.weights_digest else BEFORE_WEIGHTS
    told = [check for check in checks if check not in FOLLOWING] if came_to_nothing(exam) else checks
    findings = [finding for check in told if (finding := check(exam)) is not None]
    return findings, signs_of(exam) if checks is CHECKS else {}


def signs_of(exam: Exam) -> dict[str, Sign]:
    """The vital signs by name."""
    signs = {f"residual, {name}": Sign(value, "pixel value in [0, 1]", len(exam.rows[name])) for name, value in exam.rmse.items()}
    if exam.has_rate:
        nats: dict[str, float] = {"rate": exam.rate}
        if len(exam.kl_per_group) > 1:
            nats |= {f"rate of group {number}": its for number, its in enumerate(exam.kl_per_group)}
        if gaussian(exam):
            nats |= split_of_rate(exam)
        signs |= {name: Sign(value, "nats per image", len(exam.held)) for name, value in nats.items()}
    if meets_prior(exam):
        (auc, distance), looked = exam.distances, sum(map(len, exam.rows.values()))
        signs["AUC of codes against the own prior"] = Sign(auc, "", looked)
        signs["MMD^2 of codes and the own prior"] = Sign(distance, "", min(looked, COMPARED))
        if exam.fitted:
            name, auc = exam.fitted
            signs[f"AUC of codes against the fitted {name}"] = Sign(auc, "", looked)
    return signs
