"""Who lets us in, and whom we take for our database."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from functions.shared.ledger import login
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.driver import DbapiSession, NativeSession
from functions.shared.ledger.errors import DatabaseUrlError, LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from infra.migrations import MigrationError, upgrade
from tests.support.database import Query
from tests.support.database_proxy import Proxy
from tests.support.tls import certificate, find_postgres, postgres_with_tls
from tests.support.waiting import soon

POSTGRES = find_postgres()
needs_tls = pytest.mark.skipif(POSTGRES is None, reason="needs a PostgreSQL with TLS (apt-get install postgresql)")
PASSWORD = "p@ss/w:rd%?#"
BOUND = "sslmode=require&channel_binding=require"


@pytest.fixture(scope="module")
def tls_url() -> Iterator[str]:
    """URL of a PostgreSQL that speaks TLS and asks for a password, with the authority to trust."""
    assert POSTGRES is not None
    with TemporaryDirectory() as folder:
        _, authority = certificate(Path(folder), "localhost")
        with postgres_with_tls(POSTGRES, authority, PASSWORD) as port:
            login = f"postgres:{quote(PASSWORD, safe='')}"
            yield f"postgresql://{login}@localhost:{port}/postgres?sslrootcert={authority}"


@contextmanager
def tls_in_front_of(url: str, folder: Path) -> Iterator[str]:
    """Speak TLS, with a certificate of our own that the client trusts, in front of another server."""
    context, authority = certificate(folder, "localhost")
    with Proxy(parse_database_url(url), folder, tls=context) as proxy:
        yield f"{urlsplit(proxy.url)._replace(query='').geturl()}?sslrootcert={authority}".replace(
            "127.0.0.1", "localhost"
        )


@needs_tls
def test_what_providers_show_to_copy_logs_in_bound_to_its_tls_connection(tls_url: str) -> None:
    with closing(Connection(parse_database_url(f"{tls_url}&{BOUND}"))) as opened:
        assert opened.run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", {}) == [[True]]
        assert opened._pg.auth.mechanism_name == "SCRAM-SHA-256-PLUS"


@needs_tls
def test_a_closed_connection_is_gone_at_once_under_tls_too(tls_url: str) -> None:
    address = parse_database_url(tls_url + "&sslmode=require")
    with closing(Connection(address)) as observer:
        opened = Connection(address)
        ((backend,),) = opened.run("SELECT pg_backend_pid()", {})
        opened.close()
        assert soon(lambda: not observer.run("SELECT 1 FROM pg_stat_activity WHERE pid = :pid", {"pid": backend}))


@needs_tls
def test_so_do_the_migrations(tls_url: str) -> None:
    with closing(Connection(parse_database_url(tls_url))) as opened:
        opened.run("CREATE DATABASE bound", {}, keep=False)
    said: list[str] = []
    upgrade(f"{tls_url}&{BOUND}".replace("/postgres?", "/bound?"), report=said.append)
    assert said


@needs_tls
@pytest.mark.parametrize("options", ["sslmode=require", BOUND])
def test_a_man_in_the_middle_with_a_certificate_that_we_trust_is_found_out(
    tls_url: str, short_folder: Path, options: str
) -> None:
    with (
        tls_in_front_of(f"{tls_url}&sslmode=require", short_folder) as url,
        pytest.raises(LedgerUnavailableError, match="28000"),
    ):
        Connection(parse_database_url(f"{url}&{options}"))


def test_where_the_server_cannot_bind_the_log_in_require_refuses_and_its_absence_does_not(
    password_url: str, short_folder: Path
) -> None:
    with tls_in_front_of(password_url, short_folder) as url:
        with pytest.raises(LedgerUnavailableError, match="SCRAM-SHA-256-PLUS"):
            Connection(parse_database_url(f"{url}&{BOUND}"))
        Connection(parse_database_url(f"{url}&sslmode=require")).close()


def test_a_server_that_lets_anybody_in_is_none_that_the_log_in_is_bound_to(
    database_url: str, short_folder: Path
) -> None:
    with (
        tls_in_front_of(database_url, short_folder) as url,
        pytest.raises(LedgerUnavailableError, match="SCRAM-SHA-256-PLUS"),
    ):
        Connection(parse_database_url(f"{url}&{BOUND}"))


@pytest.mark.parametrize(("options", "given"), [("sslmode=require", ["hunter2"]), (BOUND, [])])
def test_a_password_that_is_asked_for_in_clear_text_is_not_given_where_the_log_in_must_be_bound(
    short_folder: Path, options: str, given: list[str]
) -> None:
    tls, authority = certificate(short_folder, "localhost")
    passwords: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=keep_passwords, args=(listener, tls, passwords), daemon=True).start()
        url = f"postgresql://anna:hunter2@localhost:{listener.getsockname()[1]}/ledger?sslrootcert={authority}"
        with pytest.raises(LedgerUnavailableError):
            Connection(parse_database_url(f"{url}&{options}"))
        listener.shutdown(socket.SHUT_RDWR)
    assert passwords == given


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(password_url: str) -> None:
    with pytest.raises(LedgerUnavailableError, match="does not offer TLS"):
        Connection(parse_database_url(f"{password_url}?sslmode=require"))


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer"])
def test_this_machine_is_spoken_to_in_clear_text(password_url: str, sslmode: str) -> None:
    Connection(parse_database_url(f"{password_url}?sslmode={sslmode}")).close()


@pytest.mark.parametrize("name", ["nowhere.pem", "empty.pem"])
def test_a_file_of_authorities_that_cannot_be_read_is_named(short_folder: Path, name: str) -> None:
    (short_folder / "empty.pem").touch()
    address = parse_database_url(f"postgresql://anna@db.example/ledger?sslrootcert={short_folder / name}")
    with pytest.raises(LedgerUnavailableError, match=f"sslrootcert=.*{name} cannot be read"):
        Connection(address)


def test_options_reach_the_server(database_url: str) -> None:
    address = parse_database_url(f"{database_url}&options=-c%20search_path%3Dapart%20--geqo%3Doff")
    with closing(Connection(address)) as opened:
        wanted = "SELECT current_setting('search_path'), current_setting('geqo')"
        assert opened.run(wanted, {}) == [["apart", "off"]]


def test_options_put_the_ledger_into_a_schema(new_database: Callable[[], str]) -> None:
    plain = new_database()
    with closing(Connection(parse_database_url(plain))) as opened:
        opened.run("CREATE SCHEMA apart", {})
        upgrade(f"{plain}&options=-c%20search_path%3Dapart")
        tables = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('predictions', 'alembic_version')"
        assert opened.run(tables, {}) == [["apart"]]
    with closing(Ledger.at(f"{plain}&options=-c%20search_path%3Dapart")) as ledger:
        ledger.ping()


def test_options_may_set_nothing_that_the_ledger_sets(database_url: str) -> None:
    with closing(Connection(parse_database_url(database_url))) as opened:
        own = opened.run("SELECT name FROM pg_settings WHERE source = 'client' AND name <> 'application_name'", {})
    assert ["statement_timeout"] in own
    for (name,) in own:
        for setting in (f"-c {name}=1", f"-c{name.upper()}=1", f"--{name.replace('_', '-')}=1"):
            with pytest.raises(DatabaseUrlError, match=r"which the ledger sets"):
                parse_database_url(f"{database_url}&options=-c%20geqo%3Doff%20{quote(setting)}")


@pytest.mark.parametrize(("option", "shown"), [("", "onnx-ledger"), ("&application_name=clinic", "clinic")])
def test_the_server_shows_whose_connection_it_is(database_url: str, option: str, shown: str) -> None:
    with closing(Connection(parse_database_url(database_url + option))) as opened:
        assert opened.run("SELECT current_setting('application_name')", {}) == [[shown]]


@pytest.mark.parametrize("kind", [NativeSession, DbapiSession])
def test_a_server_that_cannot_be_written_to_is_refused_where_the_url_says_so(
    new_database: Callable[[], str], query: Query, kind: type[NativeSession | DbapiSession]
) -> None:
    url = new_database()
    name = parse_database_url(url).database
    query(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for wanted in ("any", "primary"):
        session, _ = login.start_session(kind, parse_database_url(f"{url}&target_session_attrs={wanted}"))
        session.close()
    with pytest.raises(LedgerUnavailableError, match="target_session_attrs=read-write") as refused:
        login.start_session(kind, parse_database_url(f"{url}&target_session_attrs=read-write"))
    # While the error is alive, so is what pg8000 has opened.
    assert soon(lambda: query("SELECT count(*) FROM pg_stat_activity WHERE datname = :name", name=name) == [[0]])
    assert refused


@pytest.mark.parametrize("wanted", ["primary", "read-write"])
def test_a_standby_is_refused_where_the_url_wants_the_primary(wanted: str) -> None:
    with pytest.raises(LedgerUnavailableError, match=f"target_session_attrs={wanted}"):
        login._refuse_standby({"in_hot_standby": "on", "default_transaction_read_only": "off"}, wanted)


@pytest.mark.parametrize(("own", "option"), [(3600.0, "1"), (0.1, "3600"), (0.1, "0")])
def test_a_connect_timeout_can_be_shortened_and_not_lengthened(
    monkeypatch: pytest.MonkeyPatch, own: float, option: str
) -> None:
    monkeypatch.setattr(login, "CONNECT_TIMEOUT", own)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://anna@127.0.0.1:{silent.getsockname()[1]}/ledger?sslmode=require&connect_timeout={option}"
        with pytest.raises(LedgerUnavailableError, match="timed out"):
            Connection(parse_database_url(url))


def test_what_is_no_postgresql_at_all_is_said_to_be_none(short_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_folder / ".s.PGSQL.5432"))
        listener.listen()

        def greet() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(b"J\0\0\0\n8.0.36\0")  # as MySQL does
                client.recv(1024)

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(LedgerUnavailableError, match="does not speak its protocol"):
            Connection(parse_database_url(f"postgresql://anna@/ledger?host={short_folder}"))


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
        with pytest.raises(LedgerUnavailableError, match=r"CERTIFICATE_VERIFY_FAILED.*as sslrootcert"):
            Connection(parse_database_url(url))


def test_a_certificate_for_another_name_is_refused(database_url: str, short_folder: Path) -> None:
    context, authority = certificate(short_folder, "db.example")
    with Proxy(parse_database_url(database_url), short_folder, tls=context) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(LedgerUnavailableError, match=r"CERTIFICATE_VERIFY_FAILED.*a name that the certificate has"):
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
            if received.read(1) != b"p":
                continue
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
