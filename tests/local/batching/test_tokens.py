"""The server that batches verifies tokens itself: by the issuer's keys, whether it answers or not."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, RSAKey

from local.batching import tokens
from local.batching.settings import TokenSettings
from local.batching.tokens import InvalidTokenError, KeysUnavailableError, Verifier, problem
from local.errors import CannotServeError
from local.gateway.issuer import AUDIENCE, ISSUER, Issuer, make_issuer
from tests.support.tokens import FORGERIES, OTHER_KEY, IssuerServer, Key, claims, signed

KEY = RSAKey.generate_key(2048)
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

Run = Callable[[Awaitable[object]], object]


@pytest.fixture
def run() -> Iterator[Callable[[Awaitable[tokens.Claims]], tokens.Claims]]:
    """Runs a coroutine; all those of a test in one event loop."""
    with asyncio.Runner() as runner:

        def run(what: Awaitable[tokens.Claims]) -> tokens.Claims:
            async def wait() -> tokens.Claims:
                return await what

            return runner.run(wait())

        yield run


@pytest.fixture
def issuer() -> Iterator[IssuerServer]:
    """An issuer that publishes `KEY`."""
    with IssuerServer(KEY) as server:
        yield server


def verifier(issuer: IssuerServer, **limits: float) -> Verifier:
    settings = TokenSettings(issuer.url, (AUDIENCE, "operators"))
    return Verifier(settings, **{"pause_seconds": 0, **limits})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of a local issuer."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def local_issuer(home: Path) -> Issuer:
    """A local issuer, once a module: its key takes half a second to make, and 40 ms to read."""
    return make_issuer(home)


@pytest.fixture(scope="module")
def local_key(home: Path, local_issuer: Issuer) -> RSAKey:
    """The local issuer's key."""
    assert local_issuer is not None
    return RSAKey.import_key((home / "issuer.pem").read_bytes())


@pytest.fixture
def local_verifier(home: Path, local_issuer: Issuer) -> Verifier:
    """A verifier of the tokens that `python -m local token` prints."""
    return Verifier(TokenSettings(ISSUER, (AUDIENCE,), local_issuer.publish(home)))


def test_a_token_of_the_local_issuer_says_what_its_claims_say(
    local_verifier: Verifier, local_issuer: Issuer, run: Run
) -> None:
    token = local_issuer.token("anna", 60, ["predictions:read-all"])
    found = run(local_verifier.claims(token))
    assert isinstance(found, dict)
    assert (found["sub"], found["iss"], found["aud"]) == ("anna", ISSUER, AUDIENCE)
    assert found["scope"] == "openid predictions:read-all"
    assert found["exp"] == str(int(found["iat"]) + 60)


