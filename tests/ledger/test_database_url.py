import pytest

from functions.shared.ledger.database_url import parse_database_url
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


@pytest.mark.parametrize("host", ["db.example", "db", "host.docker.internal", "10.0.0.7", "[fd00::7]", "8.8.8.8"])
@pytest.mark.parametrize("sslmode", ["", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_another_machine_is_verified_whatever_the_mode(host: str, sslmode: str) -> None:
    assert parse_database_url(f"postgresql://anna@{host}/ledger" + f"?sslmode={sslmode}" * bool(sslmode)).verify_tls


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_this_machine_is_verified_on_request_only(host: str) -> None:
    for mode in ("?", "?sslmode=disable", "?sslmode=allow", "?sslmode=prefer"):
        assert not parse_database_url(f"postgresql://anna@{host}/ledger{mode.rstrip('?')}").verify_tls
    for mode in ("require", "verify-ca", "verify-full"):
        assert parse_database_url(f"postgresql://anna@{host}/ledger?sslmode={mode}").verify_tls


@pytest.mark.parametrize("host", ["172.17.0.1", "192.168.1.7", "[fd00::7]", "host.docker.internal", "postgres"])
def test_a_private_network_is_spoken_to_in_clear_text_where_that_is_written(host: str) -> None:
    assert not parse_database_url(f"postgresql://anna@{host}/ledger?sslmode=disable").verify_tls


@pytest.mark.parametrize("host", ["db.example", "8.8.8.8", "[2001:4860:4860::8888]", "internal.example"])
def test_the_internet_is_not(host: str) -> None:
    with pytest.raises(DatabaseUrlError, match="sslmode=disable would send everything in clear text"):
        parse_database_url(f"postgresql://anna@{host}/ledger?sslmode=disable")


@pytest.mark.parametrize(
    ("option", "ca_file"), [("/etc/rds.pem", "/etc/rds.pem"), ("/c++/a b.pem", "/c++/a b.pem"), ("system", None)]
)
def test_a_file_of_authorities_to_trust_can_be_named(option: str, ca_file: str | None) -> None:
    assert parse_database_url(f"postgresql://a@db.example/ledger?sslrootcert={option}").ca_file == ca_file


@pytest.mark.parametrize(
    "shown",
    [
        "postgresql://alex:hunter2@ep-cool-a1b2.us-east-2.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
        "postgresql://alex:hunter2@ep-cool-a1b2.us-east-2.aws.neon.tech/neondb?options=endpoint%3Dep-cool-a1b2",
        "postgresql://postgres:hunter2@db.abcdef.supabase.co:5432/postgres",
        "postgres://postgres.abcdef:hunter2@aws-0-eu-central-1.pooler.supabase.com:5432/postgres?supa=base-pooler.x",
        "postgres://u7:hunter2@ec2-3-4-5-6.compute-1.amazonaws.com:5432/d7",
        "postgresql://ledger:hunter2@dpg-abc-a.oregon-postgres.render.com/ledger",
        "postgresql://ledger:hunter2@dpg-abc-a/ledger",
        "postgresql://ledger:hunter2@one.abc.eu-central-1.rds.amazonaws.com:5432/ledger?sslrootcert=/opt/rds.pem",
        "postgresql://anna%40one:hunter2@one.postgres.database.azure.com:5432/ledger?sslmode=require",
        "postgres://avnadmin:hunter2@pg-1-one.aivencloud.com:12691/defaultdb?sslmode=require",
        "postgresql://doadmin:hunter2@db-1.db.ondigitalocean.com:25060/defaultdb?sslmode=require&connect_timeout=10",
        "postgresql://anna:hunter2@/ledger?host=/cloudsql/project:europe-west1:one",
    ],
)
def test_what_providers_show_to_copy_is_taken(shown: str) -> None:
    address = parse_database_url(shown)
    assert address.password == "hunter2"
    assert address.verify_tls == (address.socket_directory is None)
    assert address.prepared


@pytest.mark.parametrize(
    "shown",
    [
        "postgresql://alex:hunter2@ep-cool-a1b2-pooler.us-east-2.aws.neon.tech/neondb?sslmode=require",
        "postgres://postgres.abcdef:hunter2@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
        "postgresql://postgres:hunter2@db.abcdef.supabase.co:6543/postgres?pgbouncer=true",
        "postgresql://anna:hunter2@db.example:6432/ledger?pgbouncer=true",
    ],
)
def test_the_poolers_that_providers_show_to_copy_are_known(shown: str) -> None:
    assert not parse_database_url(shown).prepared


def test_what_the_url_says_about_the_session_is_kept() -> None:
    address = parse_database_url(
        "postgresql://anna@db.example/ledger?connect_timeout=3&application_name=clinic%207&target_session_attrs=primary"
        "&options=-c%20search_path%3Dapart&channel_binding=require"
    )
    assert (address.connect_timeout, address.application_name) == (3, "clinic 7")
    assert (address.target_session_attrs, address.options) == ("primary", "-c search_path=apart")
    assert address.channel_binding_required


def test_the_log_in_need_not_be_bound_unless_the_url_says_so() -> None:
    for option in ("", "?channel_binding=prefer"):
        assert not parse_database_url(f"postgresql://anna@db.example/ledger{option}").channel_binding_required


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
        ("postgresql://anna:hunter2@db.example/ledger?sslmode=sometimes", "sometimes"),
        ("postgresql://anna:hunter2@db.example/ledger?pool=9", "'pool'"),
        ("postgresql://anna:hunter2@db.example/ledger?port=x", "port"),
        ("postgresql://anna:hunter2@db.example/ledger?port=²", "port"),
        ("postgresql://anna:hunter2@db.example/ledger?port=70000", "port"),
        ("postgresql://anna:hunter2@db.example:70000/ledger", "not a URL"),
        ("postgresql://anna:12?hunter2=x@db.example/ledger", "user"),
        ("postgresql://anna:hunter2#x@db.example/ledger", "percent-encoded"),
        ("postgresql://anna:hunter2@one.example,two.example/ledger", "name one"),
        ("postgresql://anna:hunter2@one.example:5432,two.example:5432/ledger", "name one"),
        (f"postgresql://anna:hunter2@{'x' * 64}.example/ledger", "no host has the name"),
        ("psql 'postgresql://anna:hunter2@db.example/ledger'", "must start with postgresql://"),
        ("jdbc:postgresql://db.example/ledger?user=anna&password=hunter2", "must start with postgresql://"),
        ("postgresql+psycopg2://anna:hunter2@db.example/ledger", "must start with postgresql://"),
        ("postgresql://anna:hunter2@db.example/ledger?ssl=true", "write sslmode=require"),
        ("postgresql://anna:hunter2@db.example/ledger?schema=apart", "search_path"),
        ("postgresql://anna:hunter2@db.example/ledger?connection_limit=1", "leave it out"),
        ("postgresql://anna:hunter2@db.example/ledger?sslcert=/a.pem", "password or auth=iam"),
        ("postgresql://anna:hunter2@db.example/ledger?keepalives=1", "leave it out"),
        ("postgresql://anna:hunter2@db.example/ledger?connect_timeout=soon", "connect_timeout"),
        ("postgresql://anna:hunter2@db.example/ledger?connect_timeout=-1", "connect_timeout"),
        ("postgresql://anna:hunter2@db.example/ledger?channel_binding=disable", "leave it out"),
        ("postgresql://anna:hunter2@db.example/ledger?channel_binding=maybe", "known are prefer, require"),
        ("postgresql://anna:hunter2@localhost/ledger?channel_binding=require", "needs TLS"),
        ("postgresql://anna:hunter2@/ledger?host=/run&channel_binding=require", "needs TLS"),
        ("postgresql://anna:hunter2@db/ledger?channel_binding=require&sslmode=disable", "needs TLS"),
        ("postgresql://anna:hunter2@db.example/ledger?target_session_attrs=standby", "name the primary's host"),
        ("postgresql://anna:hunter2@db.example/ledger?target_session_attrs=master", "known are any, read-write"),
        ("postgresql://anna:hunter2@db.example/ledger?options=-c%20statement_timeout%3D0", "which the ledger sets"),
        ("postgresql://anna:hunter2@db.example/ledger?pgbouncer=yes", "known are true, false"),
        ("postgresql://anna:hunter2@/ledger?host=/run&sslmode=sometimes", "sometimes"),
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
