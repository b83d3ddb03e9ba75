"""Findings on a terminal, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.doctor.facts import Facts
from cli.doctor.findings import Finding, worst
from cli.output import Output, state
from cli.words import counted, shown
from shared.version import VERSION


def as_data(facts: Facts, findings: Sequence[Finding], now: datetime) -> dict[str, Any]:
    """For JSON; what is here stays, and more may come."""
    return {
        "url": facts.url,
        "version": VERSION,
        "registry_version": facts.registry.version if facts.registry else None,
        "checked_at": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "result": worst(findings),
        "findings": [finding.data() for finding in findings],
    }


def show(output: Output, findings: Sequence[Finding]) -> None:
    """Each check with what was found, and below it what to do."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in findings:
        grid.add_row(state(finding.state), shown(finding.check, at_most=40), shown(finding.found))
        for line in (finding.advice or "").splitlines():
            dim = finding.state == "skipped"
            grid.add_row("", "", Text.assemble(("> ", "cyan"), shown(line, style="dim" if dim else "")))
    output.render(grid)
    output.say("")
    output.render(summary(findings))


def summary(findings: Sequence[Finding]) -> Text:
    """The last line."""
    count = {name: sum(finding.state == name for finding in findings) for name in ("problem", "warning", "skipped")}
    looked = f" ({counted(count['skipped'], 'check')} skipped)" if count["skipped"] else ""
    if not count["problem"] and not count["warning"]:
        return Text(f"All is well{looked}.", style="green")
    parts = [
        (counted(count[name], name), style)
        for name, style in (("problem", "bold red"), ("warning", "yellow"))
        if count[name]
    ]
    line = Text(" and ").join(Text(said, style=style) for said, style in parts)
    return line.append(f"{looked}.", style="")
