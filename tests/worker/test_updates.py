"""Updates of a growing set as jobs: one under way, the newest of those that wait, OUT whole until the next is."""

from __future__ import annotations

from pathlib import Path

import pytest
from covaria_memory_site import MemorySite, Play

from covaria.errors import InvalidInput
from covaria.findings import Findings, Growth
from covaria.job.lease import latest, take
from covaria.messages.envelope import Message, new_message
from covaria.messages.ticket import Ticket
from covaria.messages.work import Work
from covaria.operations.updates import grows_into, next_request, update_message
from covaria.request.model import IngestOptions, Request
from covaria.request.origin import Origin
from covaria.tree import Tree, record
from covaria.tree.versions import next_of
from covaria.worker.dispatch import Dispatch
from covaria.worker.failures import Breakdown

WHOLE = ("ingest", "reconstruction")


@pytest.fixture
def site(memory_site: MemorySite) -> MemorySite:
    """With a finished first version."""
    plain = memory_site.message().work.request
    ingest = plain.ingest.model_copy(update={"growing": True})
    asked = plain.model_copy(update={"ingest": ingest, "density": plain.density.model_copy(update={"enabled": False})})
    publishes(memory_site, memory_site.tree(), 1)
    work = Work(request=asked, route=WHOLE, origin=Origin(visit="cm1-2"))
    memory_site.submit(new_message("job-job", work))
    memory_site.work(*WHOLE)
    return memory_site


def publishes(site: MemorySite, tree: Tree, version: int) -> None:
    """The reconstruction leaves what tells the versions apart."""

    def on_turn() -> None:
        tree.params.parent.mkdir(exist_ok=True, parents=True)
        tree.params.write_text(f"version {version}")
        tree.growth_memory.parent.mkdir(exist_ok=True)
        tree.growth_memory.write_text(f"{version}")
        growth = Growth(version=version, refreshed=False)
        record.write_findings(tree, "reconstruction", Findings(used=version, tested=4, growth=growth))

    site.plays["reconstruction"].on_turn = on_turn


def update(site: MemorySite, text: str) -> Message:
    """The message for another version of the file."""
    particles = site.root / "job.star"
    particles.write_text(text)
    message = update_message(next_request(site.tree(), particles))
    work = message.work.model_copy(update={"route": WHOLE})
    return new_message(message.job_id, work)


def at(site: MemorySite, message: Message, second: int) -> None:
    ticket = Ticket(first_queued=f"2026-11-27T12:00:{second:02d}.000+00:00")
    Dispatch(site.bus(), site.topology).submit(message, ticket)


def test_an_update_becomes_the_newest_version(site: MemorySite) -> None:
    message = update(site, "more data")
    assert message.work.job_class == "live"
    publishes(site, next_of(site.tree()), 2)
    site.submit(message)
    site.work("ingest")
    assert site.tree().params.read_text() == "version 1", "whole until the next one is"
    site.work("reconstruction")
    tree = site.tree()
    assert tree.params.read_text() == "version 2"
    assert not next_of(tree).out.exists()
    assert site.read(tree.job_json)["job_id"] == message.job_id
    assert [site.read(tree.version(number))["job_id"] for number in (1, 2)] == ["job-job", message.job_id]
    finished = site.told()[-1][1]["data"]
    assert finished["origin"]["visit"] == site.read(tree.request)["origin"]["visit"] == "cm1-2"
    assert (finished["state"], finished["out"], finished["findings"]["used"]) == ("finished", str(tree.out), 2)
    site.submit(message)
    site.work("ingest")
    assert tree.params.read_text() == "version 2"
    assert site.depths() == {}
    assert site.outcomes()["duplicate"] == 1, "a message that comes again does nothing"