def test_only_the_public_key_is_published(tmp_path: Path, local_issuer: Issuer) -> None:
    url = local_issuer.publish(tmp_path)
    [key] = json.loads(Path(url.removeprefix("file://")).read_text())["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_token_is_refused(forgery: str, local_verifier: Verifier, local_key: RSAKey, run: Run) -> None:
    with pytest.raises(InvalidTokenError):
        run(local_verifier.claims(FORGERIES[forgery](local_key)))


def test_what_the_forgeries_are_made_of_is_good(local_verifier: Verifier, local_key: RSAKey, run: Run) -> None:
    assert run(local_verifier.claims(signed(claims(), local_key)))


def test_a_token_that_is_too_long_is_refused(local_verifier: Verifier, local_key: RSAKey, run: Run) -> None:
    run(local_verifier.claims(signed(claims(text="x" * 10_000), local_key)))
    with pytest.raises(InvalidTokenError, match="longer than 16384"):
        run(local_verifier.claims(signed(claims(text="x" * 20_000), local_key)))


@pytest.mark.parametrize("kind", ["logout+jwt", "secevent+jwt", "dpop+jwt"])
def test_a_token_for_another_purpose_is_refused(
    kind: str, local_verifier: Verifier, local_key: RSAKey, run: Run
) -> None:
    with pytest.raises(InvalidTokenError):
        run(local_verifier.claims(signed(claims(), local_key, typ=kind)))
    assert run(local_verifier.claims(signed(claims(), local_key, typ="application/at+JWT")))


@pytest.mark.parametrize("algorithm", tokens.ALGORITHMS)
def test_each_algorithm_of_a_private_key_is_accepted(algorithm: str, run: Run) -> None:
    key: Key = ECKey.generate_key(CURVES[algorithm]) if algorithm in CURVES else KEY
    with IssuerServer(key) as issuer:
        assert run(verifier(issuer).claims(signed(issuer.claims(), key, algorithm=algorithm)))


@pytest.mark.parametrize("members", [{"use": "enc"}, {"alg": "RS512"}, {"key_ops": ["encrypt"]}])
def test_a_key_for_something_else_verifies_nothing(issuer: IssuerServer, run: Run, members: dict[str, object]) -> None:
    issuer.publish(KEY, **members)
    with pytest.raises(InvalidTokenError):
        run(verifier(issuer).claims(signed(issuer.claims(), KEY)))


def test_a_short_rsa_key_and_a_secret_are_no_keys(issuer: IssuerServer, run: Run) -> None:
    secret: dict[str, object] = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    issuer.keys = [*issuer.keys, {**issuer.keys[0], "n": "AQAB", "kid": "short"}, secret, {"kid": "of no type"}]
    one = verifier(issuer)
    assert run(one.claims(signed(issuer.claims(), KEY)))
    for name in ("short", "secret", "of no type"):
        with pytest.raises(InvalidTokenError, match="the key that signed it"):
            run(one.claims(signed(issuer.claims(), KEY, kid=name)))


def test_a_token_that_names_no_key_is_verified_by_the_only_one(issuer: IssuerServer, run: Run) -> None:
    token = signed(issuer.claims(), KEY, kid=None)
    assert run(verifier(issuer).claims(token))
    issuer.publish(KEY, OTHER_KEY)
    with pytest.raises(InvalidTokenError, match="does not name the key"):
        run(verifier(issuer).claims(token))


def test_the_keys_are_found_by_discovery_and_fetched_once(issuer: IssuerServer, run: Run) -> None:
    one = verifier(issuer)
    for user in ("anna", "bob", "anna"):
        assert run(one.claims(signed(issuer.claims(sub=user), KEY)))
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_jwks_url_goes_before_discovery(issuer: IssuerServer, run: Run) -> None:
    settings = TokenSettings(issuer.url, (AUDIENCE,), f"{issuer.url}/elsewhere")
    assert run(Verifier(settings).claims(signed(issuer.claims(), KEY)))
    assert issuer.asked == ["/elsewhere"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://another.example"},
        {"jwks_uri": "http://keys.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"jwks_uri": 7},
    ],
    ids=str,
)
def test_a_discovery_document_of_another_or_that_leads_astray_gives_no_keys(
    issuer: IssuerServer, run: Run, wrong: dict[str, object]
) -> None:
    issuer.discovery = wrong
    with pytest.raises(KeysUnavailableError):
        run(verifier(issuer).claims(signed(issuer.claims(), KEY)))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": []}',
        b'{"keys": {}}',
        b"\xff",
        b'{"keys": [' + b"{}," * 100 + b"{}]}",
        b" " * 300_000,
    ],
    ids=range(8),
)
def test_what_is_no_key_set_or_too_large_gives_no_keys(run: Run, document: bytes) -> None:
    with IssuerServer(KEY) as issuer:
        issuer.document = document or b" "
        settings = TokenSettings(issuer.url, (AUDIENCE,), f"{issuer.url}/keys")
        with pytest.raises(KeysUnavailableError):
            run(Verifier(settings).claims(signed(issuer.claims(), KEY)))


def test_an_audience_may_be_one_of_several_on_both_sides(issuer: IssuerServer, run: Run) -> None:
    one = verifier(issuer)
    for audience in (AUDIENCE, "operators", ["another", "operators"]):
        assert run(one.claims(signed(issuer.claims(aud=audience), KEY)))


def test_client_id_stands_for_an_audience_that_is_not_there(issuer: IssuerServer, run: Run) -> None:
    one = verifier(issuer)
    assert run(one.claims(signed(issuer.claims(aud=None, client_id=AUDIENCE), KEY)))
    for audience, client in (("another", AUDIENCE), (None, "another")):
        with pytest.raises(InvalidTokenError):
            run(one.claims(signed(issuer.claims(aud=audience, client_id=client), KEY)))


def test_a_claim_that_is_no_text_is_made_one_as_api_gateway_does(issuer: IssuerServer, run: Run) -> None:
    token = signed(issuer.claims(scp=["openid", "x:y"], verified=True, level=1.5, nothing=None), KEY)
    found = run(verifier(issuer).claims(token))
    assert isinstance(found, dict)
    assert {name: found[name] for name in ("scp", "verified", "level", "nothing")} == {
        "scp": "[openid x:y]",
        "verified": "true",
        "level": "1.5",
        "nothing": "null",
    }


