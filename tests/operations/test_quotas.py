"""Quotas: who has as much as is allowed is told the numbers before anything is sent."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from covaria_site import COMMAND
from sets import write_star

from covaria.errors import CovariaError, InvalidInput
from covaria.messages.envelope import Message
from covaria.operations.ledger.rows import Row
from covaria.operations.ledger.store import Ledger
from covaria.operations.quotas import OverQuota, admit, hold_back, read_quotas
from covaria.operations.submit import message_for
from covaria.operations.watching.rules import Rule
from covaria.operations.watching.watcher import Watcher
from covaria.request.model import IngestOptions, Request
from covaria.request.origin import Origin
from covaria.settings import Settings
from covaria.tree import record

LONG_AGO = "2020-01-01T00:00:00+00:00"


def row(
    name: str, status: str = "queued", *, proposal: str = "p1", at: str = "", gpu_s: float = 0, size: int = 0
) -> Row:
    at = at or record.now()
    view = '{"origin": {"metadata": {"submitter": "ada"}}}'
    return Row(name, name, status, "ingest", "bulk", at, at, proposal, "", "m01", "", gpu_s, 0.0, size, "", "", view)


def asked(root: Path, text: str, rows: list[Row], **origin: object) -> None:
    """Whether a new job of that origin is let in."""
    ledger = Ledger(root / "ledger")
    ledger.put(rows)
    ledger.close()
    (root / "quotas.yaml").write_text(f"quotas:\n{text}\n")
    admit(message(root, **(origin or {"proposal": "p1"})), settings(root))


def settings(root: Path) -> Settings:
    return Settings(roots=(root,), ledger=root / "ledger", quotas=root / "quotas.yaml")


def message(root: Path, **origin: object) -> Message:
    request = Request(out=root / "new", ingest=IngestOptions(particles=root / "p.star"))
    return message_for(request, origin=Origin.model_validate(origin))


WAITING = [row("a"), row("b", "running"), row("c", "retrying"), row("d", "succeeded"), row("e", "parked")]
COST = [row("a", "succeeded", gpu_s=7200, size=10**12), row("b", "succeeded", at=LONG_AGO, gpu_s=1e6, size=10**13)]


@pytest.mark.parametrize(
    ("rows", "text", "words"),
    [
        (WAITING, "- {by: proposal, jobs: 3}", "proposal 'p1' has 3 jobs queued or running, of 3 allowed"),
        (COST, "- {by: proposal, gpu_hours: 2}", "'p1' has 2 GPU hours in 30 days, of 2 allowed"),
        (COST, "- {by: proposal, tb: 0.5}", "'p1' has 1 TB of the last 30 days, of 0.5 allowed"),
        (COST, "- {by: proposal, tb: 11, days: 10000}", "'p1' has 11 TB"),
        (WAITING, "- {by: proposal, jobs: 9}\n- {by: proposal, of: p1, jobs: 2}", "has 3 jobs .* of 2 allowed"),
    ],
)
def test_who_has_as_much_as_is_allowed_is_told_the_numbers(
    tmp_path: Path, rows: list[Row], text: str, words: str
) -> None:
    with pytest.raises(OverQuota, match=words) as told:
        asked(tmp_path, text, rows)
    assert told.value.hint


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (WAITING, "- {by: proposal, jobs: 4}"),
        (WAITING, "- {by: proposal, of: p2, jobs: 0}"),
        (WAITING, "- {by: visit, jobs: 0}"),
        (WAITING, "- {by: proposal, jobs: 0}\n- {by: proposal, of: p1, jobs: 4}"),
        (COST, "- {by: proposal, gpu_hours: 2.1, tb: 1.1}"),
    ],
)
def test_everybody_else_is_let_in(tmp_path: Path, rows: list[Row], text: str) -> None:
    asked(tmp_path, text, rows)


def test_a_submitter_is_known_by_the_metadata(tmp_path: Path) -> None:
    asked(tmp_path, "- {by: submitter, jobs: 3}", WAITING, metadata={"submitter": "bob"})
    with pytest.raises(OverQuota, match="submitter 'ada' has 3"):
        asked(tmp_path, "- {by: submitter, jobs: 3}", WAITING, metadata={"submitter": "ada"})
    with pytest.raises(OverQuota):
        asked(tmp_path, "- {by: instrument, jobs: 3}", WAITING, instrument="m01")
    asked(tmp_path, "- {by: submitter, jobs: 1}", [], metadata={"submitter": "' OR 1=1 --"})


def test_a_job_that_is_known_is_no_new_one(tmp_path: Path) -> None:
    sent = message(tmp_path, proposal="p1")
    known = row(str(sent.work.request.out))
    asked(tmp_path, "- {by: proposal, jobs: 1}", [Row(**{**vars(known), "job_id": sent.job_id})])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {by: proposal}", "a quota limits"),
        ("- {by: colour, jobs: 1}", "proposal"),
        ("- {by: visit, jobs: -1}", "greater"),
        ("- {by: visit, tb: .nan}", "finite"),
        ("- {by: visit, job: 1}", "job"),
        ("- {by: [", "no valid YAML"),
    ],
)
def test_a_wrong_file_is_named_and_lets_nobody_past(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as told:
        asked(tmp_path, text, [])
    assert str(tmp_path / "quotas.yaml") in str(told.value)


def test_without_a_ledger_nobody_counts_and_nobody_is_let_past(tmp_path: Path) -> None:
    (tmp_path / "quotas.yaml").write_text("quotas: [{by: proposal, jobs: 1}]")
    assert len(read_quotas(tmp_path / "quotas.yaml")) == 1
    with pytest.raises(CovariaError, match="cannot be read"):
        admit(message(tmp_path, proposal="p1"), settings(tmp_path))
    with pytest.raises(InvalidInput, match="needs the ledger"):
        admit(message(tmp_path), Settings(quotas=tmp_path / "quotas.yaml"))
    with pytest.raises(OverQuota):
        hold_back(message(tmp_path, proposal="p1"), settings(tmp_path))


def test_a_trigger_waits_and_asks_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_star(tmp_path / "in" / "particles.star")
    held = [True]

    def admits(message: Message) -> None:
        if held[0]:
            raise OverQuota("has 3 of 3")

    facts = {"name": "m01", "folder": tmp_path / "in", "into": f"{tmp_path}/out/{{name}}", "settle_s": 0.0}
    watcher = Watcher(Rule.model_validate(facts), tmp_path / "spool", lambda: 0.0, admit=admits)
    assert [watcher.look() for _ in range(3)] == [[], [], []] and watcher.states["waiting"] == 1
    held[0] = False
    assert any(watcher.look() for _ in range(3)), "once it may"


def test_submit_ends_with_75_and_the_numbers(tmp_path: Path) -> None:
    """Before anything is sent: there is no broker."""
    write_star(tmp_path / "p.star")
    ledger = Ledger(tmp_path / "ledger")
    ledger.put(WAITING)
    ledger.close()
    (tmp_path / "quotas.yaml").write_text("quotas: [{by: proposal, jobs: 3}]")
    command = [*COMMAND, "submit", str(tmp_path / "p.star"), "-o", str(tmp_path / "out"), "--no-downsample"]
    told = {"COVARIA_LEDGER": str(tmp_path / "ledger"), "COVARIA_QUOTAS": str(tmp_path / "quotas.yaml")}
    broker = {"COVARIA_BROKER_URL": "amqp://guest:guest@127.0.0.1:1/%2F"}
    done = subprocess.run(
        [*command, "--proposal", "p1"], env=os.environ | told | broker, capture_output=True, text=True, check=False
    )
    assert done.returncode == 75
    assert "proposal 'p1' has 3 jobs queued or running, of 3 allowed" in " ".join(done.stderr.split())
    assert "broker" not in done.stderr
    assert not (tmp_path / "out").exists()
