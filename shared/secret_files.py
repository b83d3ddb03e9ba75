"""Settings as files: which folder they are in, and whether each can be used. It never tells what is in one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "SECRETS_DIR"
USUAL: Final = Path("/run/secrets")
"""Where Docker, Podman and Kubernetes put them."""


class SecretFilesError(Exception):
    """Some of the files can't be used."""

    def __init__(self, problems: Collection[str]) -> None:
        """Each problem is one line that names the file and says what to do."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def secrets_dir(environment: Mapping[str, str]) -> Path | None:
    """The folder that `SECRETS_DIR` names, else `/run/secrets` where it exists; None for neither, or an empty name."""
    if VARIABLE in environment:
        return Path(environment[VARIABLE]) if environment[VARIABLE] else None
    return USUAL if USUAL.is_dir() else None


def given_in(directory: Path, settings: Collection[str]) -> frozenset[str]:
    """Those of the settings that a file in `directory` gives, each of which can be read and says something.

    A file has its setting's name, in capitals or not. Whatever else lies there is left alone.

    Raises:
        SecretFilesError: the folder, or one of these files, can't be used.
    """
    wanted = {setting.upper(): setting for setting in settings}
    found = [directory / name for name in _names_in(directory) if name.upper() in wanted]
    problems = [f"the file {path} {problem}" for path in found if (problem := _problem(path, directory))]
    for name, times in Counter(path.name.upper() for path in found).items():
        if times > 1:
            problems.append(f"the folder {directory} has {times} files for {name}: leave one of them")
    if problems:
        raise SecretFilesError(problems)
    return frozenset(wanted[path.name.upper()] for path in found)


def _names_in(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - names, which is all that we need
    except OSError as error:
        problem = f"the folder of secrets {directory} can't be read: {error.strerror}; see {VARIABLE}"
        raise SecretFilesError([problem]) from error


def _problem(path: Path, directory: Path) -> str | None:
    """What is wrong with a file, as the end of a sentence; None if nothing is."""
    try:
        inside = directory.resolve() in path.resolve(strict=True).parents
        if not path.is_file():
            return "is no file: put the value into a file of that name"
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return "is not UTF-8: write it anew"
    except OSError as error:
        return f"can't be read: {error.strerror}; user {os.geteuid()} must be able to"
    except RuntimeError:  # how Python before 3.13 tells of links that lead to each other
        return "can't be read: its links lead to each other"
    if not inside:
        return "leads out of its folder: put the value itself there"
    return None if content.strip() else "is empty: write the value into it, or remove it"
