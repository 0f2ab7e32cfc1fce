"""Who may use the server: the token of a request, its Host header, and the address that the server listens on."""

from __future__ import annotations

import hmac
import ipaddress
import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cbalign.errors import UsageError

TOKEN_VARIABLE = "CBALIGN_TOKEN"
LEAST_TOKEN = 16
"""Minimum length of a token in characters."""

_TOKEN = re.compile(r"[!-~]+")
_MAKE = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
_OPEN_WITHOUT_TOKEN = ("/", "/healthz")


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate, followed by those of its issuers, and of its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class AccessRules:
    """Rules for requests.

    Attributes:
        token: what requests must present as `Authorization: Bearer TOKEN`; None lets every request in.
        hosts: names that the Host header may have. IP addresses and localhost are always allowed: a web page can
            make a browser send requests here under the page's own name only (DNS rebinding).
    """

    token: str | None = field(default=None, repr=False)
    hosts: Collection[str] = ()

    def is_authorised(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the request presents the token. The time does not depend on how much of it is right."""
        if self.token is None:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self.token.encode())

    def needs_token(self, path: str) -> bool:
        """Whether a path is for requests with the token only: all except the page and a bare health check."""
        return path not in _OPEN_WITHOUT_TOKEN

    def allows_host(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the Host header names this server. Clients of HTTP/1.0, which browsers are not, may omit it."""
        if b"host" not in headers:
            return True
        name = host_name(headers[b"host"].decode("latin-1"))
        return _is_address(name) or name == "localhost" or name.endswith(".localhost") or name in self.hosts


def host_name(host: str) -> str:
    """Return the name or address of a Host header without port and brackets, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if re.fullmatch(r"[^:]*:\d*", name) else name


def read_token(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """Read the token from a file or from `CBALIGN_TOKEN`; arguments of commands are visible to all users of a machine.

    Raises:
        UsageError: the file cannot be read, both are given, or the token is short or has spaces.
    """
    given = environment.get(TOKEN_VARIABLE)
    if file is None and given is None:
        return None
    if file is not None and given is not None:
        raise UsageError(f"both `token_file=…` and {TOKEN_VARIABLE} are given", remedy="Give one of them.")
    place = TOKEN_VARIABLE if file is None else str(file)
    token = _read(file).strip() if file is not None else (given or "").strip()
    if len(token) < LEAST_TOKEN:
        raise UsageError(f"{place}: the token has {len(token)} characters, fewer than {LEAST_TOKEN}", remedy=_MAKE)
    if not _TOKEN.fullmatch(token):
        raise UsageError(f"{place}: the token has characters that a header cannot carry", remedy=_MAKE)
    return token


def read_certificate(certificate: Path | None, key: Path | None) -> Certificate | None:
    """Require that certificate and private key can be used, and return them if they are given.

    Raises:
        UsageError: only one is given, a file cannot be read, they do not belong together, or the key is encrypted.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "`tls_cert=…`" if certificate is None else "`tls_key=…`"
        raise UsageError(f"TLS needs a certificate and its private key; {missing} is missing")
    for file in (certificate, key):
        _read(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _refuse)
    except ValueError as error:
        raise UsageError(
            f"{key}: the private key is encrypted", remedy=f"Decrypt it: openssl pkey -in {key} -out server.key"
        ) from error
    except ssl.SSLError as error:
        reason = error.reason or "not in PEM format"
        raise UsageError(
            f"{certificate} and {key}: not a certificate with its private key ({reason})",
            remedy="Give PEM files: the certificate, followed by those of its issuers, and the key.",
        ) from error
    return Certificate(certificate, key)


def check_exposure(address: str, *, token: bool, tls: bool, insecure: bool) -> str | None:
    """Require a token or TLS where other machines can connect, and return a warning, if any.

    Args:
        address: the IP address that the server listens on.
        token, tls: whether requests need a token, and connections are encrypted.
        insecure: whether the user accepts neither.

    Raises:
        UsageError: other machines could use the server without either.
    """
    if is_loopback(address) or (token and tls):
        return None
    if token:
        return "the token and all data cross the network unencrypted: give a certificate, or use a TLS proxy"
    if tls or insecure:
        return "everyone who reaches this address may use the server: give a token to prevent that"
    raise UsageError(
        f"{address} accepts other machines, but requests need neither a token nor TLS",
        remedy=f"Give a token with `token_file=…` or {TOKEN_VARIABLE}, or a certificate with `tls_cert=…` and "
        "`tls_key=…`; behind a proxy that controls access, `insecure=True`.",
    )


def is_loopback(address: str) -> bool:
    """Whether an IP address is reachable from this machine only."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _refuse() -> str:
    raise ValueError("encrypted")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not text"
        raise UsageError(f"{path}: cannot be read ({reason})") from error