def test_at_most_one_is_under_way_and_the_newest_of_those_that_wait_is_made(site: MemorySite) -> None:
    first, older, newest = (update(site, text) for text in ("a", "bb", "ccc"))
    publishes(site, next_of(site.tree()), 2)
    at(site, first, 1)
    site.work("ingest")
    at(site, newest, 3)
    at(site, older, 2)  # the newer one came first
    waiting = site.service("ingest", idle_exit_s=0.5)
    waiting.serve()
    waiting.bus.close()
    assert site.outcomes()["deferred"] >= 1
    assert site.read(next_of(site.tree()).request)["job_id"] == first.job_id, "nobody touched what is under way"
    site.work("reconstruction")
    assert site.read(site.tree().job_json)["job_id"] == first.job_id
    publishes(site, next_of(site.tree()), 3)
    site.work(*WHOLE)
    assert site.read(site.tree().job_json)["job_id"] == newest.job_id
    assert site.tree().params.read_text() == "version 3"
    let_go = [body for key, body in site.told() if key == "job.cancelled"]
    assert [body["data"]["job_id"] for body in let_go] == [older.job_id]
    assert site.depths() == {}


def test_a_refused_update_leaves_the_version_before_and_the_next_one_is_made(site: MemorySite) -> None:
    site.plays["ingest"] = Play(fails=Breakdown.of(InvalidInput("ends in the middle of a row")))
    site.submit(update(site, "half"))
    site.work("ingest")
    assert site.outcomes()["parked"] == 1
    assert site.tree().params.read_text() == "version 1"
    assert "middle of a row" in site.tree().refused.read_text()
    site.plays["ingest"] = Play()
    publishes(site, next_of(site.tree()), 2)
    whole = update(site, "whole now")
    site.submit(whole)
    site.work(*WHOLE)
    assert site.tree().params.read_text() == "version 2"
    assert not site.tree().refused.exists()


def test_a_set_that_is_worked_on_gets_its_update_later(site: MemorySite) -> None:
    message = update(site, "more")
    publishes(site, next_of(site.tree()), 2)
    site.submit(message)
    site.work("ingest")
    lease = take(site.tree(), "somebody", latest(site.tree()))
    assert lease is not None
    site.clock.on_wait = lease.renew
    busy = site.service("reconstruction", idle_exit_s=0.5)
    busy.serve()
    busy.bus.close()
    assert site.outcomes()["deferred"] >= 1
    assert site.tree().params.read_text() == "version 1"
    site.clock.on_wait = lambda: None
    lease.release()
    site.work("reconstruction")
    assert site.tree().params.read_text() == "version 2"
    assert site.trail("reconstruction", "job").count("published") == 1


def test_cut_anywhere_the_update_is_made_once(site: MemorySite) -> None:
    message = update(site, "more")
    publishes(site, next_of(site.tree()), 2)
    site.submit(message)
    for stage in WHOLE:
        for point in range(1, 30):
            if stage in ("ingest", "reconstruction") and len(site.cut(stage, point)) < point:
                break
    assert site.tree().params.read_text() == "version 2"
    assert site.read(site.tree().job_json)["job_id"] == message.job_id
    assert site.read(site.tree().job_json)["status"] == "succeeded"
    assert not next_of(site.tree()).out.exists()
    assert not site.tree().promotion.exists()
    assert site.depths() == {}


def test_only_an_update_of_out_may_be_made_where_its_next_version_is(site: MemorySite) -> None:
    stranger = Request(out=next_of(site.tree()).out, ingest=IngestOptions(particles=site.root / "job.star"))
    site.submit(new_message("stranger", Work(request=stranger, route=("ingest",))))
    site.work("ingest")
    assert site.outcomes()["parked"] == 1
    assert "where OUT's next version is made" in site.parked()[0]["covaria-last-error"]
    assert site.tree().params.read_text() == "version 1"


def test_other_options_are_no_update(site: MemorySite) -> None:
    asked = next_request(site.tree(), Path(site.root / "job.star"))
    assert grows_into(asked)
    assert not grows_into(asked.model_copy(update={"seed": 3}))
