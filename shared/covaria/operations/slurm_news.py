"""What became of jobs in Slurm, told once: a lost node, a preemption, a time that ended, each with its remedy."""

from __future__ import annotations

from dataclasses import dataclass, field

from covaria.operations.slurm import RUNNING, WAITING, Jobs, Row, Slurm

ENDED = {
    "NODE_FAIL": "lost its node",
    "BOOT_FAIL": "did not start, nor did its node",
    "PREEMPTED": "was preempted",
    "CANCELLED": "was cancelled",
    "TIMEOUT": "came to the end of its time: give more with --time",
    "DEADLINE": "passed its deadline",
    "OUT_OF_MEMORY": "needed more memory than it had: give more with --mem-gb",
    "FAILED": "ended with an error: read its log",
    "COMPLETED": "is done",
}


@dataclass
class News:
    """Looks at one name's jobs again and again and says what is new."""

    slurm: Slurm
    name: str
    _seen: dict[str, Row] = field(default_factory=dict)
    _nodes: dict[str, str] = field(default_factory=dict)
    """Where each job ran: of one that ends Slurm shows what is left."""
    _silent: str = ""

    @property
    def alive(self) -> bool:
        """Whether a job was last seen waiting or running."""
        return any(row.state not in ENDED for row in self._seen.values())

    def of(self, jobs: Jobs) -> list[str]:
        """Lines about what changed since the last look; of the first look, nothing."""
        found = [line for row in jobs.rows if (line := self._change(self._seen.get(row.number), row))]
        self._seen = {row.number: row for row in jobs.rows}
        self._nodes |= {row.number: row.nodes for row in jobs.rows if row.state == "RUNNING"}
        return found + self._nodes_that_do_not_answer()

    def _change(self, before: Row | None, now: Row) -> str:
        if before is None or before.state == now.state:
            return ""
        nodes = self._nodes.get(now.number, "")
        if now.state in ENDED:
            where = f" ({states})" if nodes and (states := self._bad(nodes)) else ""
            return f"Slurm job {now.number} {ENDED[now.state]}{where}"
        if before.state in RUNNING and now.state in WAITING:
            where = (nodes and self.slurm.node_states(nodes)) or nodes or "its node"
            return (
                f"Slurm job {now.number} was taken off {where}: it was preempted, lost a node or was"
                f" asked to stop. It waits until {now.starts} and goes on from its last checkpoint"
            )
        return ""

    def _nodes_that_do_not_answer(self) -> list[str]:
        nodes = ",".join(sorted({row.nodes for row in self._seen.values() if row.state in RUNNING and row.nodes}))
        silent = self._bad(nodes) if nodes else ""
        new, self._silent = silent != self._silent, silent
        if not silent or not new:
            return []
        return [f"{silent}: no answer. Slurm takes its jobs away when it gives the node up (SlurmdTimeout)"]

    def _bad(self, nodes: str) -> str:
        """Those of the nodes that do not answer, with their states."""
        states = self.slurm.node_states(nodes).split(", ")
        return ", ".join(state for state in states if "*" in state or " down" in state)
