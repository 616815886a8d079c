"""The defaults of the settings, and errors that name the variable."""

from pathlib import Path

import pytest

import local.settings
from local.errors import CannotServeError
from local.settings import ROOT, Settings, cores, default_environments


def test_everything_has_a_default() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.ledger_home) == ("127.0.0.1", 3000, Path(".ledger"))
    assert settings.database_url is None
    assert settings.model == "model_artifacts/mnist"
    assert settings.template == ROOT / "template.yaml"
    assert 2 <= settings.environments == default_environments() <= 8


@pytest.mark.parametrize(
    ("own", "files", "number"),
    [
        ("0::/", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/", {"cpu.max": "max 100000\n"}, None),
        ("0::/", {"cpu.max": "100000000 100000\n"}, None),
        ("0::/", {}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
        ("0::/", {"cpu.max": "100000 0"}, None),
        ("0::/a.slice/b.service", {"a.slice/b.service/cpu.max": "max 100000", "a.slice/cpu.max": "90000 100000"}, 1),
        ("0::/of/the/host", {"cpu.max": "20000 100000"}, 1),
        ("4:cpu,cpuacct:/docker/1\n0::/", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ("4:cpu,cpuacct:/\n0::/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("4:cpuset:/\n0::/", {"cpu/cpu.cfs_quota_us": "10000", "cpu/cpu.cfs_period_us": "100000"}, None),
        (None, {"cpu.max": "50000 100000"}, None),
        ("nonsense", {"cpu.max": "50000 100000"}, None),
    ],
)
def test_a_container_has_no_more_cores_than_its_limit_leaves(
    own: str | None, files: dict[str, str], number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlimited = {"_OWN_CGROUPS": tmp_path / "none", "_CGROUPS": tmp_path / "none"}
    for name, path in unlimited.items():
        monkeypatch.setattr(local.settings, name, path)
    every = cores()
    if own is not None:
        (tmp_path / "own").write_text(own + "\n")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    monkeypatch.setattr(local.settings, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(local.settings, "_CGROUPS", tmp_path / "groups")
    assert cores() == (every if number is None else number)


def test_every_setting_is_read_from_its_variable() -> None:
    environment = {
        "HOST": "0.0.0.0",
        "ALLOWED_HOSTS": "ledger.example, console.example,",
        "PORT": "8080",
        "LEDGER_HOME": "/data",
        "DATABASE_URL": "postgresql://anna:secret@db/ledger",
        "MODEL": "s3://models/iris",
        "ENVIRONMENTS": "5",
        "TEMPLATE": "/other.yaml",
        "ISSUER_PORT": "3001",
        "TOKEN_SECONDS": "60",
    }
    expected = Settings(
        host="0.0.0.0",
        allowed_hosts=("ledger.example", "console.example"),
        port=8080,
        ledger_home=Path("/data"),
        database_url="postgresql://anna:secret@db/ledger",
        model="s3://models/iris",
        environments=5,
        template=Path("/other.yaml"),
        issuer_port=3001,
        token_seconds=60,
    )
    assert Settings.from_environment(environment) == expected


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    names = (
        "HOST",
        "ALLOWED_HOSTS",
        "PORT",
        "LEDGER_HOME",
        "DATABASE_URL",
        "MODEL",
        "ENVIRONMENTS",
        "TEMPLATE",
        "AUTH",
        "ISSUER_PORT",
        "TOKEN_SECONDS",
    )
    assert Settings.from_environment(dict.fromkeys(names, "")) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "http"), ("PORT", "-1"), ("PORT", "65536"), ("PORT", "³"), ("PORT", "1_0"), ("ENVIRONMENTS", "0")],
)
def test_a_number_that_is_none_or_is_out_of_range_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(CannotServeError, match=f"^{name}='{value}': it must be a whole number from "):
        Settings.from_environment({name: value})


def test_a_password_is_not_shown_with_the_settings() -> None:
    assert "secret" not in repr(Settings(database_url="postgresql://anna:secret@db/ledger"))


def test_tokens_are_those_of_the_local_issuer_unless_the_server_that_batches_has_another() -> None:
    other = {"ISSUER": "https://login.example.org"}
    for environment, own in (
        ({"AUTH": "on"}, True),
        ({"AUTH": "off"}, False),
        ({"AUTH": "on", "SERVER": "batching"}, True),
        ({"AUTH": "on", "SERVER": "batching", **other}, False),
        ({"AUTH": "on", **other}, True),
    ):
        assert Settings.from_environment(environment).has_own_issuer(environment) is own, environment
