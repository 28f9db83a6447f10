"""Configuration: the files of one folder, checked against a table of properties, as one dictionary.

Each file is read as JSON5 in its relaxed form, checked on its own and only then blended with the others, so an error
names the file, line and column of the very value that is wrong. The order, later ones winning: ioto.json5 (or
config.json5 where there is none), then web, auth, device and schema.json5, then what these files hold for the chosen
profile under `conditional: {profile: {dev: {…}}}` or `profiles: {dev: {…}}`, then local.json5 and its own profiles,
then the command line. web.json5 holds the properties of `web` at its top, or has the shape of ioto.json5 with `web:`
inside and `tls` and `log` beside it; auth.json5, device.json5 and schema.json5 likewise. Keys may carry json5.blend's
prefixes + - = and ?.

The tables below say which properties exist. A kind is a name out of KINDS, a tuple of allowed words, a list that
holds the kind of its items, 'later' for what a coming version has, or a table of properties where '*' stands for any
name. Sizes become bytes and times seconds here, so the rest of the agent sees numbers only. What nobody set is
absent: each part knows its own defaults.
"""
import os
import re

from . import json5
from .runtime import log, units

SERVICES = ('serialize', 'database', 'web', 'register', 'provision', 'keys', 'mqtt', 'sync', 'shadow', 'logs', 'update',
            'demo', 'url')
PORTS = {'prod': 80}
LEARNED = ('device.json5', 'provision.json5', 'shadow.json5', 'ioto.crt', 'ioto.key')
PREFIXES = '+-=?'

_ADDRESS = re.compile(r'(?:https?://)?(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[\w.-]*)(?::(\d{1,5}))?/?')


def _text(value):
    if not isinstance(value, str):
        raise ValueError
    return value


def _flag(value):
    if not isinstance(value, bool):
        raise ValueError
    return value


def _count(value):
    if value == 'unlimited':
        return units.INFINITY
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError
    return value


def _show(value):
    if not isinstance(value, str) or value.strip('HhBb'):
        raise ValueError
    return value


def _address(value):
    if not isinstance(value, str) or not value:
        raise ValueError
    if not (value.startswith('unix:') and len(value) > 5):
        found = _ADDRESS.fullmatch(value)
        if not found or (found[1] and int(found[1]) > 65535):
            raise ValueError
    return value


def _types(value):
    log.parse_spec('-:' + _text(value).replace(':', ' '))
    return value


def _format(value):
    if re.search('%(?![ADHMPST%])', _text(value)):
        raise ValueError
    return value


KINDS = {   # kind: (what an error says was expected, converter that raises ValueError)
    'any': ('a value', lambda value: value),
    'text': ('a text', _text),
    'flag': ('true or false', _flag),
    'count': ("a whole number such as 100, or 'unlimited'", _count),
    'size': ("a size such as '100K'", units.size),
    'time': ("a time such as '30 secs'", units.seconds),
    'address': ("an address such as 'http://:8080'", _address),
    'show': ("letters out of 'HhBb'", _show),
    'types': ('words out of error, info, trace, debug', _types),
    'format': ('a text with %A, %D, %H, %M, %P, %S and %T', _format),
}

LIMITS = {name: 'size' for name in 'body buffer form header line upload frame message'.split()} | {
    name: 'count' for name in 'connections clientConnections fields requests sessions'.split()}
