"""Configuration: the files of one folder, checked against a table of properties, as one dictionary.

Each file is checked by itself, so an error names file, line and column, and then blended over those before it:
ioto.json5 (or else config.json5), web, auth, device and schema.json5, what these have for the profile, local.json5 and
its profile, the command line. Sizes become bytes and times seconds; what nobody set is absent.
"""
import os
import re

from . import json5
from .runtime import units

SERVICES = ('serialize', 'database', 'web', 'register', 'provision', 'keys', 'mqtt', 'sync', 'shadow', 'logs', 'update',
            'demo', 'url')
FOLDERS = '@config/ @state/ @site/ @certs/ @home/'
PREFIXES = '+-=?'       # of keys, for json5.blend


def above(convert):
    """A conversion that refuses 0, which is neither "none" nor "no limit"."""
    def check(value):
        return convert(value) or convert(None)
    return check


KINDS = {   # kind: (what is expected; the type, words, pattern or conversion that decides)
    dict: ('an object in braces', dict),
    list: ('a list in brackets', list),
    'any': ('a value', object),
    'text': ('a text', str),
    'flag': ('true or false', bool),
    'count': ("a whole number such as 100, or 'unlimited'", units.size),
    'size': ("a size such as '100K'", units.size),
    'time': ("a time such as '30 secs'", units.seconds),
    'some': ("a whole number from 1, or 'unlimited'", above(units.size)),
    'room': ("a size from 1 byte, such as '100K'", above(units.size)),
    'span': ("a time above 0 such as '30 secs', or 'never'", above(units.seconds)),
    'word': ('a text that is not empty', '(?s).+'),
    'name': ('the name of a file', '[^/]+'),
    'host': ('a host name', r'[^\s/]*'),
    'path': ("a path that begins with '/'", '/.*|'),
    'mime': ("a media type such as 'text/css'", r'[\w.+-]+/[\w.+-]+ *(;[ -~]*)?'),
    'address': ("an address such as 'http://:8080'", 
                r'unix:.+|(https?://)?(\[[\w:.%]+\]|[\w.-]+|(?=:))(:([0-5]?\d{1,4}|6[0-5]\d{3}))?/?'),
    'handler': ("one of 'file', 'action'", 'file|action'),
    'port': ('a port from 1 to 65535', tuple(range(1, 65536))),
    'qos': ('0, 1 or 2', (0, 1, 2)),
    'serialize': ("one of 'none', 'auto', 'factory', false", ('none', 'auto', 'factory', False)),
    'show': ("letters out of 'HhBb'", '[HhBb]*'),
    'types': ('words out of error, info, trace, debug', '(?i)(!?(error|info|trace|debug|all) *(, *|$))*'),
    'format': ('a text with %M, and %A, %D, %H, %P, %S and %T', '(?s)(?=.*%M)(%[ADHMPST%]|[^%])*'),
}

# Properties, '*' for any name, and their kinds: one of KINDS, another table, or a list of one kind

SIZES = dict.fromkeys('body buffer form upload'.split(), 'size') | dict.fromkeys('backlog frame message'.split(), 'room') | {
    'files': 'count'}
LIMITS = SIZES | dict.fromkeys('cache item'.split(), 'size') | dict.fromkeys('header line'.split(), 'room') | dict.fromkeys(
    'connections clientConnections fields requests sessions'.split(), 'some')
