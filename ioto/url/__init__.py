"""The HTTP client.

    text = await url.get('https://example.com/x')                    # raises url.StatusError if the answer is not 2xx
    data = await url.json('POST', 'https://example.com/y', {'a': 1})
    async with url.fetch('PUT', target, body=file, headers={…}, timeout=30) as up:
        print(up.status, up.headers)
        async for chunk in up: …

These use a Client of the running scheduler; a `url.Client(…)` of one's own has its own connections, cookies, TLS,
proxy and limits. All errors are UrlError. `url.Form({…})` is a multipart body, of values and files.
"""

from .client import Client, default
from .errors import ConnectError, ProtocolError, StatusError, TimeoutError, TlsError, TooLarge, UrlError
from .fetch import Fetch


def __getattr__(name):
    if name == 'Form':                          # few need it
        from .form import Form
        return Form
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def fetch(method, target, body=None, **options):
    """See `Client.fetch`."""
    return default().fetch(method, target, body, **options)


async def get(target, **options):
    """See `Client.get`."""
    return await default().get(target, **options)


async def post(target, body=None, **options):
    """See `Client.post`."""
    return await default().post(target, body, **options)


async def json(method, target, value=None, **options):
    """See `Client.json`."""
    return await default().json(method, target, value, **options)


def websocket(target, **options):
    """See `Client.websocket`."""
    return default().websocket(target, **options)


def events(target, last_id=None, **options):
    """See `Client.events`."""
    return default().events(target, last_id, **options)


async def download(target, path, **options):
    """See `Client.download`."""
    return await default().download(target, path, **options)
