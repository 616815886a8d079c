import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from functions.shared.ledger import connection as connection_module
from functions.shared.ledger.connection import Connection, parse_database_url
from functions.shared.ledger.errors import (
    LedgerNotMigratedError,
    LedgerUnavailableError,
    StatementInterruptedError,
    StatementRefusedError,
    UnstorableValueError,
)
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from infra.migrations import MigrationError, upgrade
from tests.support.database_proxy import Fate, Proxy


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    opened = Connection(parse_database_url(database_url))
    yield opened
    opened.close()


@pytest.mark.parametrize("again", [False, True], ids=["first run", "later run"])
def test_values_come_back_as_they_went_in(connection: Connection, again: bool) -> None:
    sql = """SELECT :text::text, :bytes::bytea, :id::uuid, :int::bigint, :float::float8, :yes::bool, :none::text,
                    :json::json, (:moment::timestamptz)::text"""
    identifier = new_id()
    moment = datetime(2026, 11, 22, 10, 38, 1, 123456, UTC)
    values = {
        "text": "'; DROP TABLE predictions; -- \\ é 漢 🙂 :name $1",
        "bytes": bytes(range(256)),
        "id": identifier,
        "int": -(2**63),
        "float": 0.1 + 0.2,
        "yes": True,
        "none": None,
        "json": '{"b": [1.5], "a": null}',
        "moment": moment,
    }
    if again:
        connection.run(sql, values)
    (row,) = connection.run(sql, values)
    assert row[:7] == list(values.values())[:7]
    assert row[7] == {"b": [1.5], "a": None}
    assert row[8] == "2026-11-22 10:38:01.123456+00"


def test_a_megabyte_of_bytes_takes_a_megabyte_on_the_wire(connection: Connection) -> None:
    million = bytes(range(256)) * 4096
    for _ in range(2):
        assert connection.run("SELECT :content::bytea", {"content": million}) == [[million]]


def test_a_statement_takes_one_round_trip_the_first_time_too(proxy: Proxy) -> None:
    opened = Connection(parse_database_url(proxy.url))
    for _ in range(3):
        with proxy.counted(1):
            opened.run("SELECT :x::int", {"x": 1})
    opened.close()


def test_a_statement_takes_one_round_trip_where_nothing_may_be_prepared(proxy: Proxy) -> None:
    opened = Connection(parse_database_url(f"{proxy.url}&pooler=transaction"))
    for _ in range(3):
        with proxy.counted(1):
            opened.run("SELECT :x::int", {"x": 1})
    assert opened.run("SELECT count(*) FROM pg_prepared_statements", {}) == [[0]]
    opened.close()


def test_a_statement_that_depends_on_its_values_is_not_kept(connection: Connection) -> None:
    connection.run("SELECT :x::int", {"x": 1}, keep=False)
    assert connection.run("SELECT count(*) FROM pg_prepared_statements", {}, keep=False) == [[0]]


def test_a_statement_that_was_refused_the_first_time_can_be_run_again(connection: Connection) -> None:
    with pytest.raises(UnstorableValueError):
        connection.run("SELECT 1 / :x::int", {"x": 0})
    connection.run("SELECT :y::text", {"y": "another one in between"})
    assert connection.run("SELECT 1 / :x::int", {"x": 1}) == [[1]]
    assert connection.is_usable()


def test_a_violated_constraint_is_named(connection: Connection) -> None:
    with pytest.raises(StatementRefusedError) as refused:
        connection.run(
            "INSERT INTO inputs (input_id, size, sha256, contenttype) VALUES (:id, 0, :sha256, 'image/png')",
            {"id": new_id(), "sha256": bytes(32)},
        )
    assert (refused.value.sqlstate, refused.value.constraint) == ("23514", "inputs_complete")
    assert connection.is_usable()


@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=["NUL", "lone surrogate"])
def test_a_text_that_postgresql_cannot_hold_is_refused_and_the_connection_stays(
    connection: Connection, text: str
) -> None:
    with pytest.raises(UnstorableValueError):
        connection.run("SELECT :text::text", {"text": text})
    assert connection.is_usable()


def test_a_missing_table_says_that_the_migrations_have_to_be_run(new_database: Callable[[], str]) -> None:
    opened = Connection(parse_database_url(new_database()))
    with pytest.raises(LedgerNotMigratedError, match=r"python -m infra\.migrations upgrade"):
        opened.run("SELECT * FROM predictions", {})
    opened.close()


def test_a_statement_that_takes_too_long_is_given_up_and_the_connection_stays(connection: Connection) -> None:
    connection.run("SET statement_timeout = '50ms'", {})
    with pytest.raises(LedgerUnavailableError, match="57014"):
        connection.run("SELECT pg_sleep(5)", {})
    assert connection.is_usable()


def test_the_server_gives_a_statement_up_before_the_client_gives_the_server_up(connection: Connection) -> None:
    ((timeout,),) = connection.run(
        "SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'statement_timeout'", {}
    )
    assert 0 < timeout < connection_module.ANSWER_TIMEOUT


