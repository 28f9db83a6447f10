"""
What tools/bench.py measures, one module a subject: `web` (http, static, connections, stream), `secure` (tls), `parsing` (json5), `db` and
`footprint` (start, memory, size, idle). They share `servers` (the agent and its peers as child processes), `load`
(what makes requests) and `report` (what a measurement is, and how it is printed). `apps/` holds the peers' programs.
"""
