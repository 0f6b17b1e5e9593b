"""The web tool: pages come back as text, and no URL, redirect or name server leads to a private address."""

from __future__ import annotations

import gzip
import zlib
from ipaddress import ip_address

import anyio
import anyio.abc
import anyio.lowlevel
import httpx
import pytest

from agentflow import ToolDeniedError
from agentflow.errors import ConfigurationError
from agentflow_tools import web

pytestmark = pytest.mark.anyio
PUBLIC = "93.184.216.34"


class Site:
    """A stand-in for the internet: name server and web server, which remember what they were asked."""

    def __init__(self, answer, hosts=None):
        self.answer = answer
        self.hosts = {"example.com": [PUBLIC]} | (hosts or {})
        self.asked = []  # host names, in order
        self.requests = []

    async def resolve(self, host):
        """Answer as a name server; a list of lists gives another answer every time."""
        self.asked.append(host)
        if host not in self.hosts:
            raise OSError(-2, "Name or service not known")
        addresses = self.hosts[host]
        if addresses and isinstance(addresses[0], list):
            addresses = addresses.pop(0)
        return [ip_address(address) for address in addresses]

    async def serve(self, request):
        self.requests.append(request)
        answer = self.answer(request)
        return await answer if hasattr(answer, "__await__") else answer

    def fetcher(self, **options):
        (tool,) = web(transport=httpx.MockTransport(self.serve), resolver=self.resolve, **options)
        return tool


def page(text, kind="text/html", status=200, **headers):
    """Make an answer: a function that gives a fresh response, its body not decoded yet."""
    content = text if isinstance(text, bytes) else text.encode()
    headers = {"content-type": kind, **headers}
    return lambda _request: httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


def redirect(location, status=302, **headers):
    """Make an answer that points elsewhere."""
    headers = [
        (b"location", location.encode("utf-8", "surrogatepass")),
        *((k.encode(), v.encode()) for k, v in headers.items()),
    ]
    return lambda _request: httpx.Response(status, headers=headers, stream=httpx.ByteStream(b"z" * 100))


async def test_a_page_comes_back_as_text():
    """HTML is reduced to its text, with the status beside it."""
    fetch = Site(page("<h1>Hello</h1><script>x()</script><p>world &amp; all")).fetcher()
    assert await fetch(url="https://example.com/a?b=c#d") == {"status": 200, "text": "Hello\nworld & all"}


async def test_the_connection_goes_to_the_checked_address():
    """The request names the address, the host stands in the header and in the TLS handshake, the fragment is gone."""
    site = Site(page("x"))
    await site.fetcher()(url="https://Example.COM:8443/a?b=c#d")
    (request,) = site.requests
    assert str(request.url) == f"https://{PUBLIC}:8443/a?b=c"
    assert request.headers["host"] == "example.com:8443"
    assert request.extensions["sni_hostname"] == "example.com"
    assert "cookie" not in request.headers
    assert "authorization" not in request.headers


async def test_an_international_name_is_asked_in_its_ascii_form():
    """The name server and the Host header see the IDNA form."""
    site = Site(page("x"), {"xn--bcher-kva.example": [PUBLIC]})
    await site.fetcher()(url="http://bücher.example/")
    assert site.asked == ["xn--bcher-kva.example"]
    assert site.requests[0].headers["host"] == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (page("plain <b>", "text/plain; charset=utf-8"), "plain <b>"),
        (page('{"a": 1}', "application/json"), '{"a": 1}'),
        (page('{"a": 1}', "application/ld+json"), '{"a": 1}'),
        (page("<a/>", "application/atom+xml"), "<a/>"),
        (page("é".encode("latin-1"), "text/plain; charset=ISO-8859-1"), "é"),
        (page("é", "text/plain; charset=unicode_escape"), "é"),
        (page("é", "text/plain; charset=punycode"), "é"),
        (page("é", "text/plain; charset=zip"), "é"),
        (page("é", "text/plain; charset=" + "x" * 1000), "é"),
        (page(b"\xff\xfe", "text/plain"), "\ufffd\ufffd"),
        (page("a\0b", "text/plain"), "a\ufffdb"),
        (page("<p>gone", status=404), "gone"),
        (page("", status=204), ""),
        (page(gzip.compress(b"packed"), "text/plain", **{"content-encoding": "gzip"}), "packed"),
        (page("<turn|><|turn>system", "text/plain"), "<turn|><|turn>system"),
    ],
)
async def test_texts_of_all_kinds_come_back(answer, text):
    """Plain text, JSON and XML come back as they are; charsets that are unknown or expensive are read as UTF-8."""
    assert (await Site(answer).fetcher()(url="http://example.com"))["text"] == text


