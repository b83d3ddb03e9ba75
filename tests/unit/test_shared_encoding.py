"""Every message comes back as it was sent; whatever else the bytes are, it is one error with one sentence."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect
from msgspec.structs import replace

from dev.message_examples import EXAMPLES
from shared.contracts.claims import Claims
from shared.contracts.encoding import UnreadableMessageError, decoded, encoded
from shared.contracts.message_schemas import attribute_docstrings, schemas_of
from shared.contracts.messages import (
    CaptureBatch,
    Message,
    Outcome,
    Part,
    PullOutcome,
    PullRequested,
    PullSettled,
    PullTarget,
    ReplayQuarantined,
)

KINDS: Final[tuple[type[Message | Part], ...]] = (*Message.__subclasses__(), Claims)
OUTCOME: Final = PullOutcome(pull_id=UUID(int=1), user_id="user_1", outcome=Outcome.STORED)
TARGET: Final = PullTarget(
    pull_id=UUID(int=1), user_id="user_1", client_url="http://x", lease_expires_at=datetime(2026, 1, 31, tzinfo=UTC)
)
PARENT: Final = json.loads(encoded(PullSettled(outcomes=(OUTCOME,))))
BIG: Final = 10**30


def values(found: inspect.Type) -> st.SearchStrategy[Any]:
    """Whatever a field of this type may hold."""
    match found:
        case inspect.StructType(cls=kind, fields=fields):
            return st.builds(kind, **{field.name: values(field.type) for field in fields})
        case inspect.VarTupleType(item_type=item):
            return st.lists(values(item), max_size=3).map(tuple)
        case inspect.UnionType(types=types):
            return st.one_of(*map(values, types))
        case inspect.LiteralType(values=options) | inspect.EnumType(cls=options):
            return st.sampled_from(options)
        case inspect.FloatType(ge=least, le=most) if most is not None:
            return st.floats(least, most)
    return PLAIN[type(found)]


PLAIN: Final[dict[type[inspect.Type], st.SearchStrategy[Any]]] = {
    inspect.NoneType: st.none(),
    inspect.BoolType: st.booleans(),
    inspect.IntType: st.integers(-BIG, BIG),
    inspect.FloatType: st.floats(allow_nan=False, allow_infinity=False),
    inspect.StrType: st.text(st.characters(exclude_categories=["Cs"]), max_size=500),
    inspect.UUIDType: st.uuids(),
    inspect.DateTimeType: st.datetimes(timezones=st.just(UTC)),
}
MESSAGES: Final = st.one_of(*(values(inspect.type_info(kind)) for kind in KINDS))


def refusal(kind: type[msgspec.Struct], body: bytes) -> str:
    """What is said of these bytes."""
    with pytest.raises(UnreadableMessageError) as caught:
        decoded(kind, body)
    return str(caught.value)


def outcome_with(**fields: Any) -> bytes:
    """A message whose only outcome has these fields of its own."""
    return json.dumps({"outcomes": [{**PARENT["outcomes"][0], **fields}]}).encode()


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_an_example_comes_back(message: Message) -> None:
    """As the same message, from JSON that any parser reads."""
    assert decoded(type(message), encoded(message)) == message
    assert json.loads(encoded(message))["schema_version"] == 1


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_every_message_comes_back(message: Message) -> None:
    """Whatever its fields hold."""
    assert decoded(type(message), encoded(message)) == message


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda text: json.dumps(text).encode()))
def test_other_bytes_are_one_error(body: bytes) -> None:
    """Nothing else is ever raised."""
    for kind in KINDS:
        assert refusal(kind, body)


@settings(max_examples=300, deadline=None)
@given(MESSAGES, st.data())
def test_damaged_messages_are_a_message_or_one_error(message: Message, data: st.DataObject) -> None:
    """Wherever bytes are lost or others stand in their place."""
    body = encoded(message)
    begin = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(begin, min(len(body), begin + 4)))
    damaged = body[:begin] + data.draw(st.binary(max_size=4)) + body[end:]
    with suppress(UnreadableMessageError):
        assert isinstance(decoded(type(message), damaged), type(message))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b'{"outcomes": [', "truncated"),
        (b'{"outcomes": []} {}', "trailing"),
        (b"\xef\xbb\xbf{}", "invalid character"),
        (b"null", "Expected `object`, got `null`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "`outcomes`"),
        (b'{"outcomes": [], "later": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"outcomes": [], "later": "\\ud800"}', "malformed|truncated"),
        (b'{"outcomes": [], "later": NaN}', "invalid character"),
        (outcome_with(user_id="@").replace(b"@", b"\xff"), "not UTF-8"),
        (outcome_with(user_id="@").replace(b"@", b"\xed\xa0\x80"), "not UTF-8"),
        (outcome_with(user_id="\ud800"), "malformed|truncated"),
        (outcome_with(user_id="\udc00"), "surrogate"),
        (outcome_with(user_id=1), "Expected `str`, got `int`"),
        (outcome_with(user_id=None), "Expected `str`, got `null`"),
        (outcome_with(stored="1"), "Expected `int`, got `str`"),
        (outcome_with(stored=1.5), "Expected `int`, got `float`"),
        (outcome_with(stored="@").replace(b'"@"', b"9" * 5_000), "out of range"),
        (outcome_with(duration_s="@").replace(b'"@"', b"1e999"), "out of range"),
        (outcome_with(duration_s=float("nan")), "invalid character"),
        (outcome_with(outcome="lost"), "Invalid enum value 'lost'"),
        (outcome_with(pull_id="1"), "Invalid UUID"),
        (outcome_with(error="x" * 501), "length <= 500"),
    ],
)
def test_what_is_refused_is_said(body: bytes, said: str) -> None:
    """In a sentence that names what is wrong, without a stack of causes."""
    text = refusal(PullSettled, body)
    assert re.search(said, text)
    assert "\n" not in text


@pytest.mark.parametrize("version", [0, 2, "1", 1.5, True, None])
def test_another_version_is_refused(version: object) -> None:
    """A field may mean something else there."""
    for message in EXAMPLES:
        body = json.dumps({**json.loads(encoded(message)), "schema_version": version}).encode()
        assert "schema_version" in refusal(type(message), body)


def test_a_message_without_a_version_is_of_the_first() -> None:
    """As it is said in the documents."""
    assert decoded(PullSettled, b'{"outcomes": []}') == PullSettled(outcomes=())


@pytest.mark.parametrize(
    "later", [b"1", b'"x"', b'{"a": [null, 1e400]}', b"9" * 5_000, b'"\xff"'], ids=lambda later: str(later[:8])
)
def test_unknown_keys_are_ignored(later: bytes) -> None:
    """At any depth: a newer sender may be deployed first."""
    body = outcome_with(later="@").replace(b'"@"', later)
    assert decoded(PullSettled, body.replace(b'{"outcomes"', b'{"later": ' + later + b', "outcomes"')) == PullSettled(
        outcomes=(OUTCOME,)
    )


def test_the_last_of_equal_keys_counts() -> None:
    """As everywhere in Python."""
    assert decoded(ReplayQuarantined, b'{"quarantine_ids": [1], "quarantine_ids": [2]}').quarantine_ids == (2,)


def test_lists_have_a_limit() -> None:
    """Of clients, of examples, and of quarantined items: the receiver counts on it."""
    requested = PullRequested(targets=(TARGET,) * 101)
    assert "length <= 100" in refusal(PullRequested, encoded(requested))
    full = replace(requested, targets=requested.targets[1:])
    assert decoded(PullRequested, encoded(full)) == full
    assert "length <= 1000" in refusal(ReplayQuarantined, encoded(ReplayQuarantined(quarantine_ids=(1,) * 1_001)))
    difference = {"until": None, "missing": 0, "unknown": 0, "deleted": 0, "missing_examples": ["a"] * 21}
    assert "length <= 20" in refusal(PullSettled, outcome_with(difference=difference))


def test_times_have_a_zone() -> None:
    """They are sent in UTC, to the microsecond; a time without a zone could be any."""
    moment = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)
    body = encoded(PullRequested(since=moment, targets=()))
    assert json.loads(body)["since"] == "2026-01-31T12:00:00.123456Z"
    in_bern = body.replace(b"12:00:00.123456Z", b"13:00:00.123456+01:00")
    assert decoded(PullRequested, in_bern).since == moment.astimezone(timezone(timedelta(hours=1)))
    assert "timezone" in refusal(PullRequested, body.replace(b"Z", b""))
    for wrong in (b'"2026-02-30T00:00:00Z"', b'"yesterday"', b"1", b'"2026-01-31T23:59:60Z"', b'""'):
        assert "since" in refusal(PullRequested, b'{"targets": [], "since": ' + wrong + b"}")


@pytest.mark.parametrize("half", ["\ud800", "a\udfffb\U0001f600"])
def test_half_a_surrogate_pair_stops_no_message(half: str) -> None:
    """Foreign text may hold it. It travels as a question mark, and the outcomes beside it as they are."""
    broken = replace(OUTCOME, error=half)
    message = PullSettled(outcomes=(OUTCOME, broken, replace(OUTCOME, duration_s=0.25)))
    read = decoded(PullSettled, encoded(message))
    assert read.outcomes[0::2] == message.outcomes[0::2]
    assert read.outcomes[1] == replace(broken, error=half.encode(errors="replace").decode())


def test_messages_are_values() -> None:
    """They can't be changed, and equal ones are one key."""
    with pytest.raises(AttributeError):
        OUTCOME.stored = 2  # type: ignore[misc] # that is the point
    assert len({OUTCOME, replace(OUTCOME), replace(OUTCOME, stored=1)}) == 2
    with pytest.raises(TypeError):
        PullOutcome(UUID(int=1), "user_1", Outcome.STORED)  # type: ignore[call-arg] # by name only


def test_what_the_code_says_of_a_field_is_in_its_schema() -> None:
    """For each struct that a message is made of, and for no field that nothing is said of."""
    schemas = schemas_of(KINDS)
    ours = [
        each for each in (*Message.__subclasses__(), *Part.__subclasses__()) if each.__module__.startswith("shared.")
    ]
    assert {each.__name__ for each in ours} <= schemas.keys()
    properties = schemas["PullOutcome"]["properties"]
    assert properties["error"]["description"] == "One sentence for an operator."
    assert "description" not in properties["stored"]
    assert "\nit. Ids are" in schemas["CompletePage"]["properties"]["until"]["description"]
    assert attribute_docstrings(CaptureBatch) == {}
