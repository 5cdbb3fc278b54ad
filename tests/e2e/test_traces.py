"""One trace across HTTP, SQL, the outbox and NATS, asserted from what the collector received."""

from deploy.local.stack import Stack
from deploy.local.traces import received_spans
from shared.testing import until
from tests.e2e.client import Client


async def test_one_trace_holds_spans_of_all_four_services(client: Client, stack: Stack) -> None:
    author = await client.register("author")
    reader = await client.register()
    followed = await reader.send("POST", f"/api/profiles/{author.username}/follow")
    trace = followed.headers["Quartet-Trace"]

    expected = {
        ("gateway", "POST /api/profiles/{username}/follow"),
        ("users", "publish users.followed.v1"),
        ("content", "process users.followed.v1"),
        ("notifications", "process users.followed.v1"),
        ("notifications", "INSERT"),
    }

    async def complete() -> bool:
        received = received_spans(stack.servers.traces_dir)
        return expected <= {
            (span.service, span.name) for span in received if span.trace_id == trace
        }

    await until(complete, seconds=30, what="a trace through four services, and their SQL")


async def test_a_given_traceparent_is_honoured(client: Client) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    parent = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    reply = await client.send("GET", "/api/tags", headers=parent)
    assert reply.headers["Quartet-Trace"] == trace
    refused = await client.send("GET", "/api/user", headers=parent)
    assert refused.body["trace_id"] == trace
