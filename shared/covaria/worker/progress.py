"""A running stage's progress, as metrics and as a small file that `covaria status` reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from covaria.job.books import Books
from covaria.job.lease import LeaseLost
from covaria.tree import record
from covaria.tree.book import write_book
from covaria.worker.clock import Clock
from covaria.worker.metrics import Metrics
from covaria.worker.patience import Background

log = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0


class ProgressBook:
    """Takes the reports of one attempt. What is written goes beside: a disk that hangs holds up nothing."""

    def __init__(self, books: Books, stage: str, metrics: Metrics, clock: Clock) -> None:
        self._books, self._stage, self._metrics, self._clock = books, stage, metrics, clock
        self._writing = Background()
        self._step = ""
        self._began = self._written = 0.0
        self._done = 0

    def take(self, report: Mapping[str, Any]) -> None:
        """One report {step, done, total, unit, gpu_bytes}."""
        now = self._clock.monotonic()
        step, done, total = str(report["step"]), int(report["done"]), max(int(report["total"]), 1)
        if step != self._step:
            self._step, self._began, self._done = step, now, 0
        seconds = now - self._began
        rate = done / seconds if seconds > 0.1 else 0.0
        self._measure(step, done, total, str(report["unit"]), rate, seconds)
        self._metrics.gpu_memory_used.labels(gpu="0").set(int(report["gpu_bytes"]))
        self._done = max(done, self._done)
        if now - self._written >= WRITE_EVERY_S or (done >= total and now - self._written >= WRITE_EVERY_S / 4):
            self._written = now
            self._write(step, done, total, str(report["unit"]), rate)

    def _measure(self, step: str, done: int, total: int, unit: str, rate: float, seconds: float) -> None:
        metrics, stage = self._metrics, self._stage
        metrics.job_progress.labels(stage=stage).set(min(done / total, 1.0))
        metrics.job_last_progress.labels(stage=stage).set_to_current_time()
        if unit == "images":
            metrics.images_processed.labels(stage=stage).inc(max(done - self._done, 0))
            metrics.images_per_second.labels(stage=stage).set(rate)
        if done >= total:
            metrics.stage_step_duration.labels(stage=stage, step=step).observe(seconds)
            self._step = ""

    def _write(self, step: str, done: int, total: int, unit: str, rate: float) -> None:
        left = (total - done) / rate if rate > 0 else None
        page = {
            "step": step,
            "done": done,
            "total": total,
            "unit": unit,
            "per_second": round(rate, 2),
            "seconds_left": None if left is None else round(left, 1),
            "at": record.now(),
        }
        self._writing.start(lambda: self._put(page))

    def close(self) -> None:
        """What is being written may still end, in a moment."""
        self._writing.join(1.0)

    def _put(self, page: Mapping[str, Any]) -> None:
        try:
            write_book(self._books.tree, self._books.progress(self._stage), page)
        except (OSError, LeaseLost) as error:  # nothing depends on it: a full disk must not end the stage
            log.warning("progress is not written: %s", error)