def test_the_issuers_clock_may_be_a_minute_off(issuer: IssuerServer, run: Run) -> None:
    now = int(time.time())
    one = verifier(issuer)
    for changed in ({"exp": now - 30}, {"nbf": now + 30}, {"iat": now + 30}):
        assert run(one.claims(signed(issuer.claims(**changed), KEY)))
        exact = Verifier(TokenSettings(issuer.url, (AUDIENCE,), clock_skew_seconds=0))
        with pytest.raises(InvalidTokenError):
            run(exact.claims(signed(issuer.claims(**changed), KEY)))
    for changed in ({"exp": now - 90}, {"nbf": now + 90}, {"iat": now + 90}):
        with pytest.raises(InvalidTokenError):
            run(one.claims(signed(issuer.claims(**changed), KEY)))


def test_a_new_key_of_the_issuer_is_fetched_when_a_token_names_it(issuer: IssuerServer, run: Run) -> None:
    one = verifier(issuer)
    run(one.claims(signed(issuer.claims(), KEY)))
    issuer.publish(KEY, OTHER_KEY)
    assert run(one.claims(signed(issuer.claims(), OTHER_KEY)))


def test_unknown_keys_make_it_ask_at_most_once_in_a_while(issuer: IssuerServer, run: Run) -> None:
    one = verifier(issuer, pause_seconds=600)
    run(one.claims(signed(issuer.claims(), KEY)))
    for _ in range(20):
        with pytest.raises(InvalidTokenError):
            run(one.claims(signed(issuer.claims(), OTHER_KEY)))
    assert issuer.asked.count("/keys") == 1


def test_tokens_that_arrive_together_ask_once(issuer: IssuerServer, run: Run) -> None:
    one = verifier(issuer)

    async def many() -> object:
        return await asyncio.gather(*(one.claims(signed(issuer.claims(sub=str(n)), KEY)) for n in range(10)))

    issuer.delay = 0.05
    run(many())
    assert issuer.asked.count("/keys") == 1


def test_a_token_of_another_issuer_does_not_make_it_ask(issuer: IssuerServer, run: Run) -> None:
    for forged in (signed(claims(), KEY), signed(issuer.claims(exp=1), KEY), "garbage"):
        with pytest.raises(InvalidTokenError):
            run(verifier(issuer).claims(forged))
    assert not issuer.asked


def test_a_client_that_hangs_up_does_not_end_what_others_wait_for(issuer: IssuerServer, run: Run) -> None:
    one = verifier(issuer)
    issuer.delay = 0.2

    async def two() -> object:
        first, second = (asyncio.create_task(one.claims(signed(issuer.claims(sub=who), KEY))) for who in "ab")
        await asyncio.sleep(0.05)
        first.cancel()
        return await second

    assert run(two())


def test_a_withdrawn_key_verifies_no_more_whatever_is_remembered(issuer: IssuerServer, run: Run) -> None:
    one = verifier(issuer)
    token = signed(issuer.claims(), KEY)
    run(one.claims(token))
    issuer.publish(OTHER_KEY)
    run(one.claims(signed(issuer.claims(), OTHER_KEY)))
    with pytest.raises(InvalidTokenError):
        run(one.claims(token))


