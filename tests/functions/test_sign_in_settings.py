"""What `describe` tells the console of signing in and of sending inputs: nothing without a need, nothing half set."""

import pytest

from functions.shared.settings import DescribeSettings, SettingsError

LEDGER = {"DATABASE_URL": "postgresql://anna@/ledger", "AUTH": "on"}
SIGN_IN = {"SIGN_IN_ISSUER": "https://login.example.org/pool", "SIGN_IN_CLIENT_ID": "console"}


def settings(**variables: str) -> DescribeSettings:
    return DescribeSettings.from_environment(LEDGER | variables)


def test_the_console_is_told_the_issuer_and_its_client_there() -> None:
    told = settings(**SIGN_IN)
    expected = {"authority": "https://login.example.org/pool", "client_id": "console", "scope": "openid"}
    assert told.sign_in == expected
    assert told.sign_in_connections == ("https://login.example.org",)


def test_the_console_may_call_what_the_issuer_has_elsewhere_too() -> None:
    told = settings(
        **SIGN_IN,
        SIGN_IN_SCOPE="openid offline_access",
        SIGN_IN_METADATA_URL="http://127.0.0.1:4000/.well-known/openid-configuration",
        SIGN_IN_ORIGINS="https://tokens.example.org:8443,https://login.example.org",
    )
    assert told.sign_in is not None
    assert told.sign_in["scope"] == "openid offline_access"
    assert told.sign_in["metadata_url"] == "http://127.0.0.1:4000/.well-known/openid-configuration"
    connections = ("https://login.example.org", "http://127.0.0.1:4000", "https://tokens.example.org:8443")
    assert told.sign_in_connections == connections


def test_the_console_may_upload_to_the_buckets_origins_and_knows_how_large_a_request_may_be() -> None:
    told = settings(UPLOADS_ORIGIN="https://b.s3.eu-central-1.amazonaws.com,http://127.0.0.1:4566")
    assert told.upload_connections == ("https://b.s3.eu-central-1.amazonaws.com", "http://127.0.0.1:4566")
    assert told.sending == {"most_bytes": 4_500_000, "uploads": True}
    nowhere = settings(UPLOADS_ORIGIN="", MAX_BODY_BYTES="9")
    assert nowhere.upload_connections == ()
    assert nowhere.sending == {"most_bytes": 9, "uploads": False}


@pytest.mark.parametrize("variables", [SIGN_IN | {"AUTH": "off"}, {}], ids=["no authorizer", "no issuer"])
def test_without_an_authorizer_or_an_issuer_there_is_no_sign_in(variables: dict[str, str]) -> None:
    assert settings(**variables).sign_in is None
    assert settings(**variables).sign_in_connections == ()


@pytest.mark.parametrize("name", SIGN_IN)
def test_an_issuer_without_a_client_or_a_client_without_an_issuer_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="SIGN_IN_ISSUER and SIGN_IN_CLIENT_ID must both be set, or neither"):
        settings(**{name: SIGN_IN[name]})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIGN_IN_ISSUER", "login.example.org"),
        ("SIGN_IN_ISSUER", "http://login.example.org"),
        ("SIGN_IN_ISSUER", "https://login.example.org evil"),
        ("SIGN_IN_METADATA_URL", "http://127.0.0.1.example.org/"),
        ("SIGN_IN_METADATA_URL", "javascript:alert(1)"),
        ("SIGN_IN_ORIGINS", "https://login.example.org; script-src *"),
        ("SIGN_IN_ORIGINS", "https://login.example.org/"),
        ("SIGN_IN_ORIGINS", "https://login.example.org,"),
        ("SIGN_IN_ORIGINS", "*"),
        ("UPLOADS_ORIGIN", "https://b.s3.amazonaws.com; script-src *"),
        ("UPLOADS_ORIGIN", "http://b.s3.amazonaws.com"),
        ("SIGN_IN_ORIGINS", "https://login.example.org\n"),
    ],
)
def test_what_is_no_address_with_tls_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: it must be ") as refusal:
        settings(**SIGN_IN | {name: value})
    assert value not in str(refusal.value)
