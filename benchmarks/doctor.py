"""The doctor on thirteen models made sick on purpose, and on eight that are well.

    python benchmarks/doctor.py

Each is trained on scikit-learn's digits, as tests/patients.py says; a finding is right where it is the one that was made.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from machine import load, write_results

from vaekit.doctor import Finding, examine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from patients import HEALTHY, IMAGES, SICK, Patient


def seen(patient: Patient) -> list[Finding]:
    with tempfile.TemporaryDirectory() as place:
        return examine(*patient.admit(Path(place) / "run"))[0]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    before, rows, right = (
        load(),
        ["| model | what was done | findings | measured |", "|---|---|---|---|"],
        {"sick": 0, "healthy": 0},
    )
    for kind, patients in (("sick", SICK), ("healthy", HEALTHY)):
        for name, patient in patients.items():
            findings = seen(patient)
            names = [finding.name for finding in findings]
            right[kind] += patient.finding in names if patient.finding else not names
            told = " / ".join(f.measured for f in findings)
            rows.append(f"| {name} | {patient.about} | {', '.join(names) or 'none'} | {told} |")
            print(rows[-1], flush=True)
    figures = {
        "sick models whose illness was found": f"{right['sick']} of {len(SICK)}",
        "healthy models without a finding": f"{right['healthy']} of {len(HEALTHY)}",
    }
    text = f"All on scikit-learn's digits, {IMAGES:,} images where nothing else is said.\n\n" + "\n".join(rows)
    print(write_results(Path(__file__).parent, "doctor", "python benchmarks/doctor.py", figures, load_before=before, text=text))


if __name__ == "__main__":
    main()
