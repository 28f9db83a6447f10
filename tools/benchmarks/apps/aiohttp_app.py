"""aiohttp as a peer: PORT FOLDER."""

import asyncio
import sys
import tempfile

from aiohttp import web

STEP = 1 << 20
PAUSE = 0.004


async def hello(request):
    return web.Response(body=b'{"hello":"world"}', content_type='application/json')


async def slow(request):
    total = pending = 0
    async for piece in request.content.iter_any():
        total += len(piece)
        pending += len(piece)
        if pending >= STEP:
            pending = 0
            await asyncio.sleep(PAUSE)
    return web.Response(text=str(total))


async def form(request):
    field = await (await request.multipart()).next()
    with tempfile.TemporaryFile(dir=sys.argv[2]) as file:
        while piece := await field.read_chunk(1 << 18):
            file.write(piece)
        return web.Response(text=str(file.tell()))


app = web.Application()
app.add_routes([web.get('/api/hello', hello), web.post('/api/slow', slow), web.post('/api/form', form),
                web.static('/', sys.argv[2] + '/site')])
web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]), access_log=None, print=None, keepalive_timeout=300,
            backlog=4096)
