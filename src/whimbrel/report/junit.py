"""A campaign for programs that show test results: trials and limits as JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from whimbrel.errors import UsageError
from whimbrel.records.caller import write_file
from whimbrel.report.content import Report
from whimbrel.report.load import ReportedTrial
from whimbrel.report.problems import shorten


def write_junit(report: Report, file: Path) -> None:
    """A suite of trials, each of which may have failed or been skipped (spoilt before its move), and a suite of limits."""
    suites = ET.Element("testsuites", name=report.title)
    trials = ET.SubElement(suites, "testsuite", name="trials")
    for trial in report.trials:
        _add_trial(trials, trial)
    limits = ET.SubElement(suites, "testsuite", name="limits")
    for tick in report.ticks:
        case = ET.SubElement(limits, "testcase", classname=tick.arm, name=tick.limit.words)
        if not tick.kept:
            ET.SubElement(case, "failure", message=tick.words)
    for suite in (trials, limits):
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("./testcase/failure"))))
        suite.set("skipped", str(len(suite.findall("./testcase/skipped"))))
    ET.indent(suites)
    try:
        write_file(file, ET.tostring(suites, encoding="utf-8", xml_declaration=True))
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


def _add_trial(suite: ET.Element, trial: ReportedTrial) -> None:
    plan, outcome = trial.stored.record.plan, trial.stored.record.outcome
    total_s = trial.figures.total_s
    case = ET.SubElement(suite, "testcase", classname=plan.arm, name=f"trial {plan.order}")
    if total_s is not None:
        case.set("time", f"{total_s:.3f}")
    if not outcome.succeeded:
        failure = ET.SubElement(case, "failure", message=f"{outcome.result}: {shorten(outcome.error)}")
        failure.text = outcome.error
    elif trial.figures.spoilt:
        ET.SubElement(case, "skipped", message="; ".join(trial.figures.spoilt))
