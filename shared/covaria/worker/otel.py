"""Spans to an OpenTelemetry collector by OTLP over HTTP, at the address of OTEL_EXPORTER_OTLP_ENDPOINT."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from covaria import __version__
from covaria.worker.spans import Span, Tell

_PARENT = TraceContextTextMapPropagator()


def to_collector(service: str, exporter: SpanExporter | None = None) -> Tell:
    """Tells a collector, in the background: one that is away holds up no job."""
    resource = Resource.create({"service.name": f"covaria-{service}", "service.version": __version__})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    tracer = provider.get_tracer("covaria", __version__)

    def tell(span: Span) -> None:
        parent = _PARENT.extract({"traceparent": span.traceparent})
        made = tracer.start_span(
            span.name, parent, SpanKind.CONSUMER, attributes=dict(span.attributes), start_time=span.began_ns
        )
        if span.failure:
            made.set_status(Status(StatusCode.ERROR, span.failure))
        made.end(span.ended_ns)

    return tell
