#!/usr/bin/env python3
"""Judges reports of the Autobahn suite: every case there, every case OK, three INFORMATIONAL as they must be.

usage: check.py --some|--all REPORT_DIRECTORY...
"""

import json
import sys
from collections import Counter
from pathlib import Path

sys.dont_write_bytecode = True
import cases as plan  # noqa: E402

# Cases 1 to 7, 9 and 10 of autobahntestsuite 25.10.1, by their first number.
EXPECTED = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1}
# Here the protocol leaves the answer open, and the suite only tells what it saw.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
ABOUT = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and speed",
    10: "automatic fragmentation",
    12: "compression: kinds of data",
    13: "compression: ways of agreeing",
}


def read(directories):
    """All cases of all reports: number -> (outcome, directory)."""
    cases = {}
    for directory in map(Path, directories):
        index = directory / "index.json"
        if not index.exists():
            sys.exit(f"error: there is no report in {directory}: the suite did not come to its end")
        for agent in json.loads(index.read_text()).values():
            cases.update({number: (outcome, directory) for number, outcome in agent.items()})
    return cases


def as_expected(number, outcome):
    wanted = "INFORMATIONAL" if number in INFORMATIONAL else "OK"
    return outcome["behavior"] == wanted and outcome["behaviorClose"] in ("OK", "INFORMATIONAL")


def main():
    extent, *directories = sys.argv[1:]
    cases = read(directories)
    compressed = Counter(int(number.split(".")[0]) for number in plan.compression(extent == "--all"))
    print(f"{'cases':>7}  {'OK':>4} {'INFORMATIONAL':>14} {'NON-STRICT':>11} {'FAILED':>7}  about")
    total, wrong = Counter(), []
    for group, expected in (EXPECTED | dict(compressed)).items():
        outcomes = {n: case for n, case in cases.items() if int(n.split(".")[0]) == group}
        counts = Counter(outcome["behavior"] for outcome, _ in outcomes.values())
        others = len(outcomes) - counts["OK"] - counts["INFORMATIONAL"] - counts["NON-STRICT"]
        print(
            f"{group:>5}.*  {counts['OK']:>4} {counts['INFORMATIONAL']:>14}"
            f" {counts['NON-STRICT']:>11} {others:>7}  {ABOUT[group]}"
        )
        total += counts
        if len(outcomes) != expected:
            wrong.append(f"{group}.*: {len(outcomes)} cases ran, {expected} are expected")
    for number, (outcome, directory) in cases.items():
        if not as_expected(number, outcome):
            report = directory / outcome["reportfile"]
            told = json.loads(report.read_text()) if report.exists() else {}
            wrong.append(
                f"{number}: {outcome['behavior']}, close {outcome['behaviorClose']}: {told.get('result', '')}"
                f" {told.get('resultClose', '')} ({report})"
            )
    print(f"  total  {total['OK']:>4} {total['INFORMATIONAL']:>14} {total['NON-STRICT']:>11}")
    for line in wrong:
        print(f"wrong  {line}")
    sys.exit(1 if wrong else 0)


main()
