"""Giving up the rights of root once the ports are bound: `web.chroot`, `web.user` and `web.group`.

Names are looked up at the start, where /etc is in sight; `assume` then goes through chroot, groups, group and user in the order that
leaves no way back (chroot(2), setgroups(2), setuid(2)). Where a chroot hides Python's library, or the user may not read it or this
program, what is imported only when it is used is loaded before. Configured paths below the new root are found by their old names. Not in sight any more, unless the new root
has them: the configuration and certificates for a reload, the resolver's files for names of hosts, /proc and /dev/log.
"""

import grp
import os
import pwd
import sys

from .routes import WebError

NAMES = ('user', 'group', 'chroot')
LATER = ('traceback', 'difflib', 'fcntl', 'hashlib', 'hmac', 'ipaddress', 'random', 'secrets', 'shutil', 'tempfile',
         'encodings.ascii', 'encodings.idna', 'encodings.latin_1', 'encodings.cp1252', 'encodings.utf_16')


class Identity:
    """Who the process is to become, and where. Raises WebError for what there is not, and who may not."""

    def __init__(self, config, resolve):
        self.root = self.uid = self.gid = self.groups = None
        self.find, self.found, self.moved = resolve, {}, False
        for name in NAMES:
            if config.get(name) and os.geteuid():
                raise WebError(f'web.{name}', 'only root may change it; leave it out, or start as root')
        name = config.get('user')
        try:
            if name:
                self.uid, self.gid = pwd.getpwnam(name)[2:4]
        except KeyError:
            raise WebError('web.user', f'there is no user {name!r}') from None
        try:
            if config.get('group'):
                self.gid = grp.getgrnam(config['group']).gr_gid
        except KeyError:
            raise WebError('web.group', f'there is no group {config["group"]!r}') from None
        if self.gid is not None:
            self.groups = os.getgrouplist(name, self.gid) if name else [self.gid]
        if config.get('chroot'):
            self.root = os.path.realpath(resolve(config['chroot']))
            if not os.path.isdir(self.root):
                raise WebError('web.chroot', f'there is no folder {self.root}')

    def resolve(self, path):
        """The real path of a configured one, as this process sees it."""
        if path not in self.found:
            self.found[path] = os.path.realpath(self.find(path))
        path = self.found[path]
        return path[len(self.root):] or '/' if self.moved and self.reaches(path) else path

    def reaches(self, path):
        """Whether a real path will still be there."""
        return self.root in (None, '/') or f'{path}/'.startswith(f'{self.root}/')

    def assume(self):
        """Become it. Raises OSError."""
        if self.root:
            preload()
            os.chroot(self.root)
            os.chdir('/')
            self.moved = self.root != '/'
        if self.gid is not None:
            os.setgroups(self.groups)
            os.setgid(self.gid)
        if self.uid is not None:
            os.seteuid(self.uid)
            places = getattr(__loader__, 'archive', os.path.dirname(__file__)), os.path.dirname(os.__file__)
            readable = self.root or all(os.access(place, os.R_OK, effective_ids=True) for place in places)
            os.seteuid(0)
            if not readable:
                preload()
            os.setuid(self.uid)


def preload():
    """Import what the packages of this program, and Python, would import later."""
    from importlib import import_module
    from pkgutil import iter_modules
    here = sys.modules[__name__.rpartition('.web.')[0]]
    packages = [here.__name__ + '.' + module.name for module in iter_modules(here.__path__) if module.ispkg]
    modules = [f'{name}.{module.name}' for name in packages for module in iter_modules(import_module(name).__path__)]
    for name in (*modules, *LATER):
        if not name.endswith('__main__'):
            try:
                import_module(name)
            except ImportError:             # a part that this board has not
                pass
