"""Who the client is: never what a client says of itself."""

import pytest

from services.gateway.door.address import Clients
from services.gateway.settings import Settings
from shared.settings import SettingsError

PROXIES = ("10.0.0.0/8", "fd00::/8")


def client(peer: str, *fields: tuple[str, str], proxies: tuple[str, ...] = PROXIES) -> str:
    header = "forwarded" if fields and fields[0][0] == "forwarded" else "x-forwarded-for"
    settings = Settings(trusted_proxies=proxies, client_header=header)  # type: ignore[arg-type]
    raw = [(name.encode(), value.encode()) for name, value in fields]
    found: str = Clients(settings).found({"client": (peer, 1), "headers": raw})["client"][0]
    return found


@pytest.mark.parametrize(
    ("peer", "said", "expected"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1, 10.2.3.4", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1:5555", "198.51.100.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
        ("fd00::7", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "192.0.2.66, unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.66, ", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("10.0.0.1", "x 1.2.3.4", "10.0.0.1"),
    ],
)
def test_x_forwarded_for_is_believed_of_proxies_only(peer: str, said: str, expected: str) -> None:
    assert client(peer, ("x-forwarded-for", said)) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("for=198.51.100.1", "198.51.100.1"),
        ("For=192.0.2.66, by=10.0.0.2; for=198.51.100.1;proto=https", "198.51.100.1"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ("for=_hidden", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
        ("xfor=198.51.100.1", "10.0.0.1"),
    ],
)
def test_forwarded_is_read_where_proxies_write_it(said: str, expected: str) -> None:
    assert client("10.0.0.1", ("forwarded", said)) == expected


def test_fields_add_up_and_the_header_that_no_proxy_writes_does_not_count() -> None:
    two = ("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", "198.51.100.1")
    assert client("10.0.0.1", *two) == "198.51.100.1"
    assert client("10.0.0.1", *two[:1], ("forwarded", "for=192.0.2.77")) == "192.0.2.66"


def test_without_declared_proxies_the_peer_is_the_client() -> None:
    assert client("10.0.0.1", ("x-forwarded-for", "192.0.2.1"), proxies=()) == "10.0.0.1"


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "proxy", "10.0.0.0/64"])
def test_a_network_that_is_none_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_TRUSTED_PROXIES"):
        Clients(Settings(trusted_proxies=(wrong,)))
