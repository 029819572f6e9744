"""What only real processes on a real broker show: signals, deaths, outages, races. Outcomes: test_outcomes.py."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from covaria_broker import BrokerServer
from covaria_site import Site, WorkerProcess, wait_until

from covaria.bus.topology import EVENTS, PARKING

pytestmark = pytest.mark.broker


def drain(*workers: WorkerProcess) -> None:
    """SIGTERM; every worker ends with 0."""
    for worker in workers:
        worker.signal(signal.SIGTERM)
    for worker in workers:
        assert worker.wait() == 0, worker.text()


def port_of(worker: WorkerProcess) -> int:
    found = wait_until(lambda: re.search(r"http port (\d+)", worker.text()), what="the worker's port")
    return int(found.group(1))


def http(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_whole_route_with_health_metrics_and_events(site: Site) -> None:
    """One job through four stages; a listener hears of it; probes and counters say what happened."""
    listener = site.bus()
    channel = listener._channel
    assert channel is not None
    heard = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(heard, EVENTS, "#")
    stages = ("ingest", "reconstruction", "density", "analysis")
    workers = {stage: site.worker(stage) for stage in stages}
    port = port_of(workers["ingest"])
    wait_until(lambda: http(port, "/readyz")[0] == 200, what="readiness")
    assert http(port, "/livez") == (200, "ok\n")
    assert http(port, "/takenz")[0] == 503, "no message has been taken"
    site.submit(site.message(route=stages, job_class="live", step_s=0.05))
    site.wait_done("analysis")
    site.wait_empty()
    assert http(port, "/takenz")[0] == 200
    metrics = http(port, "/metrics")[1]
    assert 'covaria_jobs_finished_total{class="live",outcome="succeeded",stage="ingest"} 1.0' in metrics
    assert 'covaria_messages_published_total{result="confirmed"}' in metrics
    assert 'covaria_images_processed_total{stage="ingest"} 2.0' in metrics
    assert "covaria_broker_connected 1.0" in metrics
    assert "job-job" not in metrics
    assert str(site.root) not in metrics
    events = []
    while (delivery := listener.get(heard)) is not None:
        kind = json.loads(delivery.body)["type"]
        if not kind.startswith("covaria.job."):
            events.append(kind)
        listener.ack(delivery)
    assert events == [f"covaria.{stage}.{state}.v1" for stage in stages for state in ("started", "succeeded")]
    job = json.loads(site.tree().job_json.read_text())
    assert job["status"] == "succeeded"
    drain(*workers.values())
    listener.close()


def test_parent_stays_small_and_without_torch(site: Site) -> None:
    worker = site.worker("reconstruction")
    site.submit(site.message(route=("reconstruction",), until="go"))
    wait_until(lambda: site.trail("reconstruction"), what="a running stage")
    maps = Path(f"/proc/{worker.process.pid}/maps").read_text()
    for name in ("torch", "scipy", "numba", "matplotlib"):
        assert f"/{name}/" not in maps, f"the parent has loaded {name}"
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) / 1024  # type: ignore[union-attr]
    assert resident < 80, f"{resident:.0f} MB"
    site.touch("go")
    site.wait_done("reconstruction")
    drain(worker)


def test_segfault_of_a_stage_is_retried(site: Site) -> None:
    worker = site.worker()
    site.submit(site.message(fail={"ingest": {"times": 1, "error": "segfault"}}))
    site.wait_done()
    site.wait_empty()
    assert site.delivery()["attempt"] == 2
    assert "attempt failed (killed)" in worker.text()
    assert site.trail().count("published") == 1
    assert site.trail().count("step0 1000000000") == 1, "finished steps are kept between attempts"
    drain(worker)


def test_parked_job_is_replayed(site: Site) -> None:
    worker = site.worker()
    site.submit(site.message(fail={"ingest": {"times": 1, "error": "InvalidInput"}}))
    wait_until(lambda: site.depths() == {PARKING: 1}, what="parking")
    listed = site.command("parking", "list").stdout
    assert "invalid_input" in listed
    assert "particles.star, row 3" in listed
    shown = site.command("parking", "show", "job-job").stdout
    assert '"specversion":"1.0"' in shown
    assert site.command("parking", "replay", check=False).returncode == 2, "nothing was named"
    assert "sent job-job/ingest/1/0" in site.command("parking", "replay", "job-job").stdout
    site.wait_done()
    site.wait_empty()
    drain(worker)


def test_two_workers_race_one_job(site: Site) -> None:
    """The same message twice, two workers: one does the work, the other looks again later and finds it done."""
    message = site.message(route=("ingest", "reconstruction"), ingest={"until": "go"})
    site.submit(message)
    site.submit(message)
    workers = [site.worker(), site.worker()]
    following = site.worker("reconstruction")
    later = "works on this job; looking again later"
    wait_until(lambda: any(later in worker.text() for worker in workers), what="the slower one")
    site.touch("go")
    site.wait_done("reconstruction")
    site.wait_empty()
    assert site.trail("ingest").count("published") == 1
    assert site.trail("reconstruction").count("published") == 1
    assert sum(line.startswith("step0") for line in site.trail()) == 1
    drain(*workers, following)


def test_broker_stopped_and_started_mid_job(site: Site, broker_server: BrokerServer) -> None:
    """The stage goes on without a broker; the copy that comes again finds it done."""
    worker = site.worker()
    following = site.worker("reconstruction")
    port = port_of(worker)
    site.submit(site.message(route=("ingest", "reconstruction"), ingest={"until": "go"}))
    wait_until(lambda: site.trail(), what="a running stage")
    broker_server.stop_app()
    try:
        wait_until(lambda: http(port, "/readyz")[0] == 503, what="not ready")
        assert http(port, "/livez")[0] == 200, "an outage of the broker must not kill a job"
        site.touch("go")
        wait_until(lambda: site.trail()[-1] == "published", what="the stage to end without a broker")
    finally:
        broker_server.start_app()
    site.wait_done("reconstruction")
    site.wait_empty()
    for stage in ("ingest", "reconstruction"):
        assert site.trail(stage).count("published") == 1
    lost = re.search(r'covaria_deliveries_lost_total\{stage="ingest"\} (\d+)', http(port, "/metrics")[1])
    assert lost is not None
    assert int(lost.group(1)) >= 1
    drain(worker, following)


def test_sigterm_mid_job_resumes_elsewhere_without_redoing_steps(site: Site) -> None:
    site.submit(site.message(steps=4, until="go", until_step=2))
    first = site.worker()
    wait_until(lambda: len(site.trail()) >= 2, what="two steps")
    drain(first)
    wait_until(lambda: site.depths() == {site.queue(): 1}, what="the message back in its queue")
    assert site.state() == "queued"
    site.touch("go")
    second = site.worker()
    site.wait_done()
    steps = [line.split()[0] for line in site.trail() if line.startswith("step")]
    assert sorted(steps) == ["step0", "step1", "step2", "step3"], "a finished step was done again"
    assert site.delivery()["attempt"] == 1
    assert "taking over" not in second.text(), "the lease was freed, nobody had to wait for its death"
    drain(second)


def test_live_before_bulk_on_every_worker(site: Site) -> None:
    """Two workers are busy with bulk: one live message takes the place of one of them; all resume and finish."""
    site.extra["COVARIA_PREEMPT_AFTER_S"] = "0.2"
    for name in ("first", "second"):
        site.submit(site.message(name, steps=4, until="go", until_step=2))
    workers = [site.worker(), site.worker()]
    wait_until(lambda: all(len(site.trail(name=name)) >= 2 for name in ("first", "second")), what="two steps each")
    site.submit(site.message("urgent", job_class="live"))
    site.wait_done(name="urgent")
    assert sum(worker.text().count("stopping the stage: preempt") for worker in workers) == 1
    site.touch("go")
    for name in ("first", "second"):
        site.wait_done(name=name)
        steps = [line.split()[0] for line in site.trail(name=name)]
        assert steps == ["step0", "step1", "step2", "step3", "published"], "a finished step was done again"
        assert site.delivery(name=name)["attempt"] == 1
    site.wait_empty()
    job = [json.loads(site.tree(name).job_json.read_text())["stages"]["ingest"] for name in ("first", "second")]
    assert sum(stage["preemptions"] for stage in job) == 1
    drain(*workers)


def test_a_pools_worker_takes_what_names_it(site: Site) -> None:
    """Declared, submitted and taken as an operator would; a pool of another stage, or of none, is refused at once."""
    site.extra["COVARIA_POOLS"] = "ingest.fast,reconstruction.h100"
    site.command("broker", "declare")
    particles, out = site.message().work.request.ingest.particles, site.tree().out
    asked = ("submit", str(particles), "-o", str(out), "--only-mean", "--no-downsample", "--pool")
    refused = site.command(*asked, "slow", check=False)
    assert refused.returncode == 2
    assert "no pool is called 'slow'" in refused.stderr
    common = site.worker()
    wait_until(lambda: "connected" in common.text(), what="the common worker")
    site.command(*asked, "fast")
    waits = site.bus()
    wait_until(lambda: waits.depth("covaria.ingest.bulk.fast") == 1, what="the message")
    waits.close()
    stranger = site.worker("ingest", COVARIA_POOL="h100")
    assert stranger.wait() == 2
    assert "ingest has no pool 'h100'" in stranger.text()
    fast = site.worker("ingest", COVARIA_POOL="fast")
    site.wait_done()
    assert "started, out" in fast.text()
    assert "started, out" not in common.text()
    wait_until(lambda: site.depths() == {site.queue("reconstruction"): 1}, what="the next stage's common queue")
    drain(common, fast)


def test_killed_worker_is_taken_over(site: Site) -> None:
    site.submit(site.message(steps=3, until="go", until_step=1))
    first = site.worker()
    wait_until(lambda: site.trail(), what="one step")
    first.kill()
    site.touch("go")
    second = site.worker()
    site.wait_done()
    site.wait_empty()
    assert "taking over the lease" in second.text()
    assert sum(line.startswith("step0") for line in site.trail()) == 1
    assert site.trail().count("published") == 1
    drain(second)


def test_stage_that_outlives_its_parent_for_a_moment_keeps_its_log(site: Site) -> None:
    """No step is left at which it could be stopped: it publishes, once, and says so; the copy finds it done."""
    site.submit(site.message(steps=1, linger_s=1.0))
    first = site.worker()
    wait_until(lambda: site.trail(), what="the last step")
    first.kill()
    site.wait_done()
    second = site.worker()
    site.wait_empty()
    log = site.tree().stage_log("ingest").read_text()
    assert (log.count("about to publish"), log.count(" done in ")) == (1, 1), log
    assert site.trail().count("published") == 1
    assert "the stage's process is" not in second.text()
    drain(second)


def test_cancel_while_running(site: Site) -> None:
    worker = site.worker()
    site.submit(site.message(route=("ingest", "reconstruction"), until="never"))
    wait_until(lambda: site.trail(), what="a running stage")
    site.command("cancel", str(site.tree().out))
    wait_until(lambda: site.state() == "cancelled", what="cancelled")
    site.wait_empty()
    assert not site.tree().downsampled.exists()
    assert site.command("status", str(site.tree().out)).stdout.splitlines()[0].count("cancelled") == 1
    drain(worker)


def test_cancel_before_it_runs_and_retry_after(site: Site) -> None:
    particles = site.message().work.request.ingest.particles
    out = site.root / "job"
    site.command("submit", str(particles), "-o", str(out), "--only-mean", "--no-downsample")
    assert "queued" in site.command("status", str(out)).stdout
    site.command("cancel", str(out))
    worker = site.worker()
    following = site.worker("reconstruction")
    wait_until(lambda: site.state() == "cancelled", what="cancelled")
    site.wait_empty()
    assert site.trail() == []
    assert "sent again from ingest" in site.command("retry", str(out)).stdout
    site.wait_done("reconstruction")
    site.wait_empty()
    assert "nothing to do" in site.command("retry", str(out)).stdout
    drain(worker, following)
