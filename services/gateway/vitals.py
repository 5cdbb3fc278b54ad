"""What browsers measured of pages, as they tell it when one is left: web vitals into metrics.

Nothing of it names a person, and whatever a client invents makes no new series.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context

from services.gateway.asking import Asking
from services.gateway.messages.said import Said
from services.gateway.settings import Settings
from shared.errors import Invalid, UnsupportedMediaType
from shared.http import decode
from shared.telemetry import SECONDS

Name: TypeAlias = Literal["CLS", "FCP", "INP", "LCP", "TTFB"]
LARGEST = 4_096  # bytes
# Up to the first a page is good, over the second it is poor, as web.dev has it; milliseconds, and
# for CLS a score.
RATINGS: dict[Name, tuple[float, float]] = {
    "CLS": (0.1, 0.25),
    "FCP": (1_800, 3_000),
    "INP": (200, 500),
    "LCP": (2_500, 4_000),
    "TTFB": (800, 1_800),
}
_MEDIA_TYPES = frozenset({b"", b"application/json", b"text/plain"})  # sendBeacon says the last
_TRACEPARENT = "^(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?$"
_tracer = trace.get_tracer("quartet.gateway")
_meter = metrics.get_meter("quartet.gateway")
_duration = _meter.create_histogram(
    "browser.web_vital.duration",
    unit="s",
    description="FCP, INP, LCP and TTFB as browsers measured them",
    explicit_bucket_boundaries_advisory=SECONDS,
)
_shift = _meter.create_histogram(
    "browser.web_vital.shift",
    unit="1",
    description="CLS as browsers measured it",
    explicit_bucket_boundaries_advisory=(0.0, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0),
)


class Vital(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measure: milliseconds, and for CLS a score."""

    name: Name
    value: Annotated[float, Meta(ge=0, le=600_000)]


class Beacon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a page tells. `page` is its path, `traceparent` that of the request that fetched it, as
    `Server-Timing` told the browser.
    """

    vitals: Annotated[list[Vital], Meta(min_length=1, max_length=len(RATINGS))]
    page: Annotated[str, Meta(max_length=255)] = ""
    traceparent: Annotated[str, Meta(pattern=_TRACEPARENT)] = ""


class Vitals:
    """Takes beacons in."""

    largest = LARGEST

    def __init__(self, settings: Settings) -> None:
        self._pages = frozenset(settings.vitals_pages)

    async def answer(self, asking: Asking, data: bytes) -> Said:
        """Count a beacon. Raises `BadRequest`, `UnsupportedMediaType` and `Invalid`."""
        media = asking.exchange.fields.get(b"content-type", b"").partition(b";")[0].strip()
        if media.lower() not in _MEDIA_TYPES:
            raise UnsupportedMediaType("The body must be JSON.")
        beacon = decode(data, Beacon)
        if len({vital.name for vital in beacon.vitals}) < len(beacon.vitals):
            raise Invalid("A measure is there twice.", errors={"vitals": ["must differ"]})
        self._count(beacon)
        return Said(204, ((b"cache-control", b"no-store"),))

    def _count(self, beacon: Beacon) -> None:
        context = _traced(beacon)
        page = beacon.page if beacon.page in self._pages else ""
        for vital in beacon.vitals:
            attributes = {
                "web_vital.name": vital.name,
                "web_vital.rating": rating(vital),
                "http.route": page,
            }
            if vital.name == "CLS":
                _shift.record(vital.value, attributes, context)
            else:
                _duration.record(vital.value / 1000, attributes, context)


def rating(vital: Vital) -> str:
    """`good`, `needs-improvement` or `poor`."""
    good, poor = RATINGS[vital.name]
    if vital.value <= good:
        return "good"
    return "needs-improvement" if vital.value <= poor else "poor"


def _traced(beacon: Beacon) -> Context:
    """A span that holds the values, in the trace of the request that fetched the page."""
    asked = trace.get_current_span().get_span_context()
    context = propagate.extract({"traceparent": beacon.traceparent}, Context())
    span = _tracer.start_span(
        "web vitals",
        context,
        attributes={f"web_vital.{one.name.lower()}": one.value for one in beacon.vitals},
        links=[trace.Link(asked)],
    )
    span.end()
    return trace.set_span_in_context(span, Context())
