"""Attempts as spans: part of the caller's trace, as long as they took, failed where they failed."""

from __future__ import annotations

import threading

from covaria_memory_site import MemorySite, Play
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from covaria.errors import InvalidInput
from covaria.messages.envelope import Message
from covaria.request.origin import Origin
from covaria.worker.failures import Breakdown
from covaria.worker.otel import to_collector
from covaria.worker.spans import Span

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def worked(site: MemorySite, name: str, traceparent: str = f"00-{TRACE}-{PARENT}-01") -> list[Span]:
    message, told = site.message(name), list[Span]()
    work = message.work.model_copy(update={"origin": Origin(visit="cm1-2")})
    site.submit(Message(message.job_id, work, work.model_dump(mode="json"), traceparent))
    service = site.service()
    service.handler.tell_span = told.append
    service.serve()
    service.bus.close()
    return told


def exported(span: Span) -> ReadableSpan:
    there, exporter = threading.Event(), InMemorySpanExporter()
    export = exporter.export

    def noting(spans):  # type: ignore[no-untyped-def]
        result = export(spans)
        there.set()
        return result

    exporter.export = noting  # type: ignore[method-assign]
    to_collector("ingest", exporter)(span)
    assert there.wait(60)
    (found,) = exporter.get_finished_spans()
    return found


def test_an_attempt_is_part_of_the_callers_trace(memory_site: MemorySite) -> None:
    (span,) = worked(memory_site, "job")
    found = exported(span)
    assert found.name == "covaria ingest"
    assert f"{found.context.trace_id:032x}" == TRACE and found.parent is not None
    assert f"{found.parent.span_id:016x}" == PARENT
    assert found.attributes is not None
    assert (found.attributes["covaria.visit"], found.attributes["covaria.outcome"]) == ("cm1-2", "succeeded")
    assert found.end_time == span.ended_ns and found.start_time == span.began_ns <= span.ended_ns
    assert found.status.status_code is StatusCode.UNSET
    assert found.resource.attributes["service.name"] == "covaria-ingest"


def test_a_failed_one_says_so_and_needs_no_trace(memory_site: MemorySite) -> None:
    memory_site.plays["ingest"] = Play(fails=Breakdown.of(InvalidInput("wrong")))
    (span,) = worked(memory_site, "job", traceparent="nonsense")
    found = exported(span)
    assert found.parent is None and found.status.status_code is StatusCode.ERROR
