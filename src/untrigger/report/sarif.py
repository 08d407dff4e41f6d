"""What a scan found, in the Static Analysis Results Interchange Format (SARIF 2.1.0, an OASIS standard)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

from untrigger.inspection.rules import LIMITS, RULES, Rule, Severity
from untrigger.report.scan import FileResult, ScanFindingResult, ScanResult
from untrigger.report.text import visible

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS: Mapping[Severity, str] = {Severity.CRITICAL: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_RULES = tuple(RULES)

Json = dict[str, object]


def sarif_text(result: ScanResult) -> str:
    """The log file: one run, every rule of the scan, a result a finding, an artifact a file."""
    run: Json = {
        "tool": {"driver": _driver(result)},
        "invocations": [{"executionSuccessful": True, "exitCode": result.exit_code}],
        "artifacts": [_artifact(file) for file in result.files],
        "results": [_result(finding) for finding in result.findings],
        "properties": {"reference": visible(result.reference), "limits": list(result.limits)},
    }
    log: Json = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, ensure_ascii=True, allow_nan=False, indent=2) + "\n"


def _driver(result: ScanResult) -> Json:
    return {
        "name": "untrigger scan",
        "semanticVersion": result.version,
        "rules": [_rule(rule) for rule in RULES.values()],
    }


def _rule(rule: Rule) -> Json:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.meaning},
        "help": {"text": LIMITS[rule.area]},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"area": rule.area},
    }


def _artifact(file: FileResult) -> Json:
    known: Json = {"location": {"uri": _uri(file.name)}, "properties": {"fate": file.fate.value}}
    if file.sha256 is not None and file.bytes is not None:
        known |= {"length": file.bytes, "hashes": {"sha-256": file.sha256}}
    return known


def _result(finding: ScanFindingResult) -> Json:
    location: Json = {"physicalLocation": {"artifactLocation": {"uri": _uri(finding.file or ".")}}}
    if finding.field:
        location["logicalLocations"] = [{"fullyQualifiedName": visible(finding.field)}]
    advice = f" -> {finding.todo}" if finding.todo else ""
    return {
        "ruleId": finding.rule,
        "ruleIndex": _RULES.index(finding.rule),
        "level": LEVELS[finding.severity],
        "message": {"text": visible(f"{finding.message}{advice}")},
        "locations": [location],
    }


def _uri(name: str) -> str:
    """A reference relative to the model's folder."""
    return quote(name.encode("utf-8", "surrogateescape"))
