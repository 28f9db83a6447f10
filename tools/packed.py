"""
How the modules of ioto are loaded from a package: tools/package.py puts this file into it as ioto/packed.py.

A zip archive compresses each file by itself and by deflate, which costs a package of many small modules two thirds more. So all but
this one and ioto/__init__.py, which imports it, stand in one entry, ioto/modules, compressed by bzip2, which python3-light has: for
each module a NUL, its path, a line end, its source. They are read once, and each is let go when it is loaded; so those that are
loaded later need no archive, which by then may have been replaced or be out of reach of a chroot.
"""
import sys
from bz2 import decompress
from importlib.machinery import ModuleSpec, SourceFileLoader

ROOT = __file__.removesuffix('ioto/packed.py')      # the path of the archive, and a slash


def read():
    """{path: source} of all modules."""
    data = decompress(__spec__.loader.get_data(f'{ROOT}ioto/modules'))
    return {ROOT + path.decode(): source for path, _, source in (each.partition(b'\n') for each in data.split(b'\0')[1:])}


class Loader(SourceFileLoader):
    """Loads one module."""

    def get_data(self, path):
        """The source; it is read again for a traceback."""
        source, sources[path] = sources[path], None
        try:
            return source or read()[path]
        except Exception as error:                  # another archive stands there
            raise OSError(f'{path}: {error}') from error

    def path_stats(self, path):
        raise OSError(f'{path} has no bytecode')


class Finder:
    """Finds the modules for `import`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        for tail in '.py', '/__init__.py':
            path = ROOT + name.replace('.', '/') + tail
            if path in sources:
                spec = ModuleSpec(name, Loader(name, path), origin=path, is_package=tail != '.py')
                spec.has_location = True
                return spec


sources = read()                                    # None: loaded
sys.meta_path.insert(0, Finder)
