"""Which device and how much memory a run may use. torch is imported only where a GPU may be there."""

from __future__ import annotations

import os
import re
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import node, python_version
from typing import Any

from covaria import __version__
from covaria.errors import InvalidInput

MEMORY_SHARE = 0.6
"""Of what is available, where no budget is given."""
IMAGE = "COVARIA_IMAGE"
"""Which container image this is, with its digest, where whoever starts it says so."""
GPU_NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


class NoDevice(InvalidInput):
    """The device that was asked for is not there: on another machine it may be."""


def resolve_device(asked: str) -> str:
    """ "auto", "cpu", "cuda" or "cuda:n" -> a device that is there. Raises InvalidInput."""
    if asked == "cpu":
        return "cpu"
    if asked == "auto":
        return "cuda" if any(path.exists() for path in GPU_NODES) and _cuda_devices() else "cpu"
    match = re.fullmatch(r"cuda(?::(\d+))?", asked)
    if not match:
        raise InvalidInput(f"unknown device {asked!r}", hint="give auto, cpu, cuda or cuda:n")
    found = _cuda_devices()
    if int(match.group(1) or 0) >= found:
        raise NoDevice(
            f"device {asked!r} asked for, torch sees {found} CUDA devices",
            hint="give --device auto, or a number it sees",
        )
    return asked


def resolve_devices(device: str, gpus: str | None) -> tuple[str, ...]:
    """The devices of a stage that several processes share: as many GPUs as asked for ("all" or a number), else one.

    Raises InvalidInput.
    """
    if gpus is None:
        return (resolve_device(device),)
    if device not in ("auto", "cuda"):
        raise InvalidInput(f"--gpus {gpus} and --device {device}", hint="give one of them")
    found = _cuda_devices()
    if not re.fullmatch(r"all|[1-9]\d{0,3}", gpus):
        raise InvalidInput(f"--gpus {gpus!r}", hint="give a number of GPUs, or all")
    count = found if gpus == "all" else int(gpus)
    if count > found or not found:
        raise InvalidInput(
            f"--gpus {gpus}: {gpus} GPUs asked for, torch sees {found}",
            hint="give fewer, or --device cpu" if found else "give --device cpu; `covaria doctor` says what torch sees",
        )
    return tuple(f"cuda:{number}" for number in range(count))


def available_memory_bytes() -> int:
    """What this process may still take: the machine's free memory, or what is left beneath a container's limit."""
    available = _meminfo("MemAvailable")
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        limit, used = _number(Path(limit_file)), _number(Path(used_file))
        if limit is not None and used is not None:
            available = min(available, max(limit - used, 0))
    return available


def default_memory_bytes() -> int:
    """The budget where none is given."""
    return int(MEMORY_SHARE * available_memory_bytes())


def reset_peak_memory() -> None:
    """Begin a new peak-memory measurement (Linux; elsewhere the peak of the process so far stays)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_bytes() -> int:
    """The largest resident memory since `reset_peak_memory`."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def environment(device: str) -> dict[str, Any]:
    """covaria, python, torch, device names, hostname and the container's image, as job.json keeps them."""
    names = []
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None:
        names = [torch.cuda.get_device_name(device)]
    try:
        torch_version: str | None = version("torch")
    except PackageNotFoundError:
        torch_version = None
    image = os.environ.get(IMAGE, "")
    return {
        **({"image": image} if image else {}),
        "covaria": __version__,
        "python": python_version(),
        "torch": torch_version,
        "devices": names,
        "hostname": node(),
    }


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuda_devices() -> int:
    try:
        import torch
    except ModuleNotFoundError:
        return 0
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/meminfo has no {name}")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
