"""Signing keys and what they sign."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import msgspec
import pytest

from services.users.tests.signing import SigningKey, jwks
from services.users.tokens import Tokens
from shared.auth import Verifier, public_keys
from shared.errors import Unauthorized
from shared.settings import SettingsError

HOUR = timedelta(hours=1)
NOW = datetime.now(UTC)
ONE, TWO = SigningKey("one"), SigningKey("two")


def verifier(tokens: Tokens) -> Verifier:
    return Verifier(public_keys(tokens.jwks))


async def test_a_token_names_its_account_until_it_expires() -> None:
    tokens, account = Tokens(jwks(ONE.jwk), HOUR), uuid4()
    token = tokens.issue(account, NOW)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": "one", "typ": "JWT"}
    issued = int(NOW.timestamp())
    assert jwt.decode(token, options={"verify_signature": False}) == {
        "iss": "quartet",
        "sub": str(account),
        "iat": issued,
        "exp": issued + 3600,
    }
    assert (await verifier(tokens).verify(token)).id == account
    with pytest.raises(Unauthorized):
        await verifier(tokens).verify(tokens.issue(account, NOW - 2 * HOUR))


async def test_keys_rotate_without_a_token_lost() -> None:
    before = Tokens(jwks(ONE.jwk), HOUR)
    announced = Tokens(jwks(ONE.jwk, TWO.jwk), HOUR)
    turned = Tokens(jwks(TWO.jwk, ONE.public_jwk), HOUR)
    withdrawn = Tokens(jwks(TWO.jwk), HOUR)
    old, new = before.issue(uuid4(), NOW), turned.issue(uuid4(), NOW)
    for stage in (announced, turned):
        await verifier(stage).verify(old)
        await verifier(stage).verify(new)
    with pytest.raises(Unauthorized):
        await verifier(withdrawn).verify(old)


def test_only_public_keys_are_published() -> None:
    published = Tokens(jwks(ONE.jwk, TWO.jwk), HOUR).jwks
    assert [set(key) for key in published["keys"]] == [{"kty", "crv", "kid", "x", "use", "alg"}] * 2
    text = msgspec.json.encode(published).decode()
    assert ONE.jwk["d"] not in text
    assert TWO.jwk["d"] not in text


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("", "truncated"),
        ("{}", "keys"),
        (jwks(), "length >= 1"),
        (jwks({"kty": "RSA"}), "'RSA'"),
        (jwks(ONE.jwk | {"crv": "X25519"}), "'X25519'"),
        (jwks({name: value for name, value in ONE.jwk.items() if name != "kid"}), "`kid`"),
        (jwks(ONE.jwk, ONE.jwk), "same kid"),
        (jwks(ONE.public_jwk), "private"),
        (jwks(ONE.public_jwk, TWO.jwk), "private"),
        (jwks(ONE.jwk | {"d": "AAAA"}), "32 bytes"),
        (jwks(ONE.jwk, TWO.public_jwk | {"x": "é"}), "32 bytes"),
        (jwks(ONE.jwk | {"x": TWO.jwk["x"]}), "not of its d"),
    ],
)
def test_keys_that_can_not_be_used_are_told_without_their_value(settings: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=r"^USERS_SIGNING_KEYS: ") as refusal:
        Tokens(settings, HOUR)
    assert fault in str(refusal.value)
    assert ONE.jwk["d"] not in str(refusal.value)
