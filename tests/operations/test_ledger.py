"""The ledger: kept by notices, rebuilt by a walk, never needed; what it tells is what the folders say."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from covaria.job.books import Books, note_submission, write_request
from covaria.job.notice import inbox, notice, notices
from covaria.messages.envelope import Message
from covaria.operations import exporter
from covaria.operations.exporter import Exporter
from covaria.operations.ledger import reading
from covaria.operations.ledger.keeper import Keeper
from covaria.operations.ledger.rows import row_of
from covaria.operations.ledger.store import NAME, Ledger
from covaria.operations.submit import message_for
from covaria.request.model import IngestOptions, Request
from covaria.request.origin import Origin
from covaria.settings import Settings
from covaria.tree import Tree, record


def job(root: Path, name: str, *, proposal: str = "p1", live: bool = False, particles: str = "p.star") -> Message:
    """A job as a submitter leaves it."""
    request = Request(out=root / name, ingest=IngestOptions(particles=root / particles))
    message = message_for(
        request, job_class="live" if live else "bulk", origin=Origin(proposal=proposal, instrument="m01")
    )
    tree = Tree(request.out)
    tree.state.mkdir(parents=True)
    write_request(tree, message)
    note_submission(tree, message)
    return message


def end(message: Message, status: str = "succeeded", *, seconds: float = 3600.0, device: str = "cuda:0") -> None:
    """All its stages have ended so."""
    tree = Tree(message.work.request.out)
    for stage in message.work.route:
        state = {"stage": stage, "job_id": message.job_id, "status": status, "seconds": seconds, "device": device}
        files = {f"{stage}.mrc": {"size": 1000, "sha256": "0" * 64}}
        record.write_stage_state(tree, stage, state | {"files": files, "finished_at": record.now()})
    record.refresh(tree)


def settings(root: Path, *, ledger: bool = True) -> Settings:
    return Settings(roots=(root,), ledger=root / ".ledger" if ledger else None, scan_depth=3)


def keeper(root: Path) -> Keeper:
    return Keeper(Ledger(root / ".ledger"), [root], 3)


def test_a_notice_brings_a_job_in_and_its_end(tmp_path: Path) -> None:
    keeping = keeper(tmp_path)
    message = job(tmp_path, "a", live=True)
    keeping.look()
    assert keeping.ledger.counts() == {}, "nobody has told"
    notice(tmp_path / ".ledger", message.work.request.out)
    notice(tmp_path / ".ledger", message.work.request.out)
    assert len(list(notices(tmp_path / ".ledger"))) == 1, "many are one"
    keeping.look()
    assert keeping.ledger.counts() == {("ingest", "queued"): 1}
    assert list(keeping.ledger.oldest()) == [("ingest", "live")]
    assert list(notices(tmp_path / ".ledger")) == []
    end(message)
    keeping.look()
    assert keeping.ledger.counts() == {("analysis", "succeeded"): 1}, "what moves is looked at without a notice"
    assert keeping.ledger.moving() == []


def test_a_notice_before_its_folder_is_kept(tmp_path: Path) -> None:
    keeping = keeper(tmp_path)
    notice(tmp_path / ".ledger", tmp_path / "a")
    keeping.look()
    job(tmp_path, "a")
    keeping.look()
    assert keeping.ledger.counts() == {("ingest", "queued"): 1}


def test_hostile_notices_are_passed_over(tmp_path: Path) -> None:
    keeping = keeper(tmp_path / "root")
    box = inbox(tmp_path / "root" / ".ledger")
    box.mkdir(parents=True)
    job(tmp_path, "outside")
    (box / "1").write_text(str(tmp_path / "outside"))
    (box / "2").write_bytes(b"\0" * 10)
    (box / "3").write_bytes(b"/" * 1_000_000)
    (box / "4").symlink_to("/dev/zero")
    os.mkfifo(box / "5")
    (box / "6").write_text("relative")
    keeping.look()
    assert keeping.ledger.counts() == {}


def test_a_walk_finds_what_nobody_told_and_what_is_gone(tmp_path: Path) -> None:
    keeping = keeper(tmp_path)
    messages = [job(tmp_path, f"deep/{name}") for name in "abc"]
    for message in messages[:2]:
        end(message)
    assert keeping.walk() == 3
    assert keeping.ledger.counts() == {("analysis", "succeeded"): 2, ("ingest", "queued"): 1}
    end(messages[2], "failed")
    shutil.rmtree(messages[0].work.request.out)
    assert keeping.walk() == 2
    assert keeping.ledger.counts() == {("analysis", "succeeded"): 1, ("ingest", "failed"): 1}
    (whole,) = keeping.ledger.account("proposal")
    assert whole[:2] == ("p1", 3), "what it cost stays"
    assert whole[2] == 3 * 4 * 3600 and whole[4] == 2 * 4 * 1000, "and what lies on the disk does not"


def test_a_walk_reads_what_has_changed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = keeper(tmp_path)
    for name in "abc":
        end(job(tmp_path, name))
    keeping.walk()
    read: list[Path] = []

    def noted(out: Path) -> object:
        read.append(out)
        return row_of(out)

    monkeypatch.setattr("covaria.operations.ledger.keeper.row_of", noted)
    keeping.walk()
    assert read == []
    Books(Tree(tmp_path / "b"), row_of(tmp_path / "b").job_id).settle("analysis", "queued", None)
    keeping.walk()
    assert read == [tmp_path / "b"]
    assert keeping.ledger.counts()["analysis", "queued"] == 1


def test_list_and_reconcile_tell_the_same_with_and_without(tmp_path: Path) -> None:
    messages = [job(tmp_path, name) for name in "abc"]
    end(messages[0])
    walked = list(reading.jobs(settings(tmp_path), None, walk=True))
    keeper(tmp_path).walk()
    assert list(reading.jobs(settings(tmp_path), None)) == walked
    late = job(tmp_path, "d")
    notice(tmp_path / ".ledger", late.work.request.out)
    outs = [entry["out"] for entry in reading.jobs(settings(tmp_path), None)]
    assert outs == [str(tmp_path / name) for name in "abcd"], "a notice counts before its keeper has seen it"
    end(messages[1], "failed")
    assert [entry["status"] for entry in reading.jobs(settings(tmp_path), None)][1] == "failed", "now, not as it was"
    assert [view.out.name for view in reading.moving(settings(tmp_path), None)] == ["b", "c", "d"]
    assert [view.out.name for view in reading.moving(settings(tmp_path), [tmp_path / "c"])] == ["c"]


@pytest.mark.parametrize("harm", ["no database", "empty", "another", "missing"])
def test_a_broken_ledger_is_made_again(tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    end(job(tmp_path, "a"))
    keeping = keeper(tmp_path)
    keeping.walk()
    keeping.ledger.close()
    path = tmp_path / ".ledger" / NAME
    match harm:
        case "no database":
            path.write_bytes(b"\x00garbage" * 4096)
        case "empty":
            path.write_bytes(b"")
        case "another":
            path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 8192)
        case "missing":
            path.unlink()
    (told,) = reading.jobs(settings(tmp_path), None)
    assert told["status"] == "succeeded", "the folders are looked through"
    again = keeper(tmp_path)
    again.walk()
    assert again.ledger.counts() == {("analysis", "succeeded"): 1}


def test_the_exporter_keeps_it_and_lives_without(tmp_path: Path) -> None:
    end(job(tmp_path, "a"))
    message = job(tmp_path, "b", live=True)
    for ledger in (True, False):
        looking = Exporter(settings(tmp_path, ledger=ledger), [tmp_path])
        looking.look()
        looking._walking.join(60)
        looking.look()
        text = generate_latest(looking.metrics.registry).decode()
        assert 'covaria_jobs{stage="analysis",state="succeeded"} 1.0' in text
        assert 'covaria_jobs{stage="ingest",state="queued"} 1.0' in text
        waited = [line for line in text.splitlines() if line.startswith("covaria_oldest_queued_job_seconds{")]
        assert any('class="live",stage="ingest"' in line and not line.endswith(" 0.0") for line in waited), waited
    assert (tmp_path / ".ledger" / NAME).is_file()
    shutil.rmtree(tmp_path / ".ledger")
    (tmp_path / ".ledger").write_text("in the way")
    blocked = Exporter(settings(tmp_path), [tmp_path])
    blocked.look()
    assert blocked.metrics.registry.get_sample_value("covaria_jobs", {"stage": "ingest", "state": "queued"}) == 1
    notice(tmp_path / ".ledger", message.work.request.out)


def test_accounts_by_owner(tmp_path: Path) -> None:
    for name, proposal, device in (("a", "p1", "cuda:0"), ("b", "p1", "cpu"), ("c", "p2", "cuda:1")):
        end(job(tmp_path, name, proposal=proposal), device=device)
    with_ledger, without = settings(tmp_path), settings(tmp_path, ledger=False)
    keeper(tmp_path).walk()
    rows = reading.account(with_ledger, None, "proposal", "")
    assert rows == reading.account(without, None, "proposal", "")
    assert rows[0] == ("p1", 2, 4 * 3600.0, 4 * 3600.0, 8000)
    assert rows[1] == ("p2", 1, 4 * 3600.0, 0.0, 4000)
    assert reading.account(with_ledger, None, "instrument", "")[0][:2] == ("m01", 3)
    assert reading.account(with_ledger, None, "proposal", "2999") == []


def test_a_replaced_job_keeps_what_it_cost(tmp_path: Path) -> None:
    first = job(tmp_path, "a")
    end(first)
    keeping = keeper(tmp_path)
    keeping.walk()
    request = first.work.request.model_copy(update={"overwrite": True})
    second = message_for(request, origin=Origin(proposal="p1"))
    Books(Tree(tmp_path / "a"), second.job_id).claim(second)
    end(second)
    keeping.walk()
    assert keeping.ledger.counts() == {("analysis", "succeeded"): 1}
    assert keeping.ledger.account("proposal")[0][1:3] == (2, 2 * 4 * 3600.0)
    (current,) = keeping.ledger.jobs()
    assert json.dumps(current) and current["job_id"] == second.job_id


def count(looking: Exporter, name: str, **labels: str) -> float | None:
    return looking.metrics.registry.get_sample_value(f"covaria_{name}", labels)


@pytest.mark.parametrize("ledger", [True, False])
def test_an_end_is_counted_once_whoever_saw_it(tmp_path: Path, ledger: bool) -> None:
    """Pods of short jobs are gone before a scrape: their ends are counted from the folders."""
    end(job(tmp_path, "old"))
    looking = Exporter(settings(tmp_path, ledger=ledger), [tmp_path])

    def look() -> None:
        looking.look()
        looking._walking.join(60)

    look()
    assert count(looking, "jobs_ended_total", **{"class": "bulk", "state": "succeeded"}) == 0, "what was there before"
    moving, quick = job(tmp_path, "a", live=True), job(tmp_path, "b")
    notice(settings(tmp_path, ledger=ledger).ledger, moving.work.request.out)
    look()
    end(moving)
    end(quick, "failed")
    notice(settings(tmp_path, ledger=ledger).ledger, quick.work.request.out)
    for _ in range(3):
        look()
    assert count(looking, "jobs_ended_total", **{"class": "live", "state": "succeeded"}) == 1
    assert count(looking, "jobs_ended_total", **{"class": "bulk", "state": "failed"}) == 1, (
        "come and gone between looks"
    )
    assert count(looking, "result_seconds_bucket", **{"class": "live", "le": "300.0"}) == 1
    assert count(looking, "result_seconds_count", **{"class": "bulk"}) == 0


def test_a_ledger_that_could_not_be_kept_is_tried_again(tmp_path: Path) -> None:
    place = tmp_path / ".ledger"
    place.write_text("no folder")
    looking = Exporter(settings(tmp_path), [tmp_path])
    message = job(tmp_path, "a")
    for _ in range(2):
        looking._look_at_jobs()
    end(message)
    for _ in range(3):
        looking._look_at_jobs()
    place.unlink()
    for _ in range(3):
        looking._look_at_jobs()
    ended = 'covaria_jobs_ended_total{class="bulk",state="succeeded"} 1.0'
    assert ended in generate_latest(looking.metrics.registry).decode(), "it ended once"
    assert Ledger(place, read_only=True).counts() == {("analysis", "succeeded"): 1}


def test_the_jobs_that_stand_still_longest_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> list[str]:
        lines = generate_latest(looking.metrics.registry).decode().splitlines()
        return [line for line in lines if line.startswith("covaria_stuck_job_seconds{")]

    looking = Exporter(settings(tmp_path), [tmp_path])
    messages = [job(tmp_path, f"job{number}", live=number == 0) for number in range(4)]
    for message in messages:
        notice(tmp_path / ".ledger", message.work.request.out)
    looking._look_at_jobs()
    assert shown() == [], "none for an hour"
    monkeypatch.setattr(exporter, "STUCK_AFTER", timedelta(hours=-1))
    monkeypatch.setattr(exporter, "MOST_STUCK", 3)
    looking._look_at_jobs()
    assert len(shown()) == 3
    whose = f'class="live",instrument="m01",job="{messages[0].job_id}",out="{tmp_path}/job0"'
    assert any(f'{whose},stage="ingest",state="queued"' in line for line in shown()), "the one that waits longest"
    for message in messages:
        end(message)
    looking._look_at_jobs()
    assert shown() == [], "who has ended is shown no more"
