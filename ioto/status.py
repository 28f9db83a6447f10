"""What the device says about itself: identity, uptime, memory and request counts, as /api/device answers it.

Everything comes from the configuration, from counters that the parts keep anyway, and from /proc. A figure that this
system does not offer is None. Secrets stay out: of device.json5 only the names in IDENTITY are shown, and the
product, which the device presents as its credential when it registers, is not among them.
"""
import os
import sys
import time

IDENTITY = ('id', 'name', 'model', 'version', 'description', 'serial')


def device_status(agent):
    """A dictionary for JSON: device, agent, host, memory and web. Times are in seconds, sizes in bytes."""
    used, total, available = memory()
    host = os.uname()
    report = {
        'time': time.time(),
        'device': {name: agent.device[name] for name in IDENTITY if name in agent.device},
        'agent': {
            'version': agent.version, 'profile': agent.profile, 'uptime': time.monotonic() - agent.started,
            'pid': os.getpid(), 'python': sys.version.partition(' ')[0], 'services': list(agent.services),
        },
        'host': {
            'name': host.nodename, 'system': f'{host.sysname} {host.release}', 'machine': host.machine,
            'board': board(), 'uptime': _number('/proc/uptime'), 'load': _number('/proc/loadavg'),
            'cpus': os.cpu_count(),
        },
        'memory': {'agent': used, 'total': total, 'available': available},
    }
    if agent.web:
        report['web'] = dict(agent.web.stats)
    return report


def memory():
    """(bytes that this process has in memory, bytes of the board, bytes available on it); None where unknown."""
    pages = (_read('/proc/self/statm') or '').split()
    used = int(pages[1]) * os.sysconf('SC_PAGE_SIZE') if len(pages) > 1 else None
    sizes = {}
    for line in (_read('/proc/meminfo') or '').splitlines():
        name, _, rest = line.partition(':')
        if name in ('MemTotal', 'MemAvailable'):
            sizes[name] = int(rest.split()[0]) * 1024
    return used, sizes.get('MemTotal'), sizes.get('MemAvailable')


def board():
    """The board's model as the device tree names it, such as 'Raspberry Pi 4 Model B Rev 1.4'; None without one."""
    text = _read('/proc/device-tree/model')
    return text.strip('\0 \n') or None if text else None


def _number(path):
    """The first number in a file of /proc."""
    try:
        return float(_read(path).split()[0])
    except (AttributeError, IndexError, ValueError):
        return None


def _read(path):
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read()
    except OSError:
        return None
