"""The agent's app for the benchmarks: one action answers at once, one reads its body slowly, one takes files."""

from ioto.runtime import sleep

STEP = 1 << 20
PAUSE = 0.004


async def start(agent):

    @agent.web.action('/api/hello')
    async def hello(web):
        return {'hello': 'world'}

    @agent.web.action('/api/slow')
    async def slow(web):
        total = pending = 0
        async for piece in web.body():
            total += len(piece)
            pending += len(piece)
            if pending >= STEP:
                pending = 0
                await sleep(PAUSE)
        return str(total)

    @agent.web.action('/api/form')
    async def form(web):
        await web.form()
        return str(web.files['file'].size)