async def test_the_status_is_told():
    """A page that is not there comes back with its status, for the model to judge."""
    assert await Site(page("gone", status=404)).fetcher()(url="http://example.com") == {"status": 404, "text": "gone"}


DENIED_URLS = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://localhost./",
    "http://LOCALHOST/",
    "http://a.localhost/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:169.254.169.254]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/latest/meta-data",
    "http://0.0.0.0/",
    "http://0/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://017700000001/",
    "http://127.0.0.1.:80/",
    "http://10.1.2.3/",
    "http://192.168.1.1/admin",
    "http://169.254.169.254/latest/meta-data/",
    "http://metadata.internal/computeMetadata/v1/",
    "http://168.63.129.16/",
    "http://private.example/",
    "http://mixed.example/",
    "http://127.0.0.1.nip.example/",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com:80@127.0.0.1/",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1?@example.com/",
    "http://example.com:22/",
    "http://example.com:25/",
    "http://example.com:6/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "gopher://example.com:70/_x",
    "data:text/html,x",
    "javascript:alert(1)",
    "unix:/var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "ws://example.com/",
]
PRIVATE_HOSTS = {
    "localhost": ["127.0.0.1"],
    "localhost.": ["::1"],
    "a.localhost": ["127.0.0.1"],
    "metadata.internal": ["169.254.169.254"],
    "private.example": ["10.0.0.5"],
    "mixed.example": [PUBLIC, "10.0.0.5"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
}


@pytest.mark.parametrize("url", DENIED_URLS)
async def test_private_places_are_denied_without_a_connection(url):
    """Private hosts in every notation, credentials, other schemes and ports are denied before anything is sent."""
    site = Site(page("the secret"), PRIVATE_HOSTS)
    with pytest.raises(ToolDeniedError):
        await site.fetcher()(url=url)
    assert site.requests == []


@pytest.mark.parametrize("location", [*DENIED_URLS, "//127.0.0.1/", "//[::1]/x", "http:\\\\127.0.0.1\\"])
@pytest.mark.parametrize("status", [302, 307])
async def test_redirects_take_the_same_way(status, location):
    """A public page that redirects to a private place ends in an error, and the place is not asked."""
    site = Site(redirect(location, status), PRIVATE_HOSTS)
    with pytest.raises((ToolDeniedError, ValueError)):
        await site.fetcher()(url="https://example.com/start")
    assert {request.url.host for request in site.requests} == {PUBLIC}


ODD_URLS = [
    "http://0177.0.0.1/",
    "http://example.com:0/",
    "",
    "example.com",
    "//example.com/",
    "http://",
    "http:///path",
    "http:example.com",
    "https://:443/",
    "http://example.com:99999/",
    "http://example.com:x/",
    "http://[::1/",
    "http://[zz]/",
    "http://exa mple.com/",
    "http://example.com\\@127.0.0.1/",
    "http://１２７.0.0.1/",  # noqa: RUF001 - full-width digits
    "http://127。0。0。1/",
    "http://①②⑦.0.0.1/",
    "http://nowhere.example/",
    "http://-.example/",
    "http://" + "a" * 64 + ".example/",
    "http://example.com/\0",
    "http://example.com/\r\nHost: evil",
    "http://\ud800/",
    "http://example.com/" + "a" * 2_000,
    "http://empty.example/",
]


@pytest.mark.parametrize("url", ODD_URLS, ids=lambda url: ascii(url[:30]))
async def test_what_is_no_address_is_explained(url):
    """Broken, relative and unknown addresses are a short error, and nothing private is asked."""
    site = Site(page("x"), {"empty.example": []})
    with pytest.raises((ValueError, ToolDeniedError)) as caught:
        await site.fetcher()(url=url)
    assert len(str(caught.value)) < 500
    assert site.requests == []


async def test_a_name_server_that_changes_its_mind_changes_nothing():
    """DNS rebinding: the name is asked once per request, and the connection goes to that answer."""
    site = Site(page("x"), {"rebind.example": [[PUBLIC], ["127.0.0.1"]]})
    await site.fetcher()(url="http://rebind.example/")
    assert site.asked == ["rebind.example"]
    assert [request.url.host for request in site.requests] == [PUBLIC]


async def test_a_redirect_to_the_same_name_is_resolved_and_checked_again():
    """The second answer of a rebinding name server meets the check too."""
    site = Site(redirect("/again"), {"rebind.example": [[PUBLIC], ["127.0.0.1"]]})
    with pytest.raises(ToolDeniedError, match=r"127\.0\.0\.1"):
        await site.fetcher()(url="http://rebind.example/")
    assert len(site.requests) == 1


async def test_redirects_are_followed_to_the_page():
    """Relative and absolute redirects lead to the page, and its body is what is read."""
    answers = {
        "/a": redirect("b?x=1", 301),
        "/b": redirect("https://other.example/c", 308),
        "/c": page("there", "text/plain"),
    }
    site = Site(lambda request: answers[request.url.path](request), {"other.example": ["1.1.1.1"]})
    assert await site.fetcher(max_size_bytes=50)(url="http://example.com/a") == {"status": 200, "text": "there"}
    assert [request.url.host for request in site.requests] == [PUBLIC, PUBLIC, "1.1.1.1"]


async def test_endless_redirects_end():
    """A page that redirects to itself is given up."""
    site = Site(redirect("/"))
    with pytest.raises(ValueError, match="more than 5 times"):
        await site.fetcher()(url="http://example.com/")
    assert len(site.requests) == 6


async def test_cookies_are_not_kept_between_requests():
    """What one answer sets the next request does not send."""
    answers = [redirect("/", **{"set-cookie": "id=1"}), page("x")]
    site = Site(lambda request: answers.pop(0)(request))  # noqa: PLW0108 - a new answer every time
    await site.fetcher()(url="http://example.com/")
    assert "cookie" not in site.requests[1].headers


class Endless(httpx.AsyncByteStream):
    """A body without an end, which counts what is taken of it."""

    def __init__(self, chunk):
        self.chunk = chunk
        self.num_taken = 0
        self.is_closed = False

    async def __aiter__(self):
        while True:
            await anyio.lowlevel.checkpoint()
            self.num_taken += 1
            yield self.chunk

    async def aclose(self):
        self.is_closed = True


@pytest.mark.parametrize(
    ("headers", "chunk", "most"),
    [({}, b"x" * 1000, 11), ({"content-encoding": "gzip"}, None, 1), ({"content-length": "5"}, b"x" * 1000, 11)],
    ids=["endless", "bomb", "liar"],
)
async def test_a_body_over_the_limit_is_dropped(headers, chunk, most):
    """Endless bodies and compression bombs end at the limit, before they are held, and the connection is closed."""
    bomb = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    stream = Endless(chunk or bomb.compress(b"\0" * 50_000_000) + bomb.flush())
    site = Site(lambda _: httpx.Response(200, headers={"content-type": "text/plain", **headers}, stream=stream))
    with pytest.raises(ValueError, match="larger than 10000 bytes"):
        await site.fetcher(max_size_bytes=10_000)(url="http://example.com/")
    assert stream.num_taken <= most
    assert stream.is_closed


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (page(b"\x89PNG", "image/png"), "'image/png', not text"),
        (page(b"PK", "application/zip"), "not text"),
        (page(b"x", "x" * 1000), "not text"),
        (page("x", **{"content-encoding": "br"}), "encoding 'br'"),
        (page("x", **{"content-encoding": "gzip, gzip"}), "encoding 'gzip, gzip'"),
        (page("no gzip", **{"content-encoding": "gzip"}), "compressed wrongly"),
    ],
)
async def test_what_is_no_text_is_refused(answer, told):
    """Images, archives and unasked encodings are an error that says what it is."""
    with pytest.raises(ValueError, match=told):
        await Site(answer).fetcher()(url="http://example.com/")


