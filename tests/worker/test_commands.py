"""The operators' commands, on a real broker where they need one."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from covaria_broker import BrokerServer, free_port
from covaria_site import Site, wait_until

from covaria.bus.topology import PARKING

pytestmark = pytest.mark.broker


def submit(site: Site, name: str, *options: str, check: bool = True) -> tuple[int, str]:
    particles = site.root / f"{name}.star"
    if not particles.exists():  # another time of change would be another job
        site.message(name)
    done = site.command("submit", str(particles), "-o", str(site.root / name), *options, check=check)
    return done.returncode, done.stdout + done.stderr


def test_submit_twice_is_one_job(site: Site) -> None:
    first, second = submit(site, "a", "--only-mean")[1], submit(site, "a", "--only-mean")[1]
    assert first.split()[1] == second.split()[1]
    workers = [site.worker(), site.worker("reconstruction")]
    site.wait_done("reconstruction", "a")
    site.wait_empty()
    assert site.trail("ingest", "a").count("published") == 1
    code, text = submit(site, "a", "--only-mean", "--zdim", "2", check=False)
    assert code == 2
    assert "holds another job" in text
    overwritten = submit(site, "a", "--only-mean", "--zdim", "2", "--overwrite")[1]
    wait_until(lambda: site.delivery("reconstruction", "a").get("job_id", "") in overwritten, what="the later job")
    wait_until(lambda: site.trail("reconstruction", "a").count("published") == 2, what="the later reconstruction")
    site.wait_done("reconstruction", "a")
    assert site.trail("ingest", "a").count("published") == 1, "its options are the same"
    site.wait_empty()
    for worker in workers:
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_submit_refuses_early(site: Site) -> None:
    done = site.command("submit", str(site.root / "no.star"), "-o", str(site.root / "x"), check=False)
    assert done.returncode == 2
    assert "no.star" in done.stderr
    particles = str(site.message("p").work.request.ingest.particles)
    away = site.command(
        "submit", particles, "-o", str(site.root / "x"), check=False,
        COVARIA_BROKER_URL=f"amqp://guest:secret@127.0.0.1:{free_port()}/",
    )  # fmt: skip
    assert away.returncode == 75
    assert "secret" not in away.stdout + away.stderr


def test_submit_and_wait(site: Site) -> None:
    workers = [site.worker(), site.worker("reconstruction")]
    code, text = submit(site, "w", "--only-mean", "--wait")
    assert code == 0
    assert "reconstruction: succeeded" in text
    site.message("f", fail={"ingest": {"times": 9, "error": "InvalidInput"}})
    done = site.command("submit", str(site.root / "f.star"), "-o", str(site.root / "f"), "--wait", check=False)
    assert done.returncode == 1
    assert "cannot be right" in done.stderr
    for worker in workers:
        worker.signal(signal.SIGTERM)


def test_status_follows_and_logs(site: Site) -> None:
    worker = site.worker()
    site.submit(site.message(until="go"))
    wait_until(lambda: site.trail(), what="a running stage")
    follower = site.start("status", str(site.tree().out), "--follow")
    wait_until(lambda: "images" in follower.text(), what="progress on the terminal")
    site.touch("go")
    assert follower.wait() == 0
    seen = follower.text()
    assert "ingest          running" in seen
    assert "images" in seen
    assert "succeeded" in seen.splitlines()[-1]
    assert "done in" in site.command("logs", str(site.tree().out)).stdout
    listed = site.command("list", str(site.root), "--json").stdout
    assert json.loads(listed)["status"] == "succeeded"
    assert site.command("list", str(site.root), "--state", "failed").stdout == ""
    worker.signal(signal.SIGTERM)


def test_reconcile_sends_what_a_lost_queue_held(site: Site, broker_server: BrokerServer) -> None:
    for name in ("a", "b"):
        submit(site, name, "--only-mean")
    worker = site.worker("ingest", "--max-jobs", "1")
    worker.wait()
    for queue in (site.queue(), site.queue("reconstruction")):
        broker_server.ctl("purge_queue", "-p", site.vhost, queue)
    assert site.command("reconcile", str(site.root)).stdout.strip() == "0 jobs", "what changed just now is left alone"
    dry = site.command("reconcile", str(site.root), "--older-than", "0", "--dry-run").stdout
    assert dry.count("would send") == 2
    assert site.depths() == {}
    site.command("reconcile", str(site.root), "--older-than", "0")
    workers = [site.worker(), site.worker("reconstruction")]
    for name in ("a", "b"):
        site.wait_done("reconstruction", name)
    site.wait_empty()
    for name in ("a", "b"):
        assert site.trail("ingest", name).count("published") == 1
    assert site.command("reconcile", str(site.root), "--older-than", "0").stdout.strip() == "0 jobs"
    for each in workers:
        each.signal(signal.SIGTERM)


def test_exporter_tells_of_jobs_and_queues(site: Site) -> None:
    submit(site, "a", "--only-mean")
    submit(site, "b", "--only-mean", "--class", "live")
    text = site.command("exporter", "--once").stdout
    assert 'covaria_jobs{stage="ingest",state="queued"} 2.0' in text
    assert 'covaria_queue_messages_ready{class="live",pool="",stage="ingest"} 1.0' in text
    assert "covaria_parking_messages 0.0" in text
    assert "covaria_broker_connected 1.0" in text
    away = site.command("exporter", "--once", COVARIA_BROKER_URL=f"amqp://x:y@127.0.0.1:{free_port()}/").stdout
    assert "covaria_broker_connected 0.0" in away
    assert 'covaria_jobs{stage="ingest",state="queued"} 2.0' in away


def test_parking_commands(site: Site) -> None:
    bus = site.bus()
    from covaria.bus.model import Outgoing
    from covaria.bus.topology import JOBS

    bus.publish(Outgoing(JOBS, "ingest.bulk", b"nonsense", "poison/1"))
    bus.close()
    worker = site.worker("ingest", "--idle-exit", "0.5")
    assert worker.wait() == 0
    assert site.depths() == {PARKING: 1}
    assert "rejected" in site.command("parking", "list").stdout
    assert site.command("parking", "replay", "--all").stdout.startswith("kept poison/1")
    assert site.depths() == {PARKING: 1}
    assert "nonsense" in site.command("parking", "show", "--all").stdout
    assert site.command("parking", "drop", "poison/1").stdout == "dropped poison/1\n"
    assert site.depths() == {}


def test_broker_commands(site: Site, broker_server: BrokerServer, tmp_path: Path) -> None:
    assert "covaria.parking" in site.command("broker", "status").stdout
    bare = Site(broker_server, broker_server.new_vhost(), site.root)
    missing = bare.command("broker", "status", check=False)
    assert missing.returncode == 1
    assert "missing  covaria.ingest.live" in missing.stdout
    assert "13 queues" in bare.command("broker", "declare").stdout
    assert bare.command("broker", "status").returncode == 0
    site.command("broker", "definitions", "--vhost", "v", "-o", str(tmp_path / "d.json"))
    assert json.loads((tmp_path / "d.json").read_text())["vhosts"] == [{"name": "v"}]


def test_doctor(site: Site) -> None:
    found = site.command("doctor").stdout
    assert "FAIL" not in found
    assert "RabbitMQ 3." in found or "RabbitMQ 4." in found
    ill = site.command(
        "doctor", check=False, COVARIA_BROKER_URL=f"amqp://guest:secret@127.0.0.1:{free_port()}/",
        COVARIA_ROOTS="/nowhere/at/all", COVARIA_DEVICE="cuda",
    )  # fmt: skip
    assert ill.returncode == 1
    assert "secret" not in ill.stdout
    for what in ("FAIL  broker", "FAIL  root /nowhere/at/all"):
        assert what in ill.stdout


def test_worker_refuses_to_start_without_roots(site: Site) -> None:
    done = site.command("worker", "ingest", check=False, COVARIA_ROOTS="")
    assert done.returncode == 2
    assert "COVARIA_ROOTS is empty" in done.stderr


def test_bad_setting_is_named(site: Site) -> None:
    done = site.command("worker", "ingest", check=False, COVARIA_POLL_INTERVAL_S="-1")
    assert done.returncode == 2
    assert "COVARIA_POLL_INTERVAL_S" in done.stderr


def test_secrets_from_files(site: Site, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "covaria_broker_url").write_text(site.url.replace("guest:guest", "guest:wrong"))
    (secrets / "covaria_broker_password").write_text("guest\n")
    found = site.command("broker", "status", COVARIA_BROKER_URL="", COVARIA_SECRETS_DIR=str(secrets))
    assert "guest:***@" in found.stdout