TIMEOUTS = dict.fromkeys('parse inactivity ping request session tls'.split(), 'span') | {'grace': 'time'}
ROUTE = {
    'match': 'text', 'handler': 'handler', 'methods': ['text'], 'role': 'word', 'can': 'word', 'auth': 'any',
    'redirect': 'word', 'status': 'count', 'stream': 'flag', 'cache': 'any', 'headers': {'*': 'text'},
    'limits': SIZES, 'timeouts': {'request': 'span', 'inactivity': 'span'}, 'validate': 'flag', 'xsrf': 'flag',
    'cors': {'origins': ['text'], 'methods': ['text'], 'headers': ['text'], 'expose': ['text'], 'credentials': 'flag', 'age': 'time'},
}
HOST = {
    'documents': 'text', 'index': 'name', 'name': 'any', 'routes': [ROUTE], 'headers': {'*': 'text'}, 'cache': {'*': 'any'},
    'redirect': [{'status': 'count', 'from': 'text', 'to': 'text'}], 'mime': {'*': 'mime'},
}
WEB = HOST | {
    'name': 'host', 'listen': ['address'], 'hosts': [HOST], 'limits': LIMITS, 'timeouts': TIMEOUTS, 'show': 'show',
    'log': 'any', 'signatures': {'*': 'any'}, 'proxies': ['text'], 'user': 'text', 'group': 'text', 'chroot': 'text',
    'tls': dict.fromkeys('certificate key authority ciphers minimum'.split(), 'text') | {
        'certificates': [{'certificate': 'text', 'key': 'text'}], 'tickets': 'any', 'verify': 'any'},
    'files': {'cache': 'size', 'item': 'size'}, 'upload': {'dir': 'text', 'remove': 'flag'},
}
AUTH = {
    'realm': 'text', 'login': 'path', 'logout': 'path', 'home': 'path', 'methods': 'any', 'rounds': 'some', 'setup': {'role': 'word'},
    'users': {'*': {'*': 'any', 'digest': {'*': 'text'}, 'roles': ['text']}}, 'roles': {'*': 'any'},
    'limits': dict.fromkeys('wait longest forget'.split(), 'time') | {'nonce': 'span', 'failures': 'some', 'entries': 'some'},
}
URL = {
    'timeouts': dict.fromkeys('connect tls first idle whole'.split(), 'span'),
    'limits': {'body': 'room', 'connections': 'some', 'hostConnections': 'some', 'redirects': 'count', 'keep': 'time'},
    'tls': dict.fromkeys('authority certificate key'.split(), 'text') | {'verify': 'flag'},
    'proxy': 'text', 'headers': {'*': 'text'},
}
MQTT = {
    'endpoint': 'word', 'port': 'port', 'clientId': 'word', 'clean': 'flag', 'keepalive': 'time', 'username': 'text',
    'password': 'text', 'alpn': ['word'], 'store': 'text', 'sync': 'span', 'inflight': 'some', 'queue': 'some',
    'queueBytes': 'room', 'maxPacket': 'room', 'backoff': ['span'], 'timeout': 'span', 'schedule': 'text', 'demand': 'span',
    'tls': dict.fromkeys('authority certificate key serverName'.split(), 'text') | {'verify': 'flag'},
    'will': {'topic': 'word', 'payload': 'any', 'qos': 'qos', 'retain': 'flag'},
    'requests': {'topic': 'word', 'answer': 'word'},
}
DATABASE = {'path': 'word', 'flush': 'span', 'limit': 'room', 'api': {'read': 'word', 'write': 'word'}}
LOG = {'types': 'types', 'sources': 'text', 'format': 'format', 'path': 'text', 'size': 'size', 'backups': 'count'}
OVERLAYS = {'conditional': {'profile': {'*': {'*': 'any'}}}, 'profiles': {'*': {'*': 'any'}}}
TOP = dict.fromkeys(('api', 'aws', 'metrics', *SERVICES), {'*': 'any'}) | {
    'auth': AUTH, 'app': 'text', 'profile': 'text', 'account': 'text', 'cloud': 'text', 'log': LOG,
    'web': WEB, 'url': URL, 'mqtt': MQTT, 'schema': 'any', 'database': DATABASE, 'demo': {'period': 'span'},
    'services': dict.fromkeys(SERVICES, 'flag') | {'serialize': 'serialize'},
    'directories': dict.fromkeys(('state', 'site', 'certs'), 'text'),
    'device': {'*': 'any'} | dict.fromkeys('id name product model version description'.split(), 'text'),
}


class ConfigError(ValueError):
    """A mistake in the configuration: .message and .property; str() has the file, line and column as well."""

    def __init__(self, message, property=None, *place):
        self.message, self.property = message, property
        super().__init__(': '.join(part for part in (':'.join(map(str, place)), property, message) if part))


