"""The ledger over SQLite and over a throwaway PostgreSQL: the same rows, the same answers."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from covaria.errors import InvalidInput
from covaria.operations.ledger.database import Away
from covaria.operations.ledger.rows import Row
from covaria.operations.ledger.store import Ledger
from covaria.settings import Settings

Open = Callable[[bool], Ledger]


@dataclass
class Server:
    """A PostgreSQL of the test's own, on a socket in its folder."""

    programs: Path
    folder: Path

    @property
    def address(self) -> str:
        return f"postgresql://covaria@/postgres?host={quote(str(self.folder), safe='')}"

    def run(self, *command: str) -> None:
        user = "postgres" if os.getuid() == 0 else None
        subprocess.run(command, check=True, capture_output=True, timeout=60, user=user, cwd=self.folder)

    def control(self, action: str) -> None:
        options = f"-c listen_addresses= -k {self.folder} -c fsync=off"
        log = str(self.folder / "log")
        self.run(str(self.programs / "pg_ctl"), "-D", f"{self.folder}/data", "-w", "-m", "fast", "-l", log,
                 "-o", options, action)  # fmt: skip

    def sql(self, text: str) -> None:
        import psycopg

        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(text.encode())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="psycopg is not installed (the extra `postgres`)")
    found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(found).resolve().parent, Path(name))
        if os.getuid() == 0:
            shutil.chown(name, "postgres")
        server.run(str(found), "-D", f"{name}/data", "-U", "covaria", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        server.control("start")
        yield server
        server.control("stop")


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens a ledger, once to write first; `True`: to read."""
    address = ""
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        server.sql("DROP TABLE IF EXISTS jobs, tally CASCADE")
        address = server.address
    ledgers: list[Ledger] = []

    def open_one(read_only: bool) -> Ledger:
        ledgers.append(Ledger(tmp_path, read_only=read_only, address=address))
        return ledgers[-1]

    yield open_one
    for ledger in ledgers:
        ledger.close()


def row(out: str, job_id: str = "a", **more: object) -> Row:
    view = '{"origin": {"metadata": {"cost": "42", "a.b/c-d": "x"}}, "name": "n"}'
    plain = Row(
        out=out, job_id=job_id, status="queued", stage="ingest", job_class="bulk",
        submitted_at="2026-11-02T10:00:00.000+00:00", since="2026-11-02T10:00:00.000+00:00", proposal="p1", visit="v",
        instrument="m01", sample="", gpu_s=0.1, cpu_s=2.0, bytes=2**40, particles="p.star", stamp="1", view=view,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def test_both_answer_alike(opened: Open) -> None:
    ledger = opened(False)
    later = "2026-11-03T10:00:00.000+00:00"
    ledger.put(
        [row("/d/b"), row("/d/a", since=later, job_class="live"), row("/d/B", status="succeeded", proposal="é%?")]
    )
    ledger.put([row("/d/a", "second", status="running", stage="density", since=later), row("/d/b", status="retrying")])
    reader = opened(True)
    assert reader.counts() == {("ingest", "retrying"): 1, ("ingest", "succeeded"): 1, ("density", "running"): 1}
    assert reader.oldest() == {("ingest", "bulk"): "2026-11-02T10:00:00.000+00:00"}
    assert reader.status("/d/a", "a") == "queued" and reader.status("/d/a", "none") is None
    assert sorted(reader.moving()) == [Path("/d/a"), Path("/d/b")] and len(reader.moving(1)) == 1
    assert [job["job"] for job in reader.stuck("2026-11-04", 5)] == ["a", "second"]
    assert [job["out"] for job in reader.stuck("2026-11-03", 5)] == ["/d/b"]
    assert set(reader.stamps()) == {"/d/a", "/d/b", "/d/B"} and reader.stamps()["/d/b"] == ("1", "retrying")
    assert len(list(reader.jobs())) == 3 and len(list(reader.jobs("running"))) == 1
    assert reader.account("proposal") == [
        ("p1", 3, pytest.approx(0.3), 6.0, 2**41), ("é%?", 1, pytest.approx(0.1), 2.0, 2**40),
    ]  # fmt: skip
    assert reader.account("instrument", "2026-11-03") == []
    for by, owner in (("visit", "v"), ("cost", "42"), ("a.b/c-d", "x")):
        assert reader.used(by, owner, "2026-11-01") == (2, pytest.approx(0.4), 3 * 2**40)
    assert reader.used("cost", "43", "") == (0, 0.0, 0)
    with pytest.raises(sqlite3.Error):
        reader.put([row("/d/c")])
    ledger.leave(["/d/a"])
    assert ledger.counts() == {("ingest", "retrying"): 1, ("ingest", "succeeded"): 1}
    ledger.touch(["/d/b"])
    assert ledger.not_seen_since(0.0) == [] and set(ledger.not_seen_since(2e10)) == {"/d/b", "/d/B"}


def test_a_change_comes_about_whole_or_not(opened: Open) -> None:
    ledger = opened(False)
    with pytest.raises((sqlite3.Error, TypeError)):
        ledger.put([row("/d/a"), row("/d/b", stage=None)])
    assert ledger.counts() == {}, "the first of the two went with the second"


def test_letters_that_no_text_can_hold_hide_no_other_job(opened: Open) -> None:
    ledger = opened(False)
    odd = '{"origin": {"metadata": {"cost": "\\u0000\\ud800"}}}'
    ledger.put([row("/d/a", proposal="p\0q", view=odd), row("/d/b")])
    assert ledger.used("cost", "42", "")[0] == 1
    assert {owner for owner, *_ in ledger.account("proposal")} > {"p1"}


def test_two_writers_lose_nothing(opened: Open) -> None:
    ledgers = [opened(False), opened(False)]

    def write(number: int) -> None:
        for turn in range(20):
            ledgers[number].put([row(f"/d/{turn}", status=("queued", "running")[number]), row(f"/d/{number}-{turn}")])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = ledgers[0].counts()
    assert sum(counts.values()) == 60 and counts == ledgers[1].counts()
    assert sum(1 for _ in ledgers[0].jobs("queued")) == counts["ingest", "queued"]


def test_one_that_was_away_is_found_again(postgres: Server, tmp_path: Path) -> None:
    postgres.sql("DROP TABLE IF EXISTS jobs, tally CASCADE")
    ledger = Ledger(tmp_path, address=postgres.address)
    ledger.put([row("/d/a")])
    postgres.control("stop")
    try:
        for _ in range(2):
            with pytest.raises(Away, match="PostgreSQL"):
                ledger.counts()
        with pytest.raises(Away):
            Ledger(tmp_path, read_only=True, address=postgres.address)
    finally:
        postgres.control("start")
    assert ledger.counts() == {("ingest", "queued"): 1}
    ledger.close()


def test_an_address_that_is_none_is_not_repeated(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    for address in ("postgresql://u:pass/word@host/db", "mysql://u:password@host/db", "host=a sesame"):
        with pytest.raises(InvalidInput) as found:
            Ledger(tmp_path, address=address)
        assert "pass" not in str(found.value.message) and "sesame" not in found.value.message


def test_the_settings_say_which(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ledger_url needs ledger"):
        Settings(ledger_url="postgresql://u:sesame@host/db")  # type: ignore[arg-type]
    asked = Settings(ledger=tmp_path, ledger_url="postgresql://u:sesame@host/db")  # type: ignore[arg-type]
    assert "sesame" not in str(asked.redacted())
    ledger = Ledger.of(Settings(ledger=tmp_path))
    assert (ledger.folder, ledger.counts()) == (tmp_path, {})
    ledger.close()
