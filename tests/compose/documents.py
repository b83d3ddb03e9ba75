"""The steps of a document, as they stand there."""

from __future__ import annotations

import re
from typing import Final

from dev.stack import CHECKOUT

_HEADING: Final = re.compile(r"^(#+) (.*)$", re.MULTILINE)
_BLOCK: Final = re.compile(r"^ *```bash\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def steps(document: str, heading: str) -> list[str]:
    """The scripts under this heading of a document, before the next heading."""
    text = (CHECKOUT / document).read_text(encoding="utf-8")
    places = [*_HEADING.finditer(re.sub(r"^ *```.*?^ *```", _without_comments, text, flags=re.DOTALL | re.MULTILINE))]
    [number] = [number for number, place in enumerate(places) if place[2] == heading]
    end = places[number + 1].start() if number + 1 < len(places) else len(text)
    found = _BLOCK.findall(text[places[number].end() : end])
    assert found, f"{document} has no commands under {heading!r}"
    return found


def _without_comments(block: re.Match[str]) -> str:
    """A block whose comments look like no headings, of the same length."""
    return block[0].replace("\n#", "\n ")