TIMEOUTS = {name: 'time' for name in 'parse inactivity request session tls grace'.split()}
ROUTE = {
    'match': 'text', 'handler': ('file', 'action'), 'methods': ['text'], 'role': 'text', 'can': 'text',
    'redirect': 'text', 'status': 'count', 'stream': 'flag', 'cache': 'any', 'headers': {'*': 'text'},
    'limits': LIMITS, 'timeouts': TIMEOUTS, 'validate': 'any', 'xsrf': 'flag',
}
TLS = {'certificate': 'text', 'key': 'text', 'authority': 'text', 'ciphers': 'text', 'verify': 'any'}
WEB = {
    'listen': ['address'], 'documents': 'text', 'index': 'text', 'name': 'text', 'hosts': 'later', 'routes': [ROUTE],
    'redirect': [{'status': 'count', 'from': 'text', 'to': 'text'}], 'headers': {'*': 'text'}, 'cache': {'*': 'any'},
    'mime': {'*': 'text'}, 'limits': LIMITS, 'timeouts': TIMEOUTS, 'log': 'flag', 'show': 'show', 'tls': TLS,
    'files': {'cache': 'size', 'item': 'size'}, 'upload': {'dir': 'text', 'remove': 'flag'}, 'auth': 'any',
}
LOG = {'types': 'types', 'sources': 'text', 'format': 'format', 'path': 'text', 'size': 'size', 'backups': 'count'}
TOP = {
    'app': 'text', 'profile': 'text', 'log': LOG, 'web': WEB, 'auth': {'*': 'any'},
    'services': {name: 'flag' for name in SERVICES} | {'serialize': ('none', 'auto', 'factory', False)},
    'directories': {'state': 'text', 'site': 'text', 'certs': 'text'},
    'device': {'id': 'text', 'name': 'text', 'product': 'text', 'model': 'text', 'version': 'text',
               'description': 'text', '*': 'any'},
    'schema': 'any', 'account': 'text', 'cloud': 'text',
} | {name: {'*': 'any'} for name in ('api', 'aws', 'database', 'demo', 'keys', 'logs', 'metrics', 'mqtt', 'provision',
                                     'register', 'shadow', 'sync', 'update', 'url')}
MOUNTS = ('web', 'auth', 'device', 'schema')


class ConfigError(ValueError):
    """A mistake in the configuration.

    str() is 'FILE:LINE:COLUMN: PROPERTY: MESSAGE', as much of it as is known; the parts are attributes of these names
    (`.path` is the file).
    """

    def __init__(self, message, property=None, path=None, line=None, column=None):
        self.message, self.property, self.path, self.line, self.column = message, property, path, line, column
        place = ':'.join(str(part) for part in (path, line, column) if part is not None)
        super().__init__(': '.join(part for part in (place, property, message) if part))


class Config:
    """The configuration of one agent: `.values` (dictionary), `.profile`, `.paths`; made by `load`."""

    def __init__(self, values, profile, paths, layers):
        self.values, self.profile, self.paths, self.layers = values, profile, paths, layers

    def error(self, property, message):
        """A ConfigError about a property such as 'web.listen[0]', placed where its value was set last."""
        names = [int(name) if name.isdigit() else name for name in re.findall(r'[^.\[\]]+', property)]
        best, length = None, 0
        for layer in self.layers:
            found = _walk(layer.values, names)
            if found and len(found) >= length:
                best, length = layer, len(found)
        return best.error(_walk(best.values, names), message, property) if best else ConfigError(message, property)


class Paths:
    """The folders of an agent, each with its absolute path: home, config, state, site and certs.

    What a configuration names by a relative path ('site') is looked for beside the configuration first (in the folder
    above config/, or next to ioto.json5 where its folder has another name), then in home; an explicit `home` comes
    before both. The folder that holds the configuration is never meant by chance: '.' is home.
    """

    def __init__(self, config, home=None, state=None, directories=()):
        self.home = os.path.abspath(home or '.')
        self.config = os.path.abspath(config)
        parent = os.path.dirname(self.config)
        beside = [parent, self.config] if os.path.basename(self.config) == 'config' else [self.config, parent]
        self.bases = [self.home] if home else beside + [self.home]
        if home:
            self.bases += beside
        directories = dict(directories)
        self.state = os.path.abspath(state) if state else os.path.join(self.home, directories.get('state', 'state'))
        self.site = self.resolve(directories.get('site', 'site'))
        self.certs = self.resolve(directories.get('certs', 'certs'))

    def resolve(self, path):
        """The absolute path of '@state/x', '/x' or 'x'; ConfigError for an unknown folder such as '@stat/'."""
        if path.startswith('@'):
            name, _, rest = path[1:].partition('/')
            if name not in ('config', 'state', 'site', 'certs', 'home'):
                raise ConfigError(f"expected @config/, @state/, @site/, @certs/ or @home/, got '{path}'")
            return os.path.normpath(os.path.join(getattr(self, name), rest))
        for base in self.bases:
            found = os.path.normpath(os.path.join(base, path))
            if os.path.exists(found) and not self._holds_config(found):
                return found
        return os.path.normpath(os.path.join(self.home, path))

    def _holds_config(self, folder):
        return (self.config + '/').startswith(folder.rstrip('/') + '/')


