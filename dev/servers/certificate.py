"""The certificate with which a private server speaks TLS."""

from dataclasses import dataclass, field
from pathlib import Path

from dev.servers.private_file import write_private


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A certificate and its key, both as PEM."""

    certificate: str
    key: str = field(repr=False)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Writes `server.crt` and `server.key` into `folder`, and returns where; over those that are there."""
        certificate, key = folder / "server.crt", folder / "server.key"
        write_private(key, self.key)
        write_private(certificate, self.certificate)
        return certificate, key
