"""The ledger of jobs at 1,000, 10,000 and 100,000 rows: what looks of the exporter, `list`, `reconcile`, a notice cost.

Ten jobs move, whatever the number that is there. `python bench/bench_ledger.py [ROWS ...]`. Fails where a question that
should not grow with the number of jobs takes longer than its budget.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from covaria.operations.ledger.rows import Row
from covaria.operations.ledger.store import Ledger

MOVE = 10
STAMP = "2026-01-01T00:00:00.000+00:00"
VIEW = '{"out": "%s", "job_id": "x", "status": "succeeded", "stages": []}' + " " * 1500
"""As long as a job of four stages."""
BUDGET_S = {"counts": 0.005, "oldest": 0.005, "moving": 0.005, "list --state running": 0.005, "put one": 0.05}
"""At 100,000 rows, generous for a busy machine."""


def row(number: int) -> Row:
    """A synthetic job."""
    status = "running" if number < MOVE else "succeeded"
    out = f"/data/visit{number % 97}/job{number}"
    return Row(
        out=out, job_id=f"{number:016x}", status=status, stage="analysis", job_class="bulk", submitted_at=STAMP,
        since=STAMP, proposal=f"p{number % 50}", visit=f"v{number % 97}", instrument=f"m{number % 4}", sample="",
        gpu_s=60.0, cpu_s=30.0, bytes=10**9, particles="", stamp="", view=VIEW % out,
    )  # fmt: skip


def median_s(call: Callable[[], object], times: int = 7) -> float:
    """Of some calls."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def measure(rows: int, folder: Path) -> dict[str, float]:
    """Seconds of each question."""
    ledger = Ledger(folder / str(rows))
    began = time.perf_counter()
    for first in range(0, rows, 1000):
        ledger.put([row(number) for number in range(first, min(first + 1000, rows))])
    print(f"{rows:>8} rows written in {time.perf_counter() - began:.1f} s")
    found = {
        "counts": median_s(ledger.counts),
        "oldest": median_s(ledger.oldest),
        "moving": median_s(ledger.moving),
        "list --state running": median_s(lambda: list(ledger.jobs("running"))),
        "account": median_s(lambda: ledger.account("proposal"), 3),
        "put one": median_s(lambda: ledger.put([row(3)])),
    }
    ledger.close()
    return found


def main() -> int:
    """Print a table; 1 where a budget is missed."""
    sizes = [int(word) for word in sys.argv[1:]] or [1000, 10_000, 100_000]
    with tempfile.TemporaryDirectory() as folder:
        columns = [measure(rows, Path(folder)) for rows in sizes]
    print(f"{'ms':<24}" + "".join(f"{rows:>10}" for rows in sizes))
    for what in columns[0]:
        print(f"{what:<24}" + "".join(f"{column[what] * 1e3:>10.2f}" for column in columns))
    late = [what for what, most in BUDGET_S.items() if columns[-1][what] > most]
    print(f"too slow: {', '.join(late)}" if late else "within its budget")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
