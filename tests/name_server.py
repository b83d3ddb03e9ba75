"""What the system's look-up answers for some names, as a name server of an attacker's would decide it."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest


class Names:
    """Each look-up of a name takes the next answer of its list, and then the last one again and again.

    An empty answer says that there is no such name. All that is not listed is looked up as ever, and so is each
    address in an answer, by the system itself.
    """

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = answers
        self._look_up = socket.getaddrinfo
        self.lookups: Counter[str] = Counter()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Until the test ends."""
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        answers = self._answers.get(host)
        if answers is None:
            return self._look_up(host, port, *arguments, **named)
        addresses = answers[min(self.lookups[host], len(answers) - 1)]
        self.lookups[host] += 1
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            found for address in addresses for found in self._look_up(address, port, type=socket.SOCK_STREAM, proto=6)
        ]
