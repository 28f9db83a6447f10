"""What an answer asks for before it is final: redirects (RFC 9110 §15.4), credentials (§11), a body without Expect
(§15.5.18).

`again` changes the Fetch and says whether its request is to be sent again. Credentials stay with the origin that they
were given for: a redirect to another takes along neither Authorization nor Cookie fields, nor the user of the URL.
"""

from ..http.url import resolve
from .errors import ProtocolError

REDIRECTS = frozenset((301, 302, 303, 307, 308))
HTTP, WEBSOCKETS = ('http', 'https'), ('ws', 'wss')
PRIVATE = frozenset(('authorization', 'cookie', 'proxy-authorization', 'host'))


async def again(fetch):
    """Whether to send the request of a Fetch again, having met an answer from 300 up. Raises ProtocolError."""
    status = fetch.status
    if status in REDIRECTS:
        return await _redirect(fetch)
    if status == 401 and fetch.auth is not None and fetch.bearer is None or status == 407:
        from .auth import answer
        if answer(fetch):
            await fetch.discard()
            return True
    elif status == 417 and fetch.expect and fetch.repeatable():
        fetch.expect = False
        await fetch.discard()
        return True
    return False


async def _redirect(fetch):
    places = set(fetch.headers.all('location'))
    if not places or not fetch.redirects:
        return False
    origin, where = fetch.url, fetch.url.place
    if fetch.hops >= fetch.redirects:
        raise ProtocolError(f'more than {fetch.redirects} redirects', where)
    try:
        place, = places
        place = place.encode('latin-1').decode('utf-8', 'replace')
        if origin.scheme in WEBSOCKETS and place[:4].lower() == 'http':
            place = 'ws' + place[4:]
        target = resolve(origin, place)
    except ValueError as error:
        why = error if len(places) == 1 else 'several Location fields'
        raise ProtocolError(f'bad redirect: {why}', where) from None
    if target.scheme != origin.scheme and target.scheme not in (WEBSOCKETS if origin.scheme in WEBSOCKETS else HTTP):
        raise ProtocolError(f'a redirect to {target.scheme}: is not followed', where)
    if origin.secure and not target.secure and not fetch.downgrade:
        raise ProtocolError(f'a redirect from TLS to {target.place} is not followed', where)
    if target.origin != origin.origin:
        if target.scheme == 'unix':
            raise ProtocolError('a redirect to another UNIX socket is not followed', where)
        fetch.own = [pair for pair in fetch.own if pair[0].lower() not in PRIVATE]
        fetch.own += [(name, target.authority if name == 'host' else None)
                      for name in fetch.client.fields if name in PRIVATE]
        fetch.auth = fetch.bearer = None
    if fetch.status == 303 and fetch.method != 'HEAD' or fetch.status < 303 and fetch.method == 'POST':
        fetch.method, fetch.payload = 'GET', None
        fetch.own = [pair for pair in fetch.own if not pair[0].lower().startswith('content-')]
    elif not fetch.repeatable():
        raise ProtocolError(f'a redirect to {target.place} needs the body again, which was a stream', where)
    if target.fragment is None and origin.fragment is not None:
        target = resolve(target, '#' + origin.fragment)
    await fetch.discard()
    fetch.url = target
    fetch.hops += 1
    fetch.tried = {}
    return True