class _Layer:
    """The values out of one place, in the shape of ioto.json5: a file, or one profile of it, which `inner` names.

    `moved` tells where values stand in the file that stand elsewhere in the configuration: [(names here, names there)].
    """

    def __init__(self, path, inner=(), moved=(), values=None):
        self.path, self.inner, self.moved, self.values = path, list(inner), moved, values

    def error(self, names, message, property=None):
        """A ConfigError with the place of the value that `names`, as written in the file, lead to."""
        for here, there in self.moved:
            if names[:len(here)] == here:
                written = there + names[len(here):]
                break
        else:
            written = names
        place = None, None
        try:
            with open(self.path, 'rb') as file:
                place = json5.locate(file.read(), _dotted(self.inner + written))
        except (OSError, TypeError, ValueError):
            pass
        plain = [name.lstrip(PREFIXES) or name if isinstance(name, str) else name for name in names]
        return ConfigError(message, property or _dotted(plain), self.path, *place)


def load(folder, profile=None, home=None, state=None, local=True, overrides=None):
    """Read the configuration folder (or take a dictionary in the shape of ioto.json5) and return a Config.

    `profile` overrides the configured one, `home` and `state` name folders, `local=False` leaves local.json5 out, and
    `overrides` is a dictionary that is blended last. Raises ConfigError.
    """
    if isinstance(folder, dict):
        name, folder, layers = None, '.', _split(None, None, folder)
    else:
        folder = name = os.fspath(folder)
        if not os.path.isdir(folder):
            raise ConfigError('there is no such configuration folder', path=folder)
        layers = _read(folder, 'ioto') or _read(folder, 'config')
        for mount in MOUNTS:
            layers += _read(folder, mount, mount)
    late = _read(folder, 'local') if name and local else []
    if not profile:
        chosen = [layer.values.get('profile') for layer in layers + late if not layer.inner]
        profile = next((value for value in reversed(chosen) if value), 'dev')
    used = [layer for part in (layers, late) for layer in
            [one for one in part if not one.inner] + [one for one in part if one.inner[-1:] == [profile]]]
    used += _split(None, None, overrides or {})
    values = {}
    for layer in used:
        values = json5.blend(values, layer.values)
    config = Config(values, profile, None, used)
    config.paths = Paths(folder, home, state, values.get('directories', ()))
    values['profile'] = profile
    web = values.setdefault('web', {})
    web.setdefault('listen', [f"http://:{PORTS.get(profile, 8080)}"])
    if os.path.isdir(config.paths.site):
        web.setdefault('documents', '@site/')
    return config


