"""Certificates, good and bad."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from gevent import ssl


@dataclass(frozen=True)
class Certificate:
    """Two PEM files: what a server shows (key and chain), and what a client must trust to believe it."""

    chain: Path
    trust: Path


def make_certificates(directory: Path) -> dict[str, Certificate]:
    """Write certificates for tests: "good", "client", "wrong_host", "expired" (one authority) and "self_signed".

    Args:
        directory: where the PEM files go; it must exist.
    """
    with warnings.catch_warnings():
        # cryptography warns on being imported by an old Python.
        warnings.simplefilter("ignore")
        import trustme

    authority = trustme.CA()
    trust = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(trust))
    names = ("localhost", "127.0.0.1", "::1")
    long_ago = datetime(2001, 1, 1, tzinfo=timezone.utc)
    issued = {
        "good": authority.issue_cert(*names, "events.example"),
        "client": authority.issue_cert("client@example.com"),
        "wrong_host": authority.issue_cert("elsewhere.example.com"),
        "expired": authority.issue_cert(*names, not_after=long_ago),
    }
    made = {name: _written(directory / f"{name}.pem", leaf, trust) for name, leaf in issued.items()}
    return {**made, "self_signed": _self_signed(directory / "self_signed.pem")}


def _written(chain: Path, leaf: Any, trust: Path) -> Certificate:
    leaf.private_key_and_cert_chain_pem.write_to_path(str(chain))
    return Certificate(chain, trust)


def _self_signed(chain: Path) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    chain.write_bytes(private + signed.public_bytes(pem))
    return Certificate(chain, chain)


def server_context(certificate: Certificate, clients: Path | None = None) -> Any:
    """What a server speaks TLS with.

    Args:
        certificate: what it shows.
        clients: a PEM file; clients must show a certificate that it vouches for.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(certificate.chain))
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(str(clients))
    return context


def client_context() -> Any:
    """What a test asks its own server with."""
    # Wrong hosts and expired dates don't matter here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