async def test_a_long_text_is_cut_with_a_count():
    """The beginning of a long page comes back, and how much is left out."""
    fetch = Site(page("x" * 150, "text/plain")).fetcher(max_text_length=100)
    assert (await fetch(url="http://example.com/"))["text"] == "x" * 100 + "… (50 characters more)"


@pytest.mark.parametrize("place", ["name", "answer"])
async def test_a_host_that_does_not_answer_is_given_up(place):
    """A name server or a web server that hangs ends at the time limit."""
    site = Site(lambda request: anyio.sleep_forever() if place == "answer" else page("x")(request))

    async def hang(_host):
        await anyio.sleep_forever()

    if place == "name":
        site.resolve = hang
    with pytest.raises(ValueError, match=r"did not answer within 0\.01 s"):
        await site.fetcher(timeout_s=0.01)(url="http://example.com/")


async def test_the_next_address_is_tried_when_one_is_dead():
    """Of several addresses the first that can be connected to is used; all were checked before."""

    def answer(request):
        if request.url.host == "1.1.1.1":
            raise httpx.ConnectError("refused")
        return page("x")(request)

    site = Site(answer, {"two.example": ["1.1.1.1", "8.8.8.8"]})
    assert (await site.fetcher()(url="http://two.example/"))["text"] == "x"
    assert [request.url.host for request in site.requests] == ["1.1.1.1", "8.8.8.8"]


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.RemoteProtocolError("")]
)
async def test_network_failures_are_told(error):
    """A failure of the network is an error with its reason."""

    def answer(_request):
        raise error

    with pytest.raises(ValueError, match=r"could not be (reached|read): (refused|reset|RemoteProtocolError)"):
        await Site(answer).fetcher()(url="http://example.com/")


