"""The doctor on sixteen models made sick on purpose, and on nine that are well.

    python benchmarks/doctor.py

Each is trained on scikit-learn's digits, as tests/patients.py says. Right is the finding that was made, and beside it
none but those that may follow from it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from machine import load, write_results

from vaekit.doctor import Finding, examine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from patients import HEALTHY, IMAGES, SICK, Patient

HEADS = ("model", "what was done", "findings", "of these surplus", "measured")


def seen(patient: Patient) -> list[Finding]:
    with tempfile.TemporaryDirectory() as place:
        return examine(*patient.admit(Path(place) / "run"))[0]


def names_of(findings: list[Finding]) -> str:
    return ", ".join(finding.name for finding in findings) or "none"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    before, found, surplus, clean = load(), 0, 0, {"sick": 0, "healthy": 0}
    rows = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for kind, patients in (("sick", SICK), ("healthy", HEALTHY)):
        for name, patient in patients.items():
            findings = seen(patient)
            more = patient.surplus(findings)
            right = patient.finding is None or patient.finding in [finding.name for finding in findings]
            found += kind == "sick" and right
            surplus += len(more)
            clean[kind] += right and not more
            told = " / ".join(finding.measured for finding in findings)
            rows.append(f"| {name} | {patient.about} | {names_of(findings)} | {names_of(more)} | {told} |")
            print(rows[-1], flush=True)
    figures = {
        "sick models whose illness was found": f"{found} of {len(SICK)}",
        "of these without a surplus finding": f"{clean['sick']} of {len(SICK)}",
        "healthy models without a finding": f"{clean['healthy']} of {len(HEALTHY)}",
        "surplus findings": surplus,
    }
    text = f"All on scikit-learn's digits, {IMAGES:,} images where nothing else is said.\n\n" + "\n".join(rows)
    print(write_results(Path(__file__).parent, "doctor", "python benchmarks/doctor.py", figures, load_before=before, text=text))


if __name__ == "__main__":
    main()
