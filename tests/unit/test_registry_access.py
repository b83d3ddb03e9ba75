"""Who may do what in the registry, by token: the rules. `tests/contract/test_registry_tokens.py` has the API."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Any, Final

import pytest

from services.registry.access import (
    RETRY_WINDOW,
    Access,
    ForbiddenError,
    Scope,
    Standing,
    UnauthenticatedError,
    require_guard,
    terms_of,
)
from services.registry.domain import Known, Terms
from services.registry.settings import RegistrySettings
from shared.errors import StartupError
from shared.tokens import DerivedTokens, authorization, bearer, is_one_of

KEY: Final = "the-key-of-tokens-0123456789abcdef"
OLD_KEY: Final = "the-key-before-it-0123456789abcdef"
OTHER_KEY: Final = "a-key-that-is-not-known-0123456789"
READ, OPERATE, ADMIN = "read-01234567890", "operate-01234567890", "admin-01234567890"
OTHER_READ: Final = "other-read-01234567890"
REGISTER, OLD_REGISTER = "register-01234567890", "old-register-01234567890"
SERVICE, OLD_SERVICE = "service-01234567890", "old-service-01234567890"
STRANGE: Final = "strange-01234567890"
HERE, ELSEWHERE = "http://here:1", "http://elsewhere:1"
ALL: Final[dict[str, Any]] = {
    "operator_tokens": f"read:{READ}, operate:{OPERATE} admin:{ADMIN}\nread:{OTHER_READ}",
    "registration_tokens": f"{OLD_REGISTER},{REGISTER}",
    "service_tokens": f"{OLD_SERVICE},{SERVICE}",
    "pull_token_keys": f"{KEY},{OLD_KEY}",
}


def access(**changes: Any) -> Access:
    """With all kinds of tokens, but for the changes."""
    return Access(RegistrySettings.model_validate({**ALL, **changes}))


LONG_AGO: Final = timedelta(days=1)


def known(*, url: str = HERE, since_told: timedelta | None = LONG_AGO) -> Known:
    """A user who is registered."""
    return Known(generation=7, client_url=url, since_told=since_told)


@pytest.mark.parametrize(
    ("token", "most"),
    [
        (READ, Scope.READ),
        (OTHER_READ, Scope.READ),
        (OPERATE, Scope.OPERATE),
        (ADMIN, Scope.ADMIN),
        (None, 0),
        ("", 0),
        (REGISTER, 0),
        (SERVICE, 0),
        (KEY, 0),
        (ADMIN[:-1], 0),
        (ADMIN + "0", 0),
        (ADMIN.upper(), 0),
        ("ä" * 16, 0),
        ("\ud800", 0),
    ],
)
@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_opens_itself_and_those_before_it(token: str | None, most: int, scope: Scope) -> None:
    """And nothing else does."""
    if scope <= most:
        access().require_operator(token, scope)
        return
    with pytest.raises(ForbiddenError if most else UnauthenticatedError, match=scope.name.lower()):
        access().require_operator(token, scope)


def test_without_operators_tokens_everybody_is_one() -> None:
    """Whatever else is set."""
    access(operator_tokens="").require_operator(None, Scope.ADMIN)


@pytest.mark.parametrize("token", [None, "", STRANGE, READ, ADMIN, REGISTER])
def test_claims_take_a_services_token(token: str | None) -> None:
    """Not even an administrator's will do: a claim hides clients from the pullers."""
    access().require_service(SERVICE)
    with pytest.raises(UnauthenticatedError):
        access().require_service(token)
    access(service_tokens="").require_service(token)


def test_a_client_may_what_is_its_own() -> None:
    """By its token, or that of the key before; not by another's, and not by one of a registration that was removed."""
    ours = access()
    for key in (KEY, OLD_KEY):
        ours.require_owner(DerivedTokens([key]).for_client("ash", 7), Scope.READ, user_id="ash", generation=7)
    wrong = [DerivedTokens([KEY]).for_client(*of) for of in (("misty", 7), ("ash", 8))]
    for token in [*wrong, DerivedTokens([OTHER_KEY]).for_client("ash", 7), None, REGISTER, SERVICE]:
        with pytest.raises(UnauthenticatedError):
            ours.require_owner(token, Scope.READ, user_id="ash", generation=7)
    ours.require_owner(READ, Scope.READ, user_id="ash", generation=7)
    with pytest.raises(ForbiddenError):
        ours.require_owner(READ, Scope.OPERATE, user_id="ash", generation=7)


def test_nobody_owns_a_user_who_is_not_known() -> None:
    """So that whoever has no token does not learn who is registered."""
    token = DerivedTokens([KEY]).for_client("ash", 0)
    with pytest.raises(UnauthenticatedError):
        access().require_owner(token, Scope.READ, user_id="ash", generation=None)
    access().require_owner(READ, Scope.READ, user_id="ash", generation=None)


