"""Check base URLs: which are well formed, and which a server may be made to call.

On a user's own machine any URL is allowed. An installation that others use (`NUCLEUS_HOSTED=1`) refuses addresses that
are not public, since its visitors would reach into its network through it. It can be held to a list
(`NUCLEUS_ALLOWED_URLS`: base URLs separated by commas or spaces; listed ones may be private). On Vertex AI it acts with
its own identity, so visitors may name only the projects of `NUCLEUS_VERTEX_PROJECTS`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from llm_core.errors import NucleusError

MAX_URL_LENGTH = 500


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """Rules of one installation about the URLs and Google Cloud projects that it may call."""

    hosted: bool = False
    allowed: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    """Allowed Google Cloud projects, each as `project/location`."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> UrlPolicy:
        """Read the rules from environment variables. Raises `NucleusError` for a listed URL that is malformed."""
        urls, projects = (
            environment.get(name, "").replace(",", " ").split()
            for name in ("NUCLEUS_ALLOWED_URLS", "NUCLEUS_VERTEX_PROJECTS")
        )
        hosted = environment.get("NUCLEUS_HOSTED", "") not in ("", "0")
        return cls(hosted, tuple(map(normalize_url, urls)), tuple(projects))

    def check(self, url: str) -> str:
        """Return the URL normalized. Raises `NucleusError` for a URL that is malformed or may not be called.

        The host name is resolved here; `check_peer` checks the connected address again, since DNS can change in
        between.
        """
        url = normalize_url(url)
        if self._is_listed(url):
            return url
        if self.allowed:
            raise NucleusError("provider_address_not_allowed", url=url, known=", ".join(self.allowed))
        if self.hosted:
            for address in _resolve_host(urlsplit(url)):
                self.check_peer(address, url)
        return url

    def check_project(self, place: str) -> str:
        """Return `project/location` unchanged. Raises `NucleusError` if this installation may not use it."""
        if self.hosted and place not in self.projects:
            raise NucleusError("provider_project_not_allowed", place=place)
        return place

    def check_peer(self, address: str, url: str) -> None:
        """Raise `NucleusError` if a connection for `url` led to a private address that it may not call."""
        if self.hosted and not self._is_listed(url) and not is_public(address):
            raise NucleusError("provider_address_private", url=url)

    def _is_listed(self, url: str) -> bool:
        return any(url == base or url.startswith(f"{base}/") for base in self.allowed)


def normalize_url(url: str) -> str:
    """Return the URL without a trailing slash, scheme and host in lower case. Raises `NucleusError` for a malformed
    URL, and for one with credentials, a query or a fragment, since any of these may hold a key."""
    url = url.strip()
    if len(url) > MAX_URL_LENGTH or not url.isprintable() or " " in url or "\\" in url:
        raise NucleusError("provider_address_invalid", url=url[:MAX_URL_LENGTH])
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise NucleusError("provider_address_invalid", url=url) from None
    name = f"[{host}]" if host and ":" in host else host
    place = f"{parts.scheme}://{name}{f':{port}' if port else ''}"
    if parts.username is not None or parts.password is not None:
        raise NucleusError("provider_address_with_key", url=place)
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise NucleusError("provider_address_with_key", url=f"{place}{parts.path}")
    odd_path = any(segment in (".", "..") for segment in parts.path.split("/"))
    if parts.scheme not in ("http", "https") or not host or port == 0 or odd_path:
        raise NucleusError("provider_address_invalid", url=url)
    return f"{place}{parts.path.rstrip('/')}"


def is_public(address: str) -> bool:
    """Return whether `address` is an IP address of the public internet; anything that is not an IP address is not."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def _resolve_host(parts: SplitResult) -> list[str]:
    """Return the IP addresses of the URL's host. Raises `NucleusError` if its name cannot be resolved."""
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NucleusError("provider_unreachable", host=host) from None
    return [str(entry[4][0]) for entry in found]