def test_a_server_that_does_not_answer_is_given_up(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT", 0.2)
    opened = Connection(parse_database_url(proxy.url))
    proxy.next_flights(Fate.SILENCE)
    started = time.monotonic()
    with pytest.raises(LedgerUnavailableError, match=r"not answered for 0\.2 s"):
        opened.run("SELECT 1", {})
    assert time.monotonic() - started < 2
    assert not opened.is_usable()
    opened.close()


def test_a_connection_that_breaks_under_a_statement_is_not_usable(proxy: Proxy) -> None:
    opened = Connection(parse_database_url(proxy.url))
    proxy.next_flights(Fate.REPLY_LOST)
    with pytest.raises(StatementInterruptedError):
        opened.run("SELECT 1", {})
    assert not opened.is_usable()
    opened.close()


def test_a_connection_that_the_server_has_ended_is_seen_to_be_of_no_use(
    connection: Connection, database_url: str
) -> None:
    ((backend,),) = connection.run("SELECT pg_backend_pid()", {})
    other = Connection(parse_database_url(database_url))
    other.run("SELECT pg_terminate_backend(:pid, 5000)", {"pid": backend})
    other.close()
    assert not connection.is_usable()


def test_a_server_that_is_not_there_is_unavailable(short_folder: Path) -> None:
    with pytest.raises(LedgerUnavailableError, match="cannot be reached"):
        Connection(parse_database_url(f"postgresql://anna@/ledger?host={short_folder}"))


def test_a_refused_login_says_why(database_url: str) -> None:
    address = parse_database_url(
        database_url.replace(f"/{parse_database_url(database_url).database}?", "/no_such_one?")
    )
    with pytest.raises(LedgerUnavailableError, match=r"no_such_one.*3D000"):
        Connection(address)


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS with a certificate that only itself vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context, certificate_file


def test_tls_is_spoken_with_a_server_whose_certificate_is_trusted(database_url: str, short_folder: Path) -> None:
    context, authority = certificate(short_folder, "localhost")
    with Proxy(parse_database_url(database_url), short_folder, tls=context) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        opened = Connection(parse_database_url(f"{url}&sslrootcert={authority}"))
        for size in (1, 1_000_000):
            assert opened.run("SELECT :content::bytea", {"content": bytes(size)}) == [[bytes(size)]]
        assert opened.is_usable()
        opened.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(database_url: str, short_folder: Path) -> None:
    context, _ = certificate(short_folder, "localhost")
    with Proxy(parse_database_url(database_url), short_folder, tls=context) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(LedgerUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            Connection(parse_database_url(url))


def test_a_certificate_for_another_name_is_refused(database_url: str, short_folder: Path) -> None:
    context, authority = certificate(short_folder, "db.example")
    with Proxy(parse_database_url(database_url), short_folder, tls=context) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(LedgerUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            Connection(parse_database_url(f"{url}&sslrootcert={authority}"))


def keep_passwords(listener: socket.socket, tls: ssl.SSLContext, passwords: list[str]) -> None:
    """Ask each client for its password in clear text, keep it, and refuse ("Message Flow" in PostgreSQL's manual)."""
    fields = b"SFATAL\0C28P01\0Mno\0\0"
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        plain.recv(8, socket.MSG_WAITALL)
        plain.sendall(b"S")
        with tls.wrap_socket(plain, server_side=True) as client, client.makefile("rb") as received:
            received.read(int.from_bytes(received.read(4)) - 4)
            client.sendall(b"R" + (8).to_bytes(4) + (3).to_bytes(4))
            assert received.read(1) == b"p"
            passwords.append(received.read(int.from_bytes(received.read(4)) - 4).rstrip(b"\0").decode())
            client.sendall(b"E" + (4 + len(fields)).to_bytes(4) + fields)


@pytest.fixture
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")


@pytest.mark.usefixtures("_credentials")
def test_each_connection_logs_in_with_an_iam_token_of_its_own(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, authority = certificate(short_folder, "localhost")
    passwords: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=keep_passwords, args=(listener, tls, passwords), daemon=True).start()
        url = f"postgresql://anna@localhost:{port}/ledger?auth=iam&sslmode=verify-full&sslrootcert={authority}"
        address = parse_database_url(url)
        ledger = Ledger.at(url)
        now = datetime(2026, 11, 22, 10, 38, tzinfo=UTC)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: now)
        for log_in in (lambda: Connection(address), ledger.ping, lambda: upgrade(url)):
            with pytest.raises((LedgerUnavailableError, MigrationError), match="28P01"):
                log_in()
            now += timedelta(minutes=1)
        listener.shutdown(socket.SHUT_RDWR)
    signed = [(password.partition("?")[0], parse_qs(password.partition("?")[2])) for password in passwords]
    assert {where for where, _ in signed} == {f"localhost:{port}/"}
    for minute, (_, query) in enumerate(signed):
        assert (query["Action"], query["DBUser"]) == (["connect"], ["anna"])
        assert query["X-Amz-Date"] == [f"20261122T10{38 + minute}00Z"]
        assert "/eu-central-1/rds-db/" in query["X-Amz-Credential"][0]
    assert len({query["X-Amz-Signature"][0] for _, query in signed}) == 3


@pytest.mark.usefixtures("_credentials")
def test_without_credentials_no_token_is_signed_and_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")  # another client than the test's above, which has credentials
    with pytest.raises(LedgerUnavailableError, match=r"auth=iam.*credentials"):
        Connection(parse_database_url("postgresql://anna@db.example/ledger?auth=iam"))
