"""A client of HTTP/2 that also sends what a decent one would not; and a certificate for it."""

import asyncio
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

Fields = list[tuple[str, str]]


def certificate(folder: Path) -> tuple[str, str]:
    """Makes one for 127.0.0.1; gives the files of it and of its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = folder / "certificate.pem", folder / "key.pem"
    for file, content in zip(files, (signed.public_bytes(pem), secret), strict=True):
        file.write_bytes(content)
    return str(files[0]), str(files[1])


@dataclass
class Answer:
    """A reply; `refused` says that there is none, since the server broke off."""

    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    refused: bool = False


async def ask(
    port: int, method: str, path: str, *more: tuple[str, str], body: bytes = b"", trust: str = ""
) -> Answer:
    """One request on a connection of its own: over TLS where there is a certificate to `trust`."""
    context = None
    if trust:
        context = ssl.create_default_context(cafile=trust)
        context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        if context is not None:
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        return await asyncio.wait_for(_talk(reader, writer, _head(method, path, more), body), 10)
    finally:
        writer.close()


def _head(method: str, path: str, more: tuple[tuple[str, str], ...]) -> Fields:
    scheme, authority = (":scheme", "https"), (":authority", "127.0.0.1")
    return [(":method", method), (":path", path), scheme, authority, *more]


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Fields, body: bytes
) -> Answer:
    careless = H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="utf-8"
    )
    connection, answer = H2Connection(careless), Answer()
    connection.initiate_connection()
    connection.send_headers(1, head, end_stream=not body)
    if body:
        connection.send_data(1, body, end_stream=True)
    while True:
        writer.write(connection.data_to_send())
        received = await reader.read(65_536)
        if not received:
            answer.refused = True
            return answer
        for event in connection.receive_data(received):
            match event:
                case ResponseReceived():
                    answer.fields |= {str(name): str(value) for name, value in event.headers}
                case DataReceived():
                    answer.body += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, 1)
                case StreamEnded():
                    return answer
                case StreamReset() | ConnectionTerminated():
                    answer.refused = True
                    return answer
