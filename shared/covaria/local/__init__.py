"""Stages on this machine, in this process: the run context, its checkpoints, and the loop over stages."""

from covaria.local.checkpoints import NpzCheckpoints
from covaria.local.context import LocalContext, Stopper
from covaria.local.devices import available_memory_bytes, resolve_device
from covaria.local.fingerprint import job_identity, stage_fingerprint
from covaria.local.run import is_done, run_stage, run_stages

__all__ = [
    "LocalContext",
    "NpzCheckpoints",
    "Stopper",
    "available_memory_bytes",
    "is_done",
    "job_identity",
    "resolve_device",
    "run_stage",
    "run_stages",
    "stage_fingerprint",
]
