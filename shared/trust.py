"""Whose certificates a service believes."""

from __future__ import annotations

import ssl
from pathlib import Path


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """For calls as a client: certificates and names are verified, by the system's authorities and those in `ca_file`.

    Raises:
        ValueError: the file can't be read, or has no certificates in PEM form; the text says which.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(("http/1.1",))
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError as error:
            message = "must be a file of certificates in PEM form, and has none that can be read"
            raise ValueError(message) from error
        except OSError as error:
            message = f"must be a file that can be read: {error.strerror}"
            raise ValueError(message) from error
    return context
