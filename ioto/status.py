"""What the device says about itself, as /api/device answers it: identity, uptime, memory and request counts.

What this system does not offer is None. Of device.json5 only the names in IDENTITY are shown: `product` is a secret.
"""
import os
import re
import sys
import time

from . import version

IDENTITY = ('id', 'name', 'model', 'version', 'description', 'serial')


def device_status(agent, web=None):
    """A dictionary for JSON, with times in seconds and sizes in bytes; to a request that is given also how it can sign in."""
    host = os.uname()
    report = {
        'time': time.time(),
        'device': {name: agent.device[name] for name in IDENTITY if name in agent.device},
        'agent': {
            'version': version, 'profile': agent.profile, 'uptime': time.monotonic() - agent.started,
            'pid': os.getpid(), 'python': sys.version.partition(' ')[0], 'services': agent.services,
        },
        'host': {
            'name': host.nodename, 'system': f'{host.sysname} {host.release}', 'machine': host.machine,
            'board': _read('/proc/device-tree/model').strip('\0 \n') or None, 'uptime': _number('/proc/uptime'),
            'load': _number('/proc/loadavg'), 'cpus': os.cpu_count(),
        },
        'memory': {
            'agent': _number('/proc/self/statm', r' (\d+)', os.sysconf('SC_PAGE_SIZE')),
            'total': _number('/proc/meminfo', r'MemTotal: *(\d+)', 1024),
            'available': _number('/proc/meminfo', r'MemAvailable: *(\d+)', 1024),
        },
    }
    if agent.web:
        report['web'] = agent.web.stats
        access = agent.web.access
        if web and access:
            report['auth'] = {'user': web.user and web.user.name, 'login': access.login_path, 'logout': access.logout_path,
                              'setup': bool(access.code)}
    return report


def _number(path, pattern=r'([\d.]+)', unit=1):
    found = re.search(pattern, _read(path))
    return (float if '.' in found[1] else int)(found[1]) * unit if found else None


def _read(path):
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read()
    except OSError:
        return ''