class Config:
    """The configuration of one agent: .values, .profile, .paths. `with config:` gives errors of the web their place."""

    def __init__(self, values, profile, paths, layers):
        self.values, self.profile, self.paths, self.layers = values, profile, paths, layers

    def error(self, property, message):
        """A ConfigError about 'web.listen[0]', say, with the place where it, or what holds it, is set."""
        query = '.' + property
        while query:
            for layer in reversed(self.layers):
                place = layer.place(query)
                if place:
                    return ConfigError(message, property, *place)
            query = query[:max(query.rfind('.'), query.rfind('['))]
        return ConfigError(message, property)

    def __enter__(self):
        pass

    def __exit__(self, kind, error, trace):
        if hasattr(error, 'message'):
            raise self.error(error.property or 'web.documents', error.message) from None


class Paths:
    """The folders of an agent as absolute paths: home, config, state, site and certs.

    A relative path is looked for beside the configuration (the folder above config/; one of another name itself), then
    in home; a `home` that is given comes first.
    """

    def __init__(self, config, home=None, state=None, directories=()):
        self.home, self.config = os.path.abspath(home or '.'), os.path.abspath(config)
        above, name = os.path.split(self.config)
        beside = above if name == 'config' else self.config
        self.bases = (self.home, beside) if home else (beside, self.home)
        names = {'state': 'state', 'site': 'site', 'certs': 'certs', **dict(directories)}
        self.state = os.path.abspath(state or os.path.join(self.home, names['state']))
        self.site, self.certs = self.resolve(names['site']), self.resolve(names['certs'])

    def resolve(self, path):
        """The absolute path of '@state/x', '/x' or 'x'. Raises ConfigError."""
        if path.startswith('@'):
            name, _, rest = path[1:].partition('/')
            if f'@{name}/' not in FOLDERS.split():
                raise ConfigError(f"expected {FOLDERS}, got '{path}'")
            return os.path.normpath(os.path.join(getattr(self, name), rest))
        for base in self.bases:
            found = os.path.normpath(os.path.join(base, path))
            # a folder that holds the configuration is not meant: '.' is home
            if os.path.exists(found) and not os.path.join(self.config, '').startswith(os.path.join(found, '')):
                return found
        return os.path.normpath(os.path.join(self.home, path))


class Layer:
    """What a file, or a profile at the query `inner` in it, holds, in the shape of ioto.json5."""

    def __init__(self, path, text, values, part=None, profile='', inner='', table=TOP):
        self.path, self.text, self.part, self.profile, self.inner = path, text, part, profile, inner
        self.values = self.check(shaped(values, part), table)

    def check(self, value, kind, query=''):
        """Return the value with its units converted. Raises ConfigError."""
        expected, rule = KINDS[kind if isinstance(kind, str) else type(kind)]
        if isinstance(rule, type):
            good = isinstance(value, rule)
        elif isinstance(rule, tuple):
            good = value in rule
        elif isinstance(rule, str):
            good = isinstance(value, str) and re.fullmatch(rule, value)
        else:
            try:
                return rule(value)
            except ValueError:
                good = False
        if not good:
            shown = json5.render(value, style='json5')
            raise self.error(f'expected {expected}, got {shown if len(shown) <= 60 else shown[:57] + "..."}', query)
        if isinstance(kind, list):
            return [self.check(item, kind[0], step(query, index)) for index, item in enumerate(value)]
        if isinstance(kind, dict):
            value = dict(value)
            for key, item in value.items():
                name = key[1:] if key[:1] in PREFIXES else key
                inner = step(query, key)
                if name not in kind and '*' not in kind:
                    raise self.error('unknown property' + hint(name, kind), inner)
                value[key] = self.check(item, 'any' if key[:1] == '-' else kind.get(name, kind.get('*')), inner)
        return value

    def error(self, message, query):
        property = re.sub(r"\['[-+=?](.*?)'\]", r'.\1', query).removeprefix('.')
        return ConfigError(message, property, *(self.place(query) or self.path))

    def place(self, query):
        """File, line and column of what the query names, or None."""
        data = json5.parse(self.text, relaxed=True)
        outer = f'.{self.part}'
        # `web.listen` may be `listen` in web.json5
        for written in (query, query.removeprefix(outer), query.removeprefix(outer[:outer.rfind('.')])):
            written = (self.inner + written).removeprefix('.')
            try:
                if json5.get(data, written, data) is not data:
                    return *self.path, *json5.locate(self.text, written)
            except json5.Json5Error:        # no query, such as web.cache..css
                pass


