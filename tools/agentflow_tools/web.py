"""Web pages as text, from public addresses only.

The host of a URL is resolved here, every address it has is checked, and the connection goes to a checked address, not
to the name, so a name server that answers differently the second time changes nothing (DNS rebinding). A redirect is a
new URL and takes the same way. Size is bounded before and after decompression, time for the whole call. Proxies and
credentials of the environment are not used, cookies are not kept.

    URL -> checked parts -> addresses, all public? -> request to one address -> redirect? -> text
"""

from __future__ import annotations

import codecs
import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import anyio
import anyio.to_thread
import httpx

from agentflow import Tool, ToolDeniedError, tool
from agentflow.errors import ConfigurationError
from agentflow_tools._addresses import Address, is_odd_number, is_public
from agentflow_tools._html import html_to_text

Resolver: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""Gives the addresses of a host name; raises `OSError` where there is none."""

_MAX_URL_LENGTH: Final = 2_000
_MAX_REDIRECTS: Final = 5
_MAX_ADDRESSES_TRIED: Final = 3
_FIRST_FREE_PORT: Final = 1024
"""Ports below belong to services of another kind, but for 80 and 443."""
_MAX_PORT: Final = 65535
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TEXT_TYPES: Final = ("text/", "application/json", "application/xml", "application/javascript", "application/yaml")
_CHARSETS = re.compile(
    r"utf-8(-sig)?|utf-16(-[lb]e)?|ascii|iso8859-\d+|cp125\d|koi8-[ru]|shift_jis|euc_(jp|kr)|gbk|gb2312|gb18030|big5"
)
_GZIP: Final = zlib.MAX_WBITS | 16
_HEADERS: Final = {
    "Accept": "text/html, text/plain, application/json;q=0.9, text/*;q=0.8",
    "Accept-Encoding": "gzip, identity",
    "User-Agent": "agentflow-tools/1",
}


def web(
    *,
    allow_private: bool = False,
    hosts: Collection[str] | None = None,
    timeout_s: float = 15.0,
    max_size_bytes: int = 1_000_000,
    max_text_length: int = 20_000,
    transport: httpx.AsyncBaseTransport | None = None,
    resolver: Resolver | None = None,
) -> list[Tool[..., Any]]:
    """Make the tool ``fetch_url``.

    Args:
        allow_private: Allow every address and port, this machine's own ones too.
        hosts: The only hosts that may be asked, redirects included; a page that a model reads can make it send what it
            knows to any other. ``None`` allows all public ones.
        timeout_s: Seconds for the whole call, redirects included.
        max_size_bytes: Largest page, after decompression.
        max_text_length: Characters of text that are given back; the rest is counted.
        transport: Carries the requests, for tests; by default a new connection per request.
        resolver: Finds addresses, for tests; by default the system's.

    Raises:
        ConfigurationError: A limit is not positive.
    """
    if not timeout_s > 0 or max_size_bytes < 1 or max_text_length < 1:
        raise ConfigurationError("timeout_s, max_size_bytes and max_text_length must be positive")
    fetcher = _Fetcher(
        allow_private=allow_private,
        hosts=None if hosts is None else frozenset(host.lower() for host in hosts),
        timeout_s=timeout_s,
        max_size_bytes=max_size_bytes,
        max_text_length=max_text_length,
        transport=transport,
        resolver=resolver or _resolve,
    )
    return [tool(is_idempotent=True)(fetcher.fetch_url)]


class _Page(NamedTuple):
    status: int
    content_type: str  # lower case, without parameters
    charset: str
    location: str | None  # where a redirect points
    content: bytes


class _Fetcher:
    """The tool and its limits."""

    def __init__(
        self,
        *,
        allow_private: bool,
        hosts: frozenset[str] | None,
        timeout_s: float,
        max_size_bytes: int,
        max_text_length: int,
        transport: httpx.AsyncBaseTransport | None,
        resolver: Resolver,
    ) -> None:
        self._allow_private = allow_private
        self._hosts = hosts
        self._timeout_s = timeout_s
        self._max_size_bytes = max_size_bytes
        self._max_text_length = max_text_length
        self._transport = transport
        self._resolver = resolver

    async def fetch_url(self, url: str) -> dict[str, int | str]:
        """Fetch a web page as text.

        Args:
            url: Address, such as https://example.com.
        """
        try:
            with anyio.fail_after(self._timeout_s):
                page = await self._follow(_parse_url(url))
                text = await anyio.to_thread.run_sync(_text_of, page)
        except TimeoutError as error:
            raise ValueError(f"{_shown(url)} did not answer within {self._timeout_s:g} s; try another page") from error
        return {"status": page.status, "text": self._cut(text)}

    async def _follow(self, url: httpx.URL) -> _Page:
        """Get a page, going where redirects point."""
        for _ in range(_MAX_REDIRECTS + 1):
            page = await self._get(url)
            if page.location is None:
                return page
            url = _parse_url(_join(url, page.location))
        raise ValueError(f"the page redirects more than {_MAX_REDIRECTS} times, last to {_shown(str(url))}")

    async def _get(self, url: httpx.URL) -> _Page:
        """Ask the checked addresses of one URL in turn, until one can be connected to."""
        addresses = await self._checked_addresses(url)
        for address in addresses[:_MAX_ADDRESSES_TRIED]:
            try:
                return await self._request(url, address)
            except httpx.ConnectError as error:
                failure = error
            except (httpx.HTTPError, httpx.InvalidURL) as error:  # InvalidURL: httpx looks at every redirect
                raise ValueError(f"{_shown(str(url))} could not be read: {_reason(error)}") from error
        raise ValueError(f"{url.host} could not be reached: {_reason(failure)}") from failure

    async def _checked_addresses(self, url: httpx.URL) -> Sequence[Address]:
        """Find the addresses of the URL's host.

        Raises:
            ToolDeniedError: The host is not among the allowed ones; an address or the port is not public.
            ValueError: There is none.
        """
        host, port = url.raw_host.decode("ascii"), url.port
        if self._hosts is not None and host not in self._hosts:
            raise ToolDeniedError(f"{host} may not be asked; allowed are {', '.join(sorted(self._hosts)) or 'none'}")
        if not (self._allow_private or port is None or port in {80, 443} or port >= _FIRST_FREE_PORT):
            raise ToolDeniedError(f"port {port} is not a web port; use 80, 443 or one from {_FIRST_FREE_PORT}")
        if is_odd_number(host):
            raise ToolDeniedError(f"{host!r} is a number, not a host; write a name or a plain address")
        try:
            addresses = await self._addresses(host)
        except (OSError, UnicodeError) as error:
            raise ValueError(f"there is no host {host!r}; check its spelling") from error
        for address in addresses:
            if not (self._allow_private or is_public(address)):
                raise ToolDeniedError(f"{host} is at {address}, which is not public; only public pages are allowed")
        if not addresses:
            raise ValueError(f"the host {host!r} has no address; check its spelling")
        return addresses

    async def _addresses(self, host: str) -> Sequence[Address]:
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            return await self._resolver(host)

    async def _request(self, url: httpx.URL, address: Address) -> _Page:
        """Get `url` from the host at `address`: the name stays in the Host header and in the TLS handshake."""
        transport = self._transport or httpx.AsyncHTTPTransport(verify=_tls_context(), trust_env=False)
        async with (
            httpx.AsyncClient(transport=transport, trust_env=False, timeout=self._timeout_s) as client,
            client.stream(
                "GET",
                url.copy_with(host=str(address), fragment=None),
                headers={**_HEADERS, "Host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            ) as response,
        ):
            location = response.headers.get("location") if response.status_code in _REDIRECTS else None
            return _Page(
                response.status_code,
                response.headers.get("content-type", "text/plain").split(";")[0].strip().lower(),
                response.charset_encoding or "utf-8",
                location,
                await self._read(response) if location is None else b"",
            )

    async def _read(self, response: httpx.Response) -> bytes:
        """Read and decompress the content; what is over the limit is never held.

        Raises:
            ValueError: It is over the limit, or compressed in a way that was not asked for.
        """
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity", "gzip"}:
            raise ValueError(f"the page comes in the encoding {encoding[:20]!r}, which cannot be read")
        body = _Body(self._max_size_bytes, is_packed=encoding == "gzip")
        with anyio.CancelScope() as scope:
            async for chunk in response.aiter_raw():
                if not body.takes(chunk):
                    scope.cancel()  # ends the stream from inside; leaving the loop would leave its generators open
        if body.problem:
            raise ValueError(body.problem)
        return bytes(body.content)

    def _cut(self, text: str) -> str:
        num_more = len(text) - self._max_text_length
        return text if num_more <= 0 else f"{text[: self._max_text_length]}… ({num_more} characters more)"


# ---------------------------------------------------------------- addresses


def _parse_url(text: str) -> httpx.URL:
    """Read a URL and check all that can be checked without the network.

    Raises:
        ToolDeniedError: Its scheme or its credentials are not allowed.
        ValueError: It is no URL.
    """
    if len(text) > _MAX_URL_LENGTH:
        raise ValueError(f"the address has {len(text)} characters; write at most {_MAX_URL_LENGTH}")
    try:
        url = httpx.URL(text.strip())
        url.netloc.decode("ascii")
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"{_shown(text)} is no address ({error}); write one such as https://example.com") from error
    if url.scheme not in {"http", "https"}:
        if not url.scheme:
            raise ValueError(f"{_shown(text)} has no scheme; write https://{text.strip()[:100]}")
        raise ToolDeniedError(f"{url.scheme}: addresses are not allowed; only http and https are")
    if url.userinfo:
        raise ToolDeniedError(f"{_shown(text)} holds a user name or password; leave it out")
    if not url.host or not 1 <= (url.port or 80) <= _MAX_PORT:
        raise ValueError(f"{_shown(text)} names no host or no port; write one such as https://example.com")
    return url


def _join(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"the page redirects to {_shown(location)}, which is no address") from error


async def _resolve(host: str) -> list[Address]:
    """Ask the system for the addresses of a host."""
    answers = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(answer[4][0]) for answer in answers))


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


# ---------------------------------------------------------------- contents


class _Body:
    """Content as it comes in, unpacked and held up to a size."""

    def __init__(self, max_size_bytes: int, *, is_packed: bool) -> None:
        self.content = bytearray()
        self.problem = ""
        self._max_size_bytes = max_size_bytes
        self._decompressor = zlib.decompressobj(_GZIP) if is_packed else None

    def takes(self, chunk: bytes) -> bool:
        """Take a chunk; without room, or if it cannot be unpacked, `problem` says so and no more is taken."""
        if self.problem:
            return False
        room = self._max_size_bytes + 1 - len(self.content)  # one byte more than allowed tells that there is more
        try:
            self.content += self._decompressor.decompress(chunk, room) if self._decompressor else chunk[:room]
        except zlib.error as error:
            self.problem = f"the page is compressed wrongly ({error}); try another page"
        if len(self.content) > self._max_size_bytes:
            self.problem = f"the page is larger than {self._max_size_bytes} bytes, which is the limit"
        return not self.problem


def _text_of(page: _Page) -> str:
    """Turn a page into text.

    Raises:
        ValueError: It is something else, such as an image.
    """
    if not page.content:
        return ""
    kind = page.content_type
    if not (kind.startswith(_TEXT_TYPES) or kind.endswith(("+json", "+xml"))):
        raise ValueError(f"the page is {kind[:50]!r}, not text; try another page")
    text = page.content.decode(_known_charset(page.charset), "replace").replace("\0", "\ufffd")
    return html_to_text(text) if kind in {"text/html", "application/xhtml+xml"} else text


def _known_charset(name: str) -> str:
    """The charset if it is one that pages use, else UTF-8: Python also knows codecs that take quadratic time."""
    try:
        known = codecs.lookup(name).name
    except (LookupError, ValueError):
        return "utf-8"
    return known if _CHARSETS.fullmatch(known) else "utf-8"


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]


def _shown(url: str) -> str:
    return repr(url if len(url) <= 200 else f"{url[:200]}…")  # noqa: PLR2004 - for people
