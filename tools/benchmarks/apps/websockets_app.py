"""The package websockets as a peer, without its part in C: PORT FOLDER."""

import asyncio
import sys

sys.modules['websockets.speedups'] = None       # an import of it fails

from websockets.asyncio.server import serve  # noqa: E402


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    async with serve(echo, '127.0.0.1', int(sys.argv[1]), compression=None, ping_interval=None) as server:
        await server.serve_forever()


asyncio.run(main())
