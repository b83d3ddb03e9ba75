"""What tests and fuzzer begin from: whole inputs for each target, and pieces of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).with_name("corpus")
"""A folder for each target, with a file for each seed. Findings go there, too, so that they are tried for ever."""

PIECES: Final = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"null",
        b"true",
        b"false",
        b"0",
        b"-1",
        b"1.5",
        b"1e999",
        b"-0",
    ),
    *(b"NaN", b"-Infinity", b"2147483648", b"9" * 40, b"9" * 4_400, b'""', b"\\u0000", b"\\ud800", b"\\udc00", b"\\n"),
    *(b"\x00", b"\n", b"\x7f", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf0\x9f\xa6\x86", b"\xe2\x80\xa8"),
    *(b"[" * 150, b"[" * 300, b"]" * 300, b'{"a":' * 210, b'{"a":' * 300, b"}" * 300, b"x" * 256, b"\\u00e9" * 260),
    *(b'"captures"', b'"capture_id"', b'"user_id"', b'"user_1"', b'"user_2"', b'"total_pending"', b'"metadata"'),
    *(b'"total_captures"', b'"synced"', b'"pokemon_id"', b'"pokemon_name"', b'"action"', b'"favorite"', b'"timestamp"'),
    *(b'"removed"', b'"last_sync"', b'"capture_ids"', b'"schema_version"', b'"2026-01-31T12:00:00.1234567Z"'),
    *(b'"0001-01-01T00:00:00+14:00"', b'"9999-12-31T23:59:59-14:00"', b'"2026-01-31 12:00:00"', b"\\u002c"),
    *(b"\\\\u0000", b'"0001-01-01T00:00:00Z"', b'"9999-12-31T23:59:59.999999Z"', b'"20261130"', b"25.0", b'"false"'),
    *(
        b"http://",
        b"https://",
        b"@",
        b"#",
        b"?",
        b"//",
        b"%41",
        b"[::1]",
        b"0x7f.1",
        b"127.1",
        b"xn--",
        b":65536",
        b".",
    ),
    *(b"\xc3\x9f", b"\xef\xbc\x8e", b"\xe3\x80\x82", b"x-death", b"reason", b"count", b"time", b"routing-keys"),
)
"""What a decoder may stumble over, and what it looks for."""


def seeds(target: str) -> Mapping[str, bytes]:
    """Those of one target, by the names of their files."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}
