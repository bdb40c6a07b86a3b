"""The findings as lines for people and as JSON for programs. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Final

from controller.doctor.findings import Finding, Verdict

_SIGNS: Final = {Verdict.OK: "✓", Verdict.FAILED: "✗", Verdict.UNCHECKED: "–"}


def failed(findings: Sequence[Finding]) -> bool:
    """Whether something is wrong."""
    return any(one.verdict is Verdict.FAILED for one in findings)


def lines(findings: Sequence[Finding]) -> str:
    """One line per finding, its remedy below it, and a last line with the numbers."""
    width = max(len(one.name) for one in findings)
    written = []
    for one in findings:
        first, *rest = one.sentence.splitlines()
        written.append(f"  {_SIGNS[one.verdict]} {one.name:<{width}}  {first}")
        written += [f"    {'':<{width}}  {line}" for line in rest]
        if one.remedy:
            written.append(f"    {'':<{width}}  → {one.remedy}")
    numbers = Counter(one.verdict for one in findings)
    problems, unchecked = numbers[Verdict.FAILED], numbers[Verdict.UNCHECKED]
    last = "1 problem" if problems == 1 else f"{problems or 'no'} problems"
    written.append(f"{last}, {unchecked} not checked" if unchecked else last)
    return "\n".join(written)


def document(findings: Sequence[Finding]) -> str:
    """The same as JSON, in one stable shape."""
    checks = [
        {"name": one.name, "verdict": str(one.verdict), "sentence": one.sentence, "remedy": one.remedy}
        for one in findings
    ]
    whole = {"apiVersion": "cli.roomkeeper.dev/v1alpha1", "kind": "DoctorReport", "ok": not failed(findings)}
    return json.dumps({**whole, "checks": checks}, indent=2, ensure_ascii=False)
