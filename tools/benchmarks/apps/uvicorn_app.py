"""uvicorn with httptools and uvloop as a peer, no framework above it: PORT FOLDER. With FOLDER/certs it speaks TLS."""

import asyncio
import os
import sys

import uvicorn

SITE = sys.argv[2] + '/site'
STEP = 1 << 20
PAUSE = 0.004
BLOCK = 1 << 18


async def app(scope, receive, send):
    path = scope['path']
    if path == '/api/hello':
        await answer(send, b'application/json', b'{"hello":"world"}')
    elif path == '/api/slow':
        await answer(send, b'text/plain', b'%d' % await read_slowly(receive))
    else:
        await send_file(send, SITE + path)


async def answer(send, kind, body):
    fields = [(b'content-type', kind), (b'content-length', b'%d' % len(body))]
    await send({'type': 'http.response.start', 'status': 200, 'headers': fields})
    await send({'type': 'http.response.body', 'body': body})


async def read_slowly(receive):
    total = pending = 0
    more = True
    while more:
        message = await receive()
        total += len(message['body'])
        pending += len(message['body'])
        more = message['more_body']
        if pending >= STEP:
            pending = 0
            await asyncio.sleep(PAUSE)
    return total


async def send_file(send, path):
    with open(path, 'rb', buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        fields = [(b'content-type', b'text/plain'), (b'content-length', b'%d' % left)]
        await send({'type': 'http.response.start', 'status': 200, 'headers': fields})
        while True:
            data = file.read(BLOCK)
            left -= len(data)
            await send({'type': 'http.response.body', 'body': data, 'more_body': left > 0})
            if left <= 0:
                return


CERTIFICATE = sys.argv[2] + '/certs/server.crt'
TLS = {'ssl_certfile': CERTIFICATE, 'ssl_keyfile': CERTIFICATE[:-3] + 'key'} if os.path.exists(CERTIFICATE) else {}
uvicorn.run(app, host='127.0.0.1', port=int(sys.argv[1]), http='httptools', loop='uvloop', lifespan='off',
            access_log=False, log_level='warning', timeout_keep_alive=300, backlog=4096, **TLS)