OWN: Final = DerivedTokens([KEY]).for_client("ash", 7)
OLD: Final = DerivedTokens([OLD_KEY]).for_client("ash", 7)
FRESH: Final = RETRY_WINDOW - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("token", "before", "url", "standing"),
    [
        # Who is not known yet.
        (REGISTER, None, HERE, Standing.NEWCOMER),
        (OPERATE, None, HERE, Standing.OPERATOR),
        (ADMIN, None, HERE, Standing.OWNER),
        # Himself, wherever he is now.
        (OWN, known(), ELSEWHERE, Standing.OWNER),
        (OLD, known(), ELSEWHERE, Standing.OWNER),
        (OPERATE, known(), ELSEWHERE, Standing.OPERATOR),
        (ADMIN, known(), ELSEWHERE, Standing.OWNER),
        # Says again where he is: who was never told a token, whose answer was lost, and a client that lost its memory.
        (REGISTER, known(since_told=None), HERE, Standing.NEWCOMER),
        (REGISTER, known(since_told=FRESH), HERE, Standing.NEWCOMER),
        (REGISTER, known(), HERE, Standing.STRANGER),
    ],
)
def test_who_may_register(token: str, before: Known | None, url: str, standing: Standing) -> None:
    """And as what."""
    assert access().require_registration(token, "ash", url, before) is standing


@pytest.mark.parametrize(
    ("standing", "is_client", "terms"),
    [
        (Standing.OWNER, False, Terms(tells=True)),
        (Standing.OPERATOR, True, Terms()),
        (Standing.NEWCOMER, True, Terms(tells=True, tells_first=True)),
        (Standing.NEWCOMER, False, Terms()),
        (Standing.STRANGER, True, Terms(changes=False)),
    ],
)
def test_who_is_told_a_clients_tokens(standing: Standing, is_client: bool, terms: Terms) -> None:  # noqa: FBT001 - a column
    """A newcomer only if the client has shown that it is he who asks: others may know its address, too."""
    assert terms_of(standing, is_client) == terms


@pytest.mark.parametrize(
    ("token", "before", "url", "error"),
    [
        (None, None, HERE, UnauthenticatedError),
        (STRANGE, None, HERE, UnauthenticatedError),
        (OWN, None, HERE, UnauthenticatedError),
        (READ, None, HERE, UnauthenticatedError),
        (SERVICE, None, HERE, UnauthenticatedError),
        (None, known(), HERE, UnauthenticatedError),
        (DerivedTokens([KEY]).for_client("misty", 7), known(), HERE, UnauthenticatedError),
        # Another device that has the registration token may not take over a user.
        (REGISTER, known(), ELSEWHERE, ForbiddenError),
        (REGISTER, known(since_told=FRESH), ELSEWHERE, ForbiddenError),
    ],
)
def test_who_may_not_register(token: str | None, before: Known | None, url: str, error: type[Exception]) -> None:
    """A takeover least of all."""
    with pytest.raises(error):
        access().require_registration(token, "ash", url, before)


def test_without_a_registration_token_a_takeover_is_refused_all_the_same() -> None:
    """Whoever is not known may register; who is, is protected by his own token."""
    ours = access(registration_tokens="")
    assert ours.require_registration(None, "ash", HERE, None) is Standing.NEWCOMER
    with pytest.raises(ForbiddenError):
        ours.require_registration(None, "ash", ELSEWHERE, known())


def test_without_derived_tokens_whoever_may_register_may_move() -> None:
    """There is nothing by which a client could prove who it is."""
    ours = access(pull_token_keys="")
    assert ours.require_registration(REGISTER, "ash", ELSEWHERE, known()) is Standing.NEWCOMER


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_without_tokens_it_may_listen_to_this_machine(host: str) -> None:
    """As a developer starts it."""
    require_guard(RegistrySettings(registry_host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "registry.example.org"])
def test_without_tokens_it_listens_to_nobody_else(host: str) -> None:
    """Unless tokens are set, or anonymity is asked for by name."""
    with pytest.raises(StartupError, match="OPERATOR_TOKENS"):
        require_guard(RegistrySettings(registry_host=host))
    require_guard(RegistrySettings(registry_host=host, registry_anonymous=True))
    require_guard(RegistrySettings.model_validate({**ALL, "registry_host": host}))


@pytest.mark.parametrize("missing", ["service_tokens", "pull_token_keys"])
def test_operators_tokens_alone_are_no_guard(missing: str) -> None:
    """Claims would stand open, or users be taken over."""
    with pytest.raises(StartupError, match=missing.upper()):
        require_guard(RegistrySettings.model_validate({**ALL, missing: ""}))


