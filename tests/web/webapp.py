"""The app that the black-box tests load into the agent with --app: one action for each behaviour that they need."""

from ioto import runtime

STREAMED = 20


async def start(agent):
    action = agent.web.action

    @action('/api/echo')
    async def echo(web):
        """What arrived, as JSON."""
        parts = []
        async for chunk in web.body():
            parts.append(bytes(chunk))
        return {'method': web.method, 'path': web.path, 'query': web.query, 'headers': dict(web.headers),
                'body': b''.join(parts).decode('latin-1')}

    @action('/api/count')
    async def count(web):
        """The number of body bytes, read slowly in small pieces."""
        total = 0
        async for chunk in web.body():
            total += len(chunk)
        return str(total)

    @action('/api/lazy')
    async def lazy(web):
        """The number of body bytes; pauses now and then, so that the client is always ahead."""
        total = pause = 0
        async for chunk in web.body():
            total += len(chunk)
            if total >= pause:
                pause += 1 << 25
                await runtime.sleep(0.02)
        return str(total)

    @action('/api/ignore')
    async def ignore(web):
        """Never reads its body."""
        return 'ignored'

    @action('/api/get', methods=['GET'])
    async def get(web):
        return 'got'

    @action('/api/post', methods=['POST'])
    async def post(web):
        return await web.text()

    @action('/api/stream')
    async def stream(web):
        """An answer of unknown length."""
        for number in range(STREAMED):
            await web.write(b'line %d\n' % number)

    @action('/api/slow')
    async def slow(web):
        """A transfer that lasts about a second."""
        for number in range(20):
            await web.write(b'%04d\n' % number * 200)
            await runtime.sleep(0.05)

    @action('/api/none')
    async def none(web):
        web.status = 204

    @action('/api/none-text')
    async def none_text(web):
        """A 204 whose author forgot that it has no content."""
        web.status = 204
        return 'no place for this'

    @action('/api/not-modified')
    async def not_modified(web):
        web.status = 304
        return 'no place for this'

    @action('/api/created')
    async def created(web):
        web.status = 201
        web.set_header('Location', '/hello.txt')
        return {'created': True}

    @action('/api/empty')
    async def empty(web):
        return ''

    @action('/api/fail')
    async def fail(web):
        raise ValueError('meant to fail')

    @action('/api/redirect')
    async def redirect(web):
        await web.redirect('/hello.txt', 302)

    @action('/api/error')
    async def error(web):
        await web.error(409, 'in conflict')

    @action('/api/stats')
    async def stats(web):
        return agent.web.stats

    @action('/api/split')
    async def split(web):
        """Tries to smuggle a line end into a field."""
        web.set_header('X-Bad', 'a\r\nX-Injected: yes')
        return 'split'
