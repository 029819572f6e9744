"""A job's events become commands for ISPyB, as the EM services' connector takes them: status, and the result's maps.

The job must have been sent with the id of its AutoProcProgram (`program_id` or `autoproc_program_id` in its metadata).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from covaria.adapters.listening import Later
from covaria.adapters.recipes import HEADER, wrap
from covaria.bus.model import Bus, BusError, Outgoing
from covaria.messages.job_event import JobEvent
from covaria.settings import Settings

NAME = "ispyb"
PROGRAM = ("program_id", "autoproc_program_id")
MOST_LETTERS = 80
"""Of AutoProcProgram.processingMessage."""
GROUP = "ispyb_covaria_group_id"
MEAN = "output/volumes/mean_filt.mrc"
ENDINGS = {"finished": "success", "failed": "failure", "cancelled": "failure"}

Command = dict[str, Any]


class Ispyb:
    """Sends commands on the facility's broker."""

    def __init__(self, settings: Settings, bus: Bus) -> None:
        self.queue, self.bus = settings.ispyb_queue, bus

    def deliver(self, key: str, document: dict[str, Any]) -> None:
        """Send what an event means for ISPyB, if anything. Raises Later."""
        if not key.startswith("job."):
            return
        event = JobEvent.model_validate(document["data"])
        program, commands = program_of(event), list(commands_of(event))
        if not program or not commands:
            return
        payload = {"ispyb_command": "multipart_message", "ispyb_command_list": commands}
        body = wrap(
            self.queue, {"program_id": program, "dcid": event.origin.metadata.get("dcid")}, payload, event.job_id
        )
        identifier = f"{event.job_id}/ispyb/{event.state}"
        try:
            if not self.bus.is_open:
                self.bus.open()
            self.bus.publish(Outgoing("", self.queue, body, identifier, {HEADER: "True"}))
        except BusError as error:
            self.bus.close()
            raise Later(error.message) from error


def program_of(event: JobEvent) -> str:
    """The AutoProcProgram that the job was sent for; "" where none is named."""
    return next((event.origin.metadata[name] for name in PROGRAM if event.origin.metadata.get(name)), "")


def commands_of(event: JobEvent) -> Iterator[Command]:
    """Commands in the order in which they are carried out; the status last, so that it speaks for all of them."""
    if event.state == "finished":
        yield from _maps(event)
    status: Command = {"ispyb_command": "update_processing_status", "status_message": _said(event)}
    if event.state in ENDINGS:
        status["status"] = ENDINGS[event.state]
    yield status


def _maps(event: JobEvent) -> Iterator[Command]:
    """The mean map and the states, as classes of one 3D group."""
    found, paths = event.findings, {result.path for result in event.results}
    if found is None or MEAN not in paths:
        return
    used = found.used or found.particles or 0
    rows = [(MEAN, used, 1.0, found.resolution_angstrom)]
    by_name = {PurePosixPath(path).stem: path for path in sorted(paths) if path.endswith(".mrc")}
    rows += [
        (by_name[state.name], state.particles, state.share, state.resolution_angstrom)
        for state in found.states
        if state.name in by_name
    ]
    group: Command = {
        "ispyb_command": "insert_particle_classification_group",
        "type": "3D",
        "batch_number": 1,
        "number_of_particles_per_batch": used,
        "number_of_classes_per_batch": len(rows),
        "store_result": GROUP,
    }
    if "picker_id" in event.origin.metadata:
        group["particle_picker_id"] = event.origin.metadata["picker_id"]
    yield group
    for number, (path, particles, share, resolution) in enumerate(rows, 1):
        yield {
            "ispyb_command": "insert_particle_classification",
            "particle_classification_group_id": f"${GROUP}",
            "class_number": number,
            "class_image_full_path": f"{event.out}/{path}",
            "particles_per_class": particles,
            "class_distribution": round(share, 4),
            "estimated_resolution": resolution,
            "selected": 1,
        }


def _said(event: JobEvent) -> str:
    text = event.headline or event.message or event.reason or event.state
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 3] + "..."
