"""A private certificate authority, and the certificates of servers that it signs. It writes no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dev.servers.certificate import ServerCertificate

AUTHORITY_FOR: Final = timedelta(days=3_650)
SERVER_FOR: Final = timedelta(days=397)
"""What browsers take at most of a public authority."""
_BEFORE: Final = timedelta(minutes=5)
"""For clocks that are a little behind."""
_NO_USE: Final = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that signs for servers, and for no other authority."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, name: str) -> Self:
        """One with a new key, valid for ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            _builder(_named(name), _named(name), key, now - _BEFORE, now + AUTHORITY_FOR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(**{**_NO_USE, "key_cert_sign": True, "crl_sign": True}), critical=True)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def from_pem(cls, certificate: str, key: str) -> Self:
        """The one that `certificate_pem` and `key_pem` told of.

        Raises:
            ValueError: they are not PEM, not a pair, or the key is not of the kind that `new` makes.
        """
        loaded = serialization.load_pem_private_key(key.encode(), password=None)
        found = x509.load_pem_x509_certificate(certificate.encode())
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or found.public_key() != loaded.public_key():
            message = "the key is not that of the certificate"
            raise ValueError(message)
        return cls(found, loaded)

    @property
    def certificate_pem(self) -> str:
        """What those who connect shall trust; no secret."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """With which anybody could be whichever server."""
        return _pem(self._key)

    def issue(self, names: Sequence[str], *, until: datetime | None = None) -> ServerCertificate:
        """A certificate with a new key for a server of these names, which may be IP addresses.

        It is valid for 397 days, or from a year before `until`, which may be past.
        """
        now = datetime.now(UTC)
        begin = now - _BEFORE if until is None else until - timedelta(days=365)
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _builder(_named(names[0]), self.certificate.subject, key, begin, until or now + SERVER_FOR)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**{**_NO_USE, "digital_signature": True}), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        )
        signed = builder.sign(self._key, hashes.SHA256())
        return ServerCertificate(signed.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


def has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether the certificate is from this authority."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The names and addresses that a server's certificate is for."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = found.get_values_for_type(x509.IPAddress)
    return frozenset([*found.get_values_for_type(x509.DNSName), *map(str, addresses)])


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(identifier, critical=False)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
