"""What the local stack says when it can't go on."""


class DevError(Exception):
    """Something a developer can act on: ``str(error)`` is one line that says what is wrong and what to do.

    Args:
        message: the line.
        detail: more than a line, for example the end of a log; it is also a note of the exception (PEP 678), so that
            a traceback shows it.
    """

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
        if detail:
            self.add_note(detail)
