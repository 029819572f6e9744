"""A node whose device does not compute harms no job: it takes none, says so, and goes on when the device is back."""

from __future__ import annotations

import sys

import pytest
from covaria_memory_site import MemorySite, Play

from covaria.messages.ticket import Ticket
from covaria.running.devices import NoDevice
from covaria.running.trial import complaint
from covaria.worker import device_watch
from covaria.worker.device_watch import AGAIN_AFTER_S, DeviceWatch, try_device
from covaria.worker.failures import Breakdown, Retry, classify, verdict_on


def quarantined(service) -> float | None:  # type: ignore[no-untyped-def]
    return service.metrics.registry.get_sample_value("covaria_quarantined", {"stage": service.stage})


def test_a_device_that_is_not_there_is_another_hosts_business() -> None:
    breakdown = Breakdown.of(NoDevice("device 'cuda' asked for, torch sees 0 CUDA devices"))
    assert classify(breakdown) == "device"
    assert isinstance(verdict_on("device", Ticket(), 3), Retry)


def test_no_job_is_taken_until_the_device_computes(memory_site: MemorySite) -> None:
    answers = ["no CUDA GPUs are available"] * 2 + [""]
    asked: list[float] = []
    service = memory_site.service("reconstruction", max_jobs=1, idle_exit_s=10 * AGAIN_AFTER_S)

    def trial(device: str) -> str:
        asked.append(service.clock.monotonic())
        return answers[len(asked) - 1]

    seen: list[list[str]] = []
    service.handler.device = DeviceWatch("cuda", service.clock, trial)
    tick = service.link.tick
    service.link.tick = lambda seconds=0.0: (seen.append(service.health.ready()), tick(seconds))[1]  # type: ignore[method-assign]
    memory_site.submit(memory_site.message(route=("reconstruction",)))
    service.serve()
    assert memory_site.state("reconstruction") == "succeeded"
    assert memory_site.delivery("reconstruction")["attempt"] == 1, "the job was not touched before"
    assert asked[1] - asked[0] >= AGAIN_AFTER_S and asked[2] - asked[1] >= AGAIN_AFTER_S
    assert any("device" in problem and "no CUDA GPUs" in problem for problems in seen for problem in problems)
    assert quarantined(service) == 0


def test_a_stages_device_error_makes_the_device_be_tried(memory_site: MemorySite) -> None:
    memory_site.plays["reconstruction"] = Play(
        fails=Breakdown(("AcceleratorError",), "CUDA error: unspecified launch failure")
    )
    service = memory_site.service("reconstruction", max_jobs=1)
    asked: list[str] = []
    service.handler.device = DeviceWatch("cuda:0", service.clock, lambda device: asked.append(device) or "it hangs")  # type: ignore[func-returns-value]
    service.handler.device._due = float("inf")  # tried before, and well
    memory_site.submit(memory_site.message(route=("reconstruction",)))
    service.serve()
    assert not asked
    service.max_jobs = None
    service.serve()
    assert asked[0] == "cuda:0" and quarantined(service) == 1
    assert memory_site.outcomes() == {"retried": 1}, "the copy waits for a worker that computes"


def test_stages_without_a_device_are_not_tried(memory_site: MemorySite) -> None:
    watch = DeviceWatch("", trial=lambda device: pytest.fail("asked"))
    watch.doubt()
    watch.look()
    assert not watch.problem


def test_the_trial_is_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint("cpu") == ""
    assert try_device("cpu") == ""
    assert "unknown device 'cuda:x'" in try_device("cuda:x")
    monkeypatch.setattr(device_watch, "TRIAL_S", 0.01)
    assert "did not end" in try_device("cpu")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(device_watch, "TRIAL_S", 60.0)
    assert try_device("cpu") == "no word"
