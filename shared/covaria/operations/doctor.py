"""`covaria doctor`: looks at all that a service needs, and says what is wrong and what to do."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Literal

import covaria
from covaria.bus.model import BusError
from covaria.bus.rabbit import RabbitBus
from covaria.bus.topology import PARKING, build_topology
from covaria.errors import CovariaError
from covaria.request.stages import STAGES
from covaria.running.devices import GPU_NODES, available_memory_bytes
from covaria.settings import Settings

FREE_WARNING = 0.1
"""Part of a filesystem that should be free."""
PACKAGES = ("pika", "pydantic", "prometheus-client", "numpy", "torch")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    mark: Literal["ok", "WARN", "FAIL"]
    what: str
    found: str
    hint: str = ""


NO_SERVICES = Finding(
    "ok", "services", "no services here: neither COVARIA_BROKER_URL nor COVARIA_ROOTS is set; `covaria run` needs none"
)


def examine(settings: Settings) -> list[Finding]:
    """Every finding, in the order in which to read them. Where no service is configured, none is missed."""
    services = [*_broker(settings), *_roots(settings)] if _serves(settings) else [NO_SERVICES]
    return [*_versions(), *services, _device(settings), _stages()]


def _serves(settings: Settings) -> bool:
    """Whether anybody said where the broker or the roots are."""
    return any(name == "roots" or name.startswith("broker_") for name in settings.model_fields_set)


def _versions() -> Iterator[Finding]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    yield Finding(
        "ok", "versions", f"covaria {covaria.__version__}, python {platform.python_version()}, {', '.join(found)}"
    )
    memory = available_memory_bytes() / 1e9
    yield Finding("ok" if memory > 1 else "WARN", "memory", f"{memory:.1f} GB free")


def _broker(settings: Settings) -> Iterator[Finding]:
    where = str(settings.redacted()["broker_url"])
    try:
        bus = RabbitBus(settings)
        bus.open()
    except CovariaError as error:
        yield Finding(
            "FAIL", "broker", error.message, f"COVARIA_BROKER_URL is {where}; is RabbitMQ up and the user right?"
        )
        return
    release = bus.server_version
    yield Finding("ok", "broker", f"RabbitMQ {release} at {where}")
    if release and tuple(int(part) for part in release.split(".")[:2] if part.isdigit()) < (3, 10):
        yield Finding("FAIL", "broker version", release, "quorum queues need RabbitMQ 3.10 or later for time limits")
    try:
        bus.check(build_topology(settings.retry_delays_s, settings.event_listeners, settings.pools))
        yield Finding("ok", "topology", "every exchange and queue is there")
        parked = bus.depth(PARKING)
        hint = "covaria parking list" if parked else ""
        yield Finding("WARN" if parked else "ok", "parking", f"{parked} messages", hint)
    except BusError as error:
        yield Finding("FAIL", "topology", error.message, error.hint or "covaria broker declare")
    finally:
        bus.close()


def _roots(settings: Settings) -> Iterator[Finding]:
    if not settings.roots:
        yield Finding("FAIL", "roots", "COVARIA_ROOTS is empty", "set it to the folders that hold data and results")
    for root in settings.roots:
        yield _root(root)


def _root(root: Path) -> Finding:
    if not root.is_dir():
        return Finding("FAIL", f"root {root}", "is not a folder", "is the shared filesystem mounted here?")
    if not os.access(root, os.R_OK | os.X_OK):
        return Finding("FAIL", f"root {root}", "cannot be read", f"we run as user {os.getuid()}, group {os.getgid()}")
    problem = _hard_links(root)
    usage = shutil.disk_usage(root)
    free = f"{usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f}"
    if problem:
        return Finding("WARN", f"root {root}", f"{free}; {problem}", "output folders must lie where links can be made")
    low = usage.free < FREE_WARNING * usage.total
    return Finding("WARN" if low else "ok", f"root {root}", free, "less than 10 % is free" if low else "")


def _hard_links(root: Path) -> str:
    """Leases need link(); "" when it works here."""
    first, second = (root / f".covaria-doctor-{secrets.token_hex(6)}" for _ in range(2))
    try:
        first.touch()
        second.hardlink_to(first)
    except OSError as error:
        return f"no lease can be made: {error.strerror}"
    finally:
        for path in (first, second):
            path.unlink(missing_ok=True)
    return ""


def _device(settings: Settings) -> Finding:
    seen = [str(node) for node in GPU_NODES if node.exists()]
    if settings.device.startswith("cuda") and not seen:
        hint = "no /dev/nvidiactl: is the GPU given to this container?"
        return Finding("FAIL", "device", f"COVARIA_DEVICE={settings.device}, but no NVIDIA device is seen", hint)
    return Finding("ok", "device", f"{settings.device}; NVIDIA driver {'seen' if seen else 'not seen'}")


def _stages() -> Finding:
    installed = {entry.name for entry in entry_points(group="covaria.stages")}
    missing = [stage for stage in STAGES if stage not in installed]
    if missing:
        return Finding("FAIL", "stages", f"not installed: {', '.join(missing)}", "pip install covaria[all]")
    return Finding("ok", "stages", ", ".join(STAGES))
