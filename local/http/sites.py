"""Which sites' requests a server of this machine answers: those to its own names, and writes from its own pages.

The local server listens on the developer's machine, where every page in the browser can reach it. Two checks keep
others out. A page whose own name was made to point at 127.0.0.1 (DNS rebinding) still sends that name as `Host`. A form
of another site says where it is from: `Origin` (RFC 6454, section 7), and `Sec-Fetch-Site` (W3C, "Fetch Metadata
Request Headers").
Programs such as curl send neither. API Gateway needs none of this: its name is nobody else's, and it asks for tokens.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

MISDIRECTED = 421
"""The status for a request to another name (RFC 9110, section 15.5.20)."""

CROSS_SITE = 403
"""The status for a write from another site's page."""

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
"""The names of a server that only this machine reaches."""

_WILDCARDS = frozenset(("0.0.0.0", "::"))  # noqa: S104 - nothing is bound here
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
_READ = frozenset((b"host", b"origin", b"sec-fetch-site"))  # the headers that are looked at
_OWN_SITE = frozenset(("same-origin", "none"))  # "none": the user typed the address


Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, and values."""


class Refusal(NamedTuple):
    """Why a request is not answered: a problem document has these members."""

    status: int
    title: str
    detail: str


class Sites:
    """Decides by `Host`, `Origin` and `Sec-Fetch-Site` whether a request is answered.

    Parameters
    ----------
    host
        The address that the server listens on. If that is every address of the machine, each of them is its name.
    allowed
        Further names that it is reached by, such as that of a proxy before it.
    any_name
        Whether every name is its own, because it cannot know them. Writes from other sites are refused nevertheless.
    """

    def __init__(self, host: str, allowed: Iterable[str] = (), *, any_name: bool = False) -> None:
        self._any_name = any_name
        self._allowed = frozenset(name.lower() for name in allowed)
        self._names = LOOPBACK | self._allowed | ({host.lower()} - _WILDCARDS)
        self._any_address = host in _WILDCARDS
        self._decide = lru_cache(maxsize=128)(self._refusal)  # all requests of a connection send the same

    def refusal(self, method: str, headers: Headers) -> Refusal | None:
        """Return why a request is not to be answered; None for every other."""
        return self._decide(method in _READING, tuple([header for header in headers if header[0] in _READ]))

    def _refusal(self, reads: bool, headers: tuple[tuple[bytes, bytes], ...]) -> Refusal | None:
        values: dict[bytes, list[str]] = {}
        for header, value in headers:
            values.setdefault(header, []).append(value.decode("latin-1").strip())
        hosts = values.get(b"host", [])
        for host in () if self._any_name else hosts:
            name = _name(f"//{host}")
            if len(hosts) > 1 or name is None or not self._is_ours(name):
                return Refusal(
                    MISDIRECTED,
                    "Misdirected Request",
                    f"This server is not {host[:100]!r}. Call it localhost or 127.0.0.1, or name the host in "
                    "ALLOWED_HOSTS when you start it.",
                )
        if not reads:
            origins = values.get(b"origin", [])
            if any(not self._is_own_page(origin, hosts) for origin in origins):
                return _cross_site(f"{origins[0][:100]!r}")
            if not origins and not _OWN_SITE.issuperset(values.get(b"sec-fetch-site", ())):
                return _cross_site("another site")
        return None

    def _is_ours(self, name: str) -> bool:
        if name in self._names:
            return True
        if not self._any_address:
            return False
        try:
            ip_address(name)
        except ValueError:
            return False
        return True  # no name that could be made to point elsewhere

    def _is_own_page(self, origin: str, hosts: list[str]) -> bool:
        if origin.partition("://")[2].lower() in {host.lower() for host in hosts}:
            return True
        return _name(origin) in self._allowed


@lru_cache(maxsize=256)
def _name(url: str) -> str | None:
    """Return the host of a URL in lower case, without port and brackets; None if there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _cross_site(site: str) -> Refusal:
    return Refusal(
        CROSS_SITE,
        "Forbidden",
        f"A page of {site} must not write here. Send the request from this server's own page or from a program, or "
        "name the page's host in ALLOWED_HOSTS when you start the server.",
    )