@pytest.mark.parametrize(
    ("one", "other", "secret"),
    [("REGISTRATION_TOKENS", "PULL_TOKEN_KEYS", KEY), ("SERVICE_TOKENS", "OPERATOR_TOKENS", ADMIN)],
)
def test_no_secret_is_another_one_as_well(one: str, other: str, secret: str) -> None:
    """Every device has the registration token: were it the key, too, each could make everybody's tokens."""
    with pytest.raises(StartupError, match=f"{one} and {other}|{other} and {one}"):
        require_guard(RegistrySettings.model_validate({**ALL, one.lower(): secret}))
    require_guard(RegistrySettings.model_validate(ALL))


@pytest.mark.parametrize("name", ["service_tokens", "pull_token_keys", "registration_tokens"])
def test_tokens_that_would_protect_nothing_are_refused(name: str) -> None:
    """Everybody would be an operator all the same; not even anonymity makes that a good idea."""
    with pytest.raises(StartupError, match=name.upper()):
        require_guard(RegistrySettings.model_validate({name: ALL[name], "registry_anonymous": True}))


@pytest.mark.parametrize(
    "bad",
    [
        {"operator_tokens": READ},
        {"operator_tokens": "read:short"},
        {"operator_tokens": f"root:{READ}"},
        {"operator_tokens": f"READ:{READ}"},
        {"registration_tokens": "short"},
        {"service_tokens": f"{SERVICE},short"},
        {"service_tokens": "a" * 40},
        {"operator_tokens": f"read:{'abc' * 10}"},
        {"pull_token_keys": KEY[:31]},
        {"pull_token_keys": "short"},
        {"service_tokens": "not ASCII: ü" * 3},
        {"operator_tokens": "read:" + "ü" * 20},
    ],
)
def test_tokens_that_can_be_guessed_are_refused(bad: dict[str, str]) -> None:
    """And the error says where good ones come from."""
    with pytest.raises(ValueError, match="token_urlsafe"):
        RegistrySettings.model_validate(bad)


def test_settings_do_not_show_their_secrets() -> None:
    """Whoever logs them shows none."""
    shown = repr(RegistrySettings.model_validate(ALL))
    assert not any(secret in shown for secret in (READ, ADMIN, REGISTER, SERVICE, KEY, OLD_KEY))


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        (["Bearer abc"], "abc"),
        (["bearer  abc "], "abc"),
        (["Basic abc"], None),
        (["Bearer"], None),
        (["Bearer "], None),
        (["abc"], None),
        (["Bearer abc", "Bearer def"], None),
    ],
)
def test_a_bearer_token_is_read_from_its_header(headers: list[str], token: str | None) -> None:
    """Of two headers neither counts: proxies differ in which one they would take."""
    assert bearer(headers) == token


def test_tokens_are_of_one_user_one_generation_and_one_use() -> None:
    """Nor can two pairs be written so that they give the same."""
    tokens = DerivedTokens([KEY])
    of = (("ash", 1), ("ash", 2), ("misty", 1), ("1\0ash", 1), ("ash", 11), ("1ash", 1))
    seen = [tokens.for_client(*one) for one in of]
    seen += [tokens.for_pulls(*one, url) for one in of for url in (HERE, ELSEWHERE, f"{HERE}/ash")]
    assert len(set(seen)) == len(seen)
    assert {token.partition("_")[0] for token in seen} == {"pull", "client"}
    assert all(len(token.partition("_")[2]) == 43 for token in seen)
    assert tokens.for_pulls("ash", 1, HERE) == DerivedTokens([KEY, OLD_KEY]).for_pulls("ash", 1, HERE)
    assert tokens.for_pulls("ash", 1, HERE) != DerivedTokens([OLD_KEY]).for_pulls("ash", 1, HERE)
    assert authorization(seen[0]) == {"authorization": f"Bearer {seen[0]}"}
    assert authorization(None) == {}
    assert not is_one_of("", [])
    assert tokens.fingerprint == DerivedTokens([KEY, OLD_KEY]).fingerprint != DerivedTokens([OLD_KEY]).fingerprint


def test_every_known_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By digests of one length, and to the end, also after the right one."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    assert is_one_of(READ, [READ, OPERATE, ADMIN])
    assert len(compared) == 3
    assert {len(digest) for pair in compared for digest in pair} == {32}


def test_what_a_puller_shows_does_not_speak_for_the_client() -> None:
    """Whoever answers at an address that was the client's hears it."""
    heard = DerivedTokens([KEY]).for_pulls("ash", 7, HERE)
    with pytest.raises(UnauthenticatedError):
        access().require_owner(heard, Scope.READ, user_id="ash", generation=7)
    with pytest.raises(UnauthenticatedError):
        access().require_registration(heard, "ash", ELSEWHERE, known())
