"""What the terminal shows when a command has done its work."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from covaria.plain import printable


def print_summary(out: Path, stage_folder: Path | None = None) -> None:
    """Stages with their times, where the results and figures are, the next command to try."""
    from covaria.findings import Findings
    from covaria.tree import Tree, record
    from covaria.tree.readme import next_commands, stage_rows

    tree = Tree(out)
    document = record.job_document(tree)
    console = Console()
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for row in stage_rows(document):
        table.add_row(*row)
    console.print()
    console.print(table)
    if "findings" in document:
        headline, *rest = Findings.model_validate(document["findings"]).lines()
        console.print(printable(headline), style="bold", markup=False, highlight=False)
        for line in rest:
            console.print(printable(line), markup=False, highlight=False)
        console.print()
    _line(console, "results", stage_folder or out)
    for folder in (tree.plots, tree.density / "plots", *sorted(out.glob("analysis_*/plots"))):
        if folder.is_dir():
            _line(console, "figures", folder)
    _line(console, "report", tree.report)
    _line(console, "read", tree.readme)
    for line in next_commands(document):
        _line(console, "next", line)


def _line(console: Console, what: str, value: Path | str) -> None:
    console.print(printable(f"{what:<9}{value}"), markup=False, highlight=False, soft_wrap=True)
