"""The suite's merged OpenAPI document: valid, complete, and true of what the suite answers."""

import asyncio
import sys
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from services.gateway.tests.listening import STREAM
from tests.e2e.client import Client
from tests.e2e.contract import OPERATIONS

EXAMPLES = "25"  # inputs for each operation and phase


async def test_the_document_is_valid_and_names_every_operation(client: Client) -> None:
    reply = await client.send("GET", "/openapi.json")
    OpenAPIV31SpecValidator(reply.body).validate()
    named = {
        f"{method.upper()} {path.removeprefix('/api')}"
        for path, methods in reply.body["paths"].items()
        for method in methods
    }
    assert set(OPERATIONS) <= named
    assert "GET /notifications" in named


async def test_the_suite_answers_as_the_document_says(client: Client, tmp_path: Path) -> None:
    member = await client.register()
    fuzzer = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{client.url}/openapi.json",
        "--header",
        f"Authorization: Token {member.token}",
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,"
        "response_schema_conformance",
        "--max-examples",
        EXAMPLES,
        "--seed",
        "20",
        "--exclude-path",
        STREAM,  # a reply without an end
        "--request-timeout",
        "10",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await fuzzer.communicate()
    assert fuzzer.returncode == 0, said.decode()