def test_old_keys_are_fetched_again_while_tokens_go_on(issuer: IssuerServer, run: Run) -> None:
    one = verifier(issuer, fresh_seconds=0)
    token = signed(issuer.claims(), KEY)

    async def twice() -> object:
        await one.claims(token)
        issuer.publish(OTHER_KEY)
        await one.claims(token)  # remembered; this begins to fetch
        while len(issuer.asked) < 4:
            await asyncio.sleep(0.01)

        async def until_refused() -> None:
            """Verify it until the answer was read."""
            async with asyncio.timeout(30):
                while True:
                    await one.claims(token)
                    await asyncio.sleep(0.01)

        with pytest.raises(InvalidTokenError):
            await until_refused()
        return True

    assert run(twice())


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["down", "error", "slow", "nonsense"])
def test_without_the_issuer_known_keys_go_on_and_nobody_is_told_that_the_token_is_bad(
    fault: str, issuer: IssuerServer, run: Run
) -> None:
    knowing, ignorant = (verifier(issuer, fetch_seconds=2.0, fresh_seconds=fresh) for fresh in (0, 300))
    run(knowing.claims(signed(issuer.claims(), KEY)))
    token = signed(issuer.claims(sub="bob"), KEY)
    if fault == "down":
        issuer.__exit__(None, None, None)
    elif fault == "error":
        issuer.status = 500
    elif fault == "slow":
        issuer.delay = 4.0
    else:
        issuer.document = b"<html>"

    assert run(knowing.claims(token))
    with pytest.raises(KeysUnavailableError) as unknown_key:
        run(knowing.claims(signed(issuer.claims(), OTHER_KEY)))
    with pytest.raises(KeysUnavailableError):
        run(ignorant.claims(token))
    answer = problem(unknown_key.value)
    assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert int(answer.headers["Retry-After"]) >= 1

    if fault != "down":  # where it is back, tokens are verified again
        issuer.status, issuer.delay, issuer.document = 200, 0.0, None
        assert run(ignorant.claims(token))


@pytest.mark.slow
def test_a_token_is_verified_once_until_it_expires(issuer: IssuerServer, run: Run) -> None:
    settings = TokenSettings(issuer.url, (AUDIENCE,), clock_skew_seconds=0)
    one = Verifier(settings)
    expires = int(time.time()) + 5
    token = signed(issuer.claims(exp=expires), KEY)
    first = run(one.claims(token))
    assert run(one.claims(token)) is first
    time.sleep(expires + 0.1 - time.time())
    with pytest.raises(InvalidTokenError, match="expired"):
        run(one.claims(token))


def test_no_more_than_so_many_tokens_are_remembered(
    issuer: IssuerServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST_TOKENS", 3)
    one = verifier(issuer)
    made = [signed(issuer.claims(sub=str(number)), KEY) for number in range(5)]
    first = run(one.claims(made[0]))
    for token in made[1:]:
        last = run(one.claims(token))
    assert run(one.claims(made[4])) is last
    assert run(one.claims(made[0])) is not first


def test_a_token_that_is_not_valid_is_answered_401_with_the_reason(local_verifier: Verifier, run: Run) -> None:
    with pytest.raises(InvalidTokenError) as error:
        run(local_verifier.claims("garbage"))
    answer = problem(error.value)
    assert answer.status is HTTPStatus.UNAUTHORIZED
    assert answer.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    assert answer.detail == (
        "The token is not valid: it is not a signed JSON Web Token. Send a valid one as Authorization: Bearer …"
    )


GOOD = {"AUTH": "on", "ISSUER": "https://login.example.com", "AUDIENCE": "a, b"}


def test_settings_are_read_from_variables() -> None:
    assert TokenSettings.from_environment({}) is None
    assert TokenSettings.from_environment({**GOOD, "AUTH": "off"}) is None
    assert TokenSettings.from_environment(GOOD) == TokenSettings("https://login.example.com", ("a", "b"))
    more = {**GOOD, "JWKS_URL": "https://login.example.com/jwks", "CLOCK_SKEW_SECONDS": "0"}
    assert TokenSettings.from_environment(more) == TokenSettings(
        "https://login.example.com", ("a", "b"), "https://login.example.com/jwks", 0
    )
    for url in ("http://127.0.0.1:9000", "http://[::1]/x", "http://localhost"):
        assert TokenSettings.from_environment({**GOOD, "ISSUER": url}) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH", "maybe"),
        ("ISSUER", ""),
        ("ISSUER", "login.example.com"),
        ("ISSUER", "http://login.example.com"),
        ("ISSUER", "file:///issuer"),
        ("ISSUER", "https://"),
        ("ISSUER", "https://[x"),
        ("AUDIENCE", ""),
        ("AUDIENCE", " , "),
        ("JWKS_URL", "http://login.example.com/jwks"),
        ("JWKS_URL", "ftp://login.example.com/jwks"),
        ("JWKS_URL", "file:keys"),
        ("CLOCK_SKEW_SECONDS", "-1"),
        ("CLOCK_SKEW_SECONDS", "601"),
        ("CLOCK_SKEW_SECONDS", "1.5"),
        ("CLOCK_SKEW_SECONDS", "٣"),
    ],
)
def test_a_setting_that_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(CannotServeError, match=name):
        TokenSettings.from_environment({**GOOD, name: value})
