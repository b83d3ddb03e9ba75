"""The commands in README.md and docs/: those in blocks of ```bash, one by one, without their comments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_BLOCK: Final = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
_ASSIGNMENT: Final = re.compile(r"[A-Z][A-Z0-9_]*=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command."""

    place: str
    """The document."""
    text: str
    words: tuple[str, ...]
    """As a shell takes them apart, without the variables that are set before."""

    @property
    def program(self) -> str:
        """What is run."""
        return self.words[0]


def documented_commands() -> list[Command]:
    """All of them, in the order of the documents."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [command for path in documents for command in _commands(path)]


def _commands(path: Path) -> Iterator[Command]:
    for block in _BLOCK.findall(path.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            for words in _parts(line):
                while words and _ASSIGNMENT.match(words[0]):
                    words.pop(0)
                if words:
                    yield Command(place=str(path.relative_to(ROOT)), text=line.strip(), words=tuple(words))


def _parts(line: str) -> Iterator[list[str]]:
    """The commands of a line that has several, without where their output goes."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in lexer:
        if word in {"&&", "||", "|", ";"}:
            yield words
            words = []
        elif word == ">":
            next(lexer)
        else:
            words.append(word)
    yield words
