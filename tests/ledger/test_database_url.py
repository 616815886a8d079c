import pytest

from functions.shared.ledger.connection import parse_database_url
from functions.shared.ledger.errors import DatabaseUrlError


def test_a_url_names_user_password_host_port_and_database() -> None:
    address = parse_database_url("postgresql://an%40na:p%3Aw%2F%25@db.example:6543/led%20ger")
    assert (address.user, address.password) == ("an@na", "p:w/%")
    assert (address.host, address.port, address.database) == ("db.example", 6543, "led ger")


def test_the_port_is_postgresqls_unless_given() -> None:
    assert parse_database_url("postgres://anna@db.example/ledger").port == 5432


def test_a_unix_socket_is_named_by_its_folder() -> None:
    address = parse_database_url("postgresql://anna@/ledger?host=/run/my%20sockets&port=6543")
    assert (address.socket_directory, address.port, address.host) == ("/run/my sockets", 6543, None)
    assert not address.verify_tls


@pytest.mark.parametrize(
    "sslmode", ["", "?sslmode=allow", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-full"]
)
def test_another_machine_is_always_verified(sslmode: str) -> None:
    assert parse_database_url(f"postgresql://anna@db.example/ledger{sslmode}").verify_tls


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_this_machine_is_verified_on_request_only(host: str) -> None:
    assert not parse_database_url(f"postgresql://anna@{host}/ledger").verify_tls
    assert parse_database_url(f"postgresql://anna@{host}/ledger?sslmode=verify-full").verify_tls


def test_the_machine_of_a_container_is_verified_unless_tls_is_disabled() -> None:
    url = "postgresql://anna@host.docker.internal/ledger"
    assert parse_database_url(url).verify_tls
    assert parse_database_url(f"{url}?sslmode=prefer").verify_tls
    assert not parse_database_url(f"{url}?sslmode=disable").verify_tls


def test_a_file_of_authorities_to_trust_can_be_named() -> None:
    assert parse_database_url("postgresql://a@db.example/ledger?sslrootcert=/etc/rds.pem").ca_file == "/etc/rds.pem"


def test_iam_tokens_are_signed_for_the_region_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert parse_database_url("postgresql://anna@db.example/ledger?auth=iam").iam_region == "eu-central-1"
    assert parse_database_url("postgresql://anna:pw@db.example/ledger").iam_region is None


def test_statements_are_prepared_unless_a_pooler_is_named() -> None:
    assert parse_database_url("postgresql://anna@db.example/ledger").prepared
    assert not parse_database_url("postgresql://anna@db.example/ledger?pooler=transaction").prepared


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "postgresql://"),
        ("mysql://anna:hunter2@db.example/ledger", "postgresql://"),
        ("postgresql://db.example/ledger", "user"),
        ("postgresql://anna:hunter2@db.example", "database"),
        ("postgresql://anna:hunter2@/ledger", "host"),
        ("postgresql://anna:hunter2@db.example:port/ledger", "not a URL"),
        ("postgresql://anna:hunter2@[::1/ledger", "not a URL"),
        ("postgresql://anna:hunter2@db.example/ledger?sslmode=disable", "sslmode=disable"),
        ("postgresql://anna:hunter2@host.docker.internal.example/ledger?sslmode=disable", "sslmode=disable"),
        ("postgresql://anna@host.docker.internal/ledger?auth=iam&sslmode=disable", "auth=iam needs TLS"),
        ("postgresql://anna:hunter2@db.example/ledger?sslmode=sometimes", "sometimes"),
        ("postgresql://anna:hunter2@db.example/ledger?pool=9", "'pool'"),
        ("postgresql://anna:hunter2@db.example/ledger?port=x", "port"),
        ("postgresql://anna:hunter2@db.example/ledger?auth=iam", "auth=iam"),
        ("postgresql://anna@localhost/ledger?auth=iam", "auth=iam needs TLS"),
        ("postgresql://anna@/ledger?host=/run&auth=iam", "auth=iam needs TLS"),
        ("postgresql://anna@db.example/ledger?auth=iam&sslmode=disable", "sslmode=disable"),
        ("postgresql://anna@db.example/ledger?auth=iam", "AWS_REGION"),
        ("postgresql://anna:hunter2@db.example/ledger?auth=md5", "auth: 'md5'"),
        ("postgresql://anna:hunter2@db.example/ledger?pooler=session", "pooler: 'session'"),
        ("postgresql://anna:hunter2@db.example/ledger?pooler=", "pooler: ''"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_words_without_its_password(
    url: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    with pytest.raises(DatabaseUrlError) as refused:
        parse_database_url(url)
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_password_does_not_show_where_an_address_is_printed() -> None:
    assert "hunter2" not in repr(parse_database_url("postgresql://anna:hunter2@db.example/ledger"))