def _read(folder, name, mount=None):
    """The layers of one file: its own values first, then those of each of its profiles. None without the file."""
    path = os.path.join(folder, name + '.json5')
    try:
        data = json5.load(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(error.strerror or str(error), path=path) from None
    except json5.Json5Error as error:
        raise ConfigError(error.message, None, path, error.line, error.column) from None
    if not isinstance(data, dict):
        raise ConfigError('expected an object in braces', path=path, line=1, column=1)
    return _split(path, mount, data)


def _split(path, mount, data):
    data = dict(data)
    parts = [([], data)]
    here = _Layer(path)
    for outer in (['conditional', 'profile'], ['profiles']):
        group = data.pop(outer[0], {})
        if outer[1:] and isinstance(group, dict):
            for key in group:
                if key != 'profile':
                    raise here.error(['conditional', key], "unknown property, did you mean 'profile'?")
            group = group.get('profile', {})
        if not isinstance(group, dict):
            raise here.error(outer, f'expected an object in braces, got {_shown(group)}')
        for name, values in group.items():
            if not isinstance(values, dict):
                raise here.error([*outer, name], f'expected an object in braces, got {_shown(values)}')
            parts.append(([*outer, name], values))
    layers = []
    for inner, values in parts:
        values, moved = _shape(values, mount)
        layer = _Layer(path, inner, moved)
        layer.values = _check(values, TOP, [], layer)
        layers.append(layer)
    return layers


def _shape(values, mount):
    """The values of a file such as web.json5 in the shape of ioto.json5, and what moved (see _Layer)."""
    if mount is None:
        return values, []
    values = dict(values)
    if not any(key.lstrip(PREFIXES) == mount for key in values):
        top = {'log': values.pop('log')} if mount == 'web' and isinstance(values.get('log'), dict) else {}
        return {**top, mount: values}, [([mount], [])]
    beside = {}
    if mount == 'web' and isinstance(values.get('web'), dict):
        for name, kind in (('tls', object), ('log', bool)):
            if isinstance(values.get(name), kind) and name in values:
                beside[name] = values.pop(name)
        values['web'] = {**beside, **values['web']}
    return values, [(['web', name], [name]) for name in beside]


def _check(value, kind, names, layer):
    """The value with its units converted; raises ConfigError where it is not of its kind."""
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            raise layer.error(names, f'expected an object in braces, got {_shown(value)}')
        checked = {}
        for key, item in value.items():
            rule = kind.get(key)
            if rule is None and key[:1] in PREFIXES:
                rule = 'any' if key[:1] == '-' else kind.get(key[1:])
            rule = rule or kind.get('*')
            if rule is None:
                raise layer.error([*names, key], _unknown(key, kind))
            checked[key] = _check(item, rule, [*names, key], layer)
        return checked
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise layer.error(names, f'expected a list in brackets, got {_shown(value)}')
        return [_check(item, kind[0], [*names, index], layer) for index, item in enumerate(value)]
    if isinstance(kind, tuple):
        if value not in kind or isinstance(value, int) and not isinstance(value, bool):
            words = ', '.join(f"'{word}'" if isinstance(word, str) else 'false' for word in kind)
            raise layer.error(names, f'expected one of {words}, got {_shown(value)}')
        return value
    if kind == 'later':
        raise layer.error(names, 'this is not part of this version')
    what, convert = KINDS[kind]
    try:
        return convert(value)
    except ValueError:
        raise layer.error(names, f'expected {what}, got {_shown(value)}') from None


def _unknown(key, table):
    from difflib import get_close_matches
    near = get_close_matches(key.lstrip(PREFIXES), [name for name in table if name != '*'], 1)
    return f"unknown property, did you mean '{near[0]}'?" if near else 'unknown property'


def _walk(values, names):
    """The keys, as they are written (with their prefixes), that lead along `names` as far as the values go."""
    found = []
    for name in names:
        if isinstance(values, dict):
            key = next((key for key in values if key == name or key[:1] in PREFIXES and key[1:] == name), None)
        else:
            key = name if isinstance(values, list) and isinstance(name, int) and name < len(values) else None
        if key is None:
            break
        found.append(key)
        values = values[key]
    return found


def _dotted(names):
    """A property's path as json5 queries and people write it: web.routes[2].match, mime['.html']."""
    text = ''
    for name in names:
        if isinstance(name, int):
            text += f'[{name}]'
        elif re.fullmatch(r'[A-Za-z_$][\w$]*', name):
            text += '.' + name if text else name
        else:
            text += f"['{name}']"
    return text


def _shown(value):
    text = json5.render(value, style='json5') if not isinstance(value, str) else f"'{value}'"
    return text if len(text) <= 60 else text[:57] + '...'
