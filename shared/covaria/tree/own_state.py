"""What Covaria keeps for itself in an output directory."""

from __future__ import annotations

from covaria.tree.entry import Entry, Numbered, OfStage, Part

STATE = ".covaria"


class OwnState(Part):
    """OUT/.covaria: what was asked for, what has finished, who may write."""

    request = Entry(".covaria/request.json", "", "", "what was asked for")
    documents = Entry(".covaria/documents.json", "", "", "sums of what is made from the books")
    particles = Entry(".covaria/particles.npz", "ingest", "", "the particles as the later stages read them")
    stage_state = OfStage(".covaria/stages/{stage}/state.json", "", "", "what is known of the stage")
    stage_log = OfStage(".covaria/stages/{stage}/log", "", "", "its lines of run.log")
    stage_findings = OfStage(
        ".covaria/stages/{stage}/findings.json", "", "", "what the stage found: its part of `findings`"
    )
    stage_notes = OfStage(".covaria/stages/{stage}/notes.json", "", "", "what a user should know of it: {notes: [...]}")
    micrographs = Entry(".covaria/stages/ingest/micrographs.json", "", "", "the micrographs' names, by their numbers")
    places = Entry(".covaria/stages/reconstruction/places.json", "", "", "how good each grid square, hole, .. is")
    foreseen = Entry(".covaria/stages/reconstruction/foreseen.json", "", "", "what more images would show")
    cancel = Entry(".covaria/cancel", "", "", "its presence cancels the job")
    submission = Entry(".covaria/submission.json", "", "", "services: the job as it was submitted")
    priority = Entry(".covaria/priority.json", "", "", "services: in which class the later stages wait")
    superseded = Entry(".covaria/superseded.json", "", "", "services: the jobs that this one replaced")
    delivery = OfStage(".covaria/stages/{stage}/delivery.json", "", "", "services: what became of the message")
    stage_progress = OfStage(".covaria/stages/{stage}/progress.json", "", "", "services: how far the stage is")
    handover = OfStage(".covaria/stages/{stage}/handover.json", "", "", "services: the next message is safe")
    request_copy = Entry(".covaria/request.json.copy", "", "", "its copy, read where it is damaged")
    stage_state_copy = OfStage(".covaria/stages/{stage}/state.json.copy", "", "", "the same of state.json")
    submission_copy = Entry(".covaria/submission.json.copy", "", "", "the same of submission.json")
    growth_rows = Entry(
        ".covaria/growth/rows.npz", "ingest", "", "`--growing`: which image each row is, and which were read when"
    )
    growth_memory = Entry(
        ".covaria/growth/memory.npz",
        "reconstruction",
        "",
        "`--growing`: what the next version goes on from",
    )
    version = Numbered(".covaria/versions/{}/version.json", "", "", "what a version of a growing set found")
    refused = Entry(".covaria/versions/refused.json", "", "", "the last update that was refused, and why")
    wanted = Entry(".covaria/versions/wanted.json", "", "", "services: the newest update that was asked for")
    promotion = Entry(".covaria/promotion.json", "", "", "a finished update that is being put in place")
    cleaned = Entry(".covaria/cleaned.json", "", "", "what `covaria clean` has removed, when and why")
    lease = Numbered(".covaria/lease.{}", "", "", "who may write here")
