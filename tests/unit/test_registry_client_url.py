"""What a client's URL may look like when it registers, by the tricks that others have played with URLs."""

from __future__ import annotations

from typing import Final

import pytest

from services.registry.domain import checked_client_url

REFUSED: Final = {
    # Numbers that inet_aton takes for 127.0.0.1, and others do not.
    "decimal": "http://2130706433:3001",
    "decimal, 169.254.169.254": "http://2852039166",
    "octal": "http://0177.0.0.1:3001",
    "octal, whole": "http://017700000001",
    "hexadecimal": "http://0x7f000001:3001",
    "hexadecimal, capitals": "http://0X7F000001",
    "hexadecimal, by parts": "http://0x7f.0x0.0x0.0x1",
    "hexadecimal, empty": "http://127.0.0.0x",
    "mixed": "http://0x7f.1",
    "short": "http://127.1:3001",
    "zeros in front": "http://127.000.000.001",
    "too large": "http://127.0.0.256",
    "too long": "http://127.0.0.1.1",
    "decimal, trailing dot": "http://2130706433./",
    # Dots.
    "address, trailing dot": "http://127.0.0.1.:3001",
    "two trailing dots": "http://client.example..:3001",
    "only a dot": "http://./",
    "dot in front": "http://.example",
    "two dots": "http://a..b",
    # Other scripts.
    "decimal, full-width": "http://\uff12\uff11\uff13\uff10\uff17\uff10\uff16\uff14\uff13\uff13",
    "ideographic dot at the end of an address": "http://127.0.0.1\u3002",
    "slash by normalisation": "http://client.example\uff0f.evil.example",
    "letterlike a/c": "http://\u2100.example",
    "soft hyphen": "http://cli\u00adent.example",
    "zero width": "http://cli\u200bent.example",
    "bidirectional override": "http://\u202eelpmaxe.tneilc",
    "half a surrogate pair": "http://\ud800.example",
    "label too long when encoded": "http://" + "\u00fc" * 63 + ".example",
    "unassigned": "http://\U000e0fff.example",
    # Names that are none.
    "label too long": f"http://{'x' * 64}.example",
    "name too long": f"http://{'x.' * 127}example",
    "percent": "http://%31%32%37.0.0.1",
    "blank": "http://a b",
    "star": "http://*.example",
    # IPv6.
    "zone": "http://[fe80::1%25eth0]:3001",
    "zone, bare": "http://[fe80::1%eth0]",
    "future": "http://[v1.x]",
    "two brackets": "http://[::1][::2]",
    "text behind the bracket": "http://[::1]evil.example",
    "no brackets": "http://::1:3001",
    # Credentials, and hosts that one parser sees and another does not.
    "credentials": "http://user:secret@client.example",
    "user name": "http://user@client.example",
    "empty user name": "http://@client.example",
    "two hosts": "http://good.example@evil.example",
    "backslash": "http://good.example\\@evil.example",
    "backslash, no user": "http://good.example\\.evil.example",
    "fragment before the at": "http://good.example#@evil.example",
    "query before the at": "http://good.example?@evil.example",
    "tab in the host": "http://good\t.example",
    "newline in the scheme": "ht\ntp://good.example",
    "new line and header": "http://good.example/\r\nhost: evil.example",
    # Schemes.
    "file": "file:///etc/passwd",
    "ftp": "ftp://client.example",
    "gopher": "gopher://client.example:6379/_FLUSHALL",
    "javascript": "javascript:alert(1)",
    "data": "data:text/html,<script>",
    "websocket": "ws://client.example",
    "none": "//client.example",
    "one slash": "http:/client.example",
    # Ports.
    "port too high": "http://client.example:65536",
    "port negative": "http://client.example:-1",
    "port a word": "http://client.example:http",
    "port in other digits": "http://client.example:\u0663\u0660",
}


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED)
def test_a_url_with_a_trick_is_refused(url: str) -> None:
    """With a sentence on what it should be, that repeats nothing of it."""
    with pytest.raises(ValueError, match=r"^(must|has) ") as caught:
        checked_client_url(url)
    assert url not in str(caught.value)


TAKEN: Final = {
    "name": "http://client.example:3001",
    "one label": "http://client:3001",
    "of docker compose": "http://sync_client_1:3001",
    "localhost": "http://localhost:3001",
    "the dot of the root": "https://client.example.",
    "digits in a name": "http://127.0.0.1.nip.example",
    "a name that begins like a number": "http://0x7f.example",
    "IPv4": "http://127.0.0.1:3001",
    "IPv6": "http://[::1]:3001",
    "IPv4 in IPv6": "http://[::ffff:127.0.0.1]:3001",
    "capitals": "HTTP://Client.Example:3001",
    "path": "https://client.example/users/a@b",
    "IDN": "http://b\u00fccher.example:3001",
    "IDN, encoded": "http://xn--bcher-kva.example:3001",
    "IDN, Chinese with its own dot": "http://\u4f8b\u3048\u3002\u30c6\u30b9\u30c8",
    "port 80": "http://client.example:80",
}


@pytest.mark.parametrize("url", TAKEN.values(), ids=TAKEN)
def test_an_honest_url_is_kept_as_it_is(url: str) -> None:
    """But for slashes at its end."""
    assert checked_client_url(url) == url
    assert checked_client_url(f"{url}//") == url
