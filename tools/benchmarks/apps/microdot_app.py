"""microdot as a peer: PORT FOLDER."""

import sys

from microdot import Microdot, send_file

SITE = sys.argv[2] + '/site/'
app = Microdot()


@app.get('/api/hello')
async def hello(request):
    return b'{"hello":"world"}', 200, {'Content-Type': 'application/json'}


@app.get('/<path:path>')
async def static(request, path):
    return send_file(SITE + path)


app.run(host='127.0.0.1', port=int(sys.argv[1]))
