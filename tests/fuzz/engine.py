"""`python -m tests.fuzz.engine TARGET [libFuzzer's options and folders]`: one target under Atheris, until its end.

It runs in an environment of its own (see `tests.fuzz.__main__`), where Atheris is.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["services", "shared"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Does not return: libFuzzer ends the process, with a status other than 0 when something was found."""
    name = sys.argv.pop(1)
    target = TARGETS[name]

    def run(data: bytes) -> None:
        try:
            target(data)
        except BaseException as error:
            sys.stderr.write(f"FINDING in {name}: {type(error).__name__}: {error}\nFINDING in {name}: {data!r}\n")
            raise

    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