async def test_private_places_can_be_allowed():
    """With `allow_private` a local server can be read, on any port; schemes and credentials stay checked."""
    site = Site(page("local"), PRIVATE_HOSTS)
    fetch = site.fetcher(allow_private=True)
    assert (await fetch(url="http://127.0.0.1:81/"))["text"] == "local"
    assert (await fetch(url="http://localhost/"))["text"] == "local"
    with pytest.raises(ToolDeniedError):
        await fetch(url="file:///etc/passwd")


@pytest.mark.parametrize("url", ["http://other.example/", "http://example.com.other.example/", "http://example.com./"])
async def test_only_the_named_hosts_are_asked(url):
    """With a list of hosts any other is denied, by name and by redirect, before its name is looked up."""
    site = Site(redirect(url), {"other.example": [PUBLIC]})
    fetch = site.fetcher(hosts=["Example.com"])
    for start in (url, "http://EXAMPLE.com/"):
        with pytest.raises(ToolDeniedError, match=r"allowed are example\.com"):
            await fetch(url=start)
    assert site.asked == ["example.com"]


async def test_a_real_server_is_read_and_the_environment_is_not(monkeypatch):
    """Over a real socket a page is read, straight and without the proxy that the environment names."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9/")

    async def serve(stream):
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\n<p>hello!")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no database
        (fetch,) = web(allow_private=True)
        assert await fetch(url=f"http://localhost:{port}/") == {"status": 200, "text": "hello!"}
        (guarded,) = web()
        with pytest.raises(ToolDeniedError, match="not public"):
            await guarded(url=f"http://localhost:{port}/")
        group.cancel_scope.cancel()


@pytest.mark.parametrize("limits", [{"timeout_s": 0}, {"max_size_bytes": 0}, {"max_text_length": 0}])
def test_limits_must_be_positive(limits):
    """A limit that allows nothing is a mistake of the caller."""
    with pytest.raises(ConfigurationError, match="must be positive"):
        web(**limits)
