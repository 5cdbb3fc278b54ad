"""Telemetry goes where the specification's variables say, or is given up."""

import logging
import socket

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from shared.otlp import Channel, Spans


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_only_http_addresses_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "file:///etc")
    with pytest.raises(ValueError, match="not an address"):
        Channel("traces")


def test_a_collector_that_is_away_is_told_of_once_and_not_waited_for_at_the_end(
    monkeypatch: pytest.MonkeyPatch, closed_port: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", closed_port)
    exporter = Spans()
    exporter.shutdown()
    with caplog.at_level(logging.WARNING):
        assert exporter.export([]) is SpanExportResult.FAILURE
    assert "did not take" in caplog.text