def load(folder, profile=None, home=None, state=None, local=True, overrides={}):
    """Read a folder, or take a dictionary in the shape of ioto.json5, and return a Config. Raises ConfigError.

    Of a file, which is a web.json5, the agent's other files beside it do not count, auth.json5 and signatures.json5 aside.

    `profile` overrides the configured one, `home` and `state` name folders, `local=False` leaves local.json5 out, and
    the dictionary `overrides` is blended last.
    """
    if isinstance(folder, dict):
        layers, folder, local = split((), '{}', dict(folder)), '.', False
    elif os.path.isdir(folder):
        layers = read(folder, 'ioto') or read(folder, 'config')
        for part in ('web', 'auth', 'device', 'schema'):
            layers += read(folder, part, part)
        layers += read(folder, 'signatures', 'web.signatures')
    elif os.path.isfile(folder):
        folder, name = os.path.split(os.path.abspath(folder))
        layers, local = read(folder, name, 'web') + read(folder, 'auth', 'auth'), False
        layers += read(folder, 'signatures', 'web.signatures')
    else:
        raise ConfigError('there is no such configuration folder', None, folder)
    layers.sort(key=lambda layer: bool(layer.profile))
    if local:
        layers += read(folder, 'local')
    for layer in reversed(layers):
        profile = profile or not layer.profile and layer.values.get('profile')
    profile = profile or 'dev'
    layers = [layer for layer in layers if layer.profile in ('', profile)] + [Layer((), '{}', overrides)]
    values = {}
    for layer in layers:
        json5.blend(values, layer.values)
    values['profile'] = profile
    paths = Paths(folder, home, state, values.get('directories', ()))
    web = values.setdefault('web', {})
    web.setdefault('listen', ['http://:80' if profile == 'prod' else 'http://:8080'])
    if os.path.isdir(paths.site):
        web.setdefault('documents', '@site/')
    if 'auth' in values:
        web['auth'] = values['auth']
    return Config(values, profile, paths, layers)


def read(folder, name, part=None):
    path = os.path.join(folder, name if '.' in name else name + '.json5')
    try:
        with open(path, 'rb') as file:
            text = file.read()
        data = json5.parse(text, relaxed=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(error.strerror, None, path) from None
    except json5.Json5Error as error:
        raise ConfigError(error.message, None, path, error.line, error.column) from None
    if not isinstance(data, dict):
        raise ConfigError('expected an object in braces', None, path, 1, 1)
    return split([path], text, data, part)


def split(path, text, data, part=None):
    """The layers of a file: its own values, then those of each profile."""
    overlays = {key: data.pop(key) for key in OVERLAYS if key in data}
    Layer(path, text, overlays, table=OVERLAYS)
    layers = [Layer(path, text, data, part)]
    for outer in ('conditional.profile', 'profiles'):
        for name, values in json5.get(overlays, outer, {}).items():
            layers.append(Layer(path, text, values, part, name, step('.' + outer, name)))
    return layers


def shaped(values, part):
    """The values of web.json5, which may stand at its top or under `web:`, as in ioto.json5; auth.json5 likewise."""
    if part == 'web.signatures':
        return {'web': {'signatures': values.get('signatures', values)}}
    if part and part not in [key.lstrip(PREFIXES) for key in values]:
        values = {part: values}
    web = values.get('web')
    if part == 'web' and isinstance(web, dict):     # `tls` may stand beside it; a flag `log` is the web's
        if isinstance(web.get('log'), dict) and not logs_requests(web['log']):
            values['log'] = web.pop('log')
        for name, kind in (('tls', dict), ('log', bool)):
            if isinstance(values.get(name), kind):
                web[name] = values.pop(name)
    return values


def logs_requests(settings):
    """Whether a `log` in web.json5 is that of the requests: its format is, and the agent's log has types and sources."""
    form = settings.get('format')
    return not {'types', 'sources'} & set(settings) and isinstance(form, str) and (
        form in ('common', 'combined', 'json') or not re.fullmatch(KINDS['format'][1], form))


def step(query, key):
    """The query, with a dot at its start, and one step more."""
    return query + (f'.{key}' if str(key).isidentifier() else f'[{key!r}]')


def hint(name, names):
    """', did you mean …?' where a name of these is near, else ''."""
    from difflib import get_close_matches
    near = get_close_matches(name, names, 1)
    return f", did you mean '{near[0]}'?" if near else ''
