"""Configuration: which files count, how they are laid over each other, and how a mistake is reported."""
import math
import os
import re

import pytest
from tests.child import TREE, write

from ioto import config, json5
from ioto.config import ConfigError, load


def mistake(folder, **options):
    with pytest.raises(ConfigError) as caught:
        load(folder, **options)
    return caught.value


def test_a_folder_with_only_a_short_ioto_json5_is_enough(tmp_path):
    write(tmp_path, 'ioto.json5',
          "{services: {web: true}, web: {listen: ['http://127.0.0.1:8080'], documents: 'site'}}")
    values = load(tmp_path).values
    assert values['services'] == {'web': True}
    assert values['web'] == {'listen': ['http://127.0.0.1:8080'], 'documents': 'site'}


def test_an_empty_folder_means_the_defaults(tmp_path):
    loaded = load(tmp_path)
    assert loaded.profile == 'dev'
    assert loaded.values['web']['listen'] == ['http://:8080']
    assert load(tmp_path, profile='prod').values['web']['listen'] == ['http://:80']


def test_no_folder_is_an_error(tmp_path):
    assert str(mistake(tmp_path / 'none')) == f'{tmp_path}/none: there is no such configuration folder'


def test_config_json5_counts_only_without_ioto_json5(tmp_path):
    write(tmp_path, 'config.json5', "{account: 'older'}")
    assert load(tmp_path).values['account'] == 'older'
    write(tmp_path, 'ioto.json5', "{account: 'newer'}")
    assert load(tmp_path).values['account'] == 'newer'


@pytest.mark.parametrize('text', [
    "{documents: 'www', tls: {key: 'k'}, log: true}",
    "{web: {documents: 'www', tls: {key: 'k'}, log: true}}",
    "{web: {documents: 'www'}, tls: {key: 'k'}, log: true}",
])
def test_web_json5_holds_its_properties_at_the_top_or_under_web(tmp_path, text):
    write(tmp_path, 'web.json5', text)
    web = load(tmp_path).values['web']
    assert (web['documents'], web['tls'], web['log']) == ('www', {'key': 'k'}, True)


@pytest.mark.parametrize('text', ["{documents: 'www', log: {types: 'error'}}",
                                  "{web: {documents: 'www'}, log: {types: 'error'}}"])
def test_log_settings_in_web_json5_are_those_of_the_agent(tmp_path, text):
    write(tmp_path, 'web.json5', text)
    values = load(tmp_path).values
    assert values['log'] == {'types': 'error'} and values['web']['documents'] == 'www'


@pytest.mark.parametrize('form', ['common', 'combined', 'json', '%h %r', '%{Referer}i'])
@pytest.mark.parametrize('text', ["{log: {format: '%s', path: 'x'}}", "{web: {log: {format: '%s', path: 'x'}}}"])
def test_a_log_in_web_json5_with_the_format_of_requests_is_theirs(tmp_path, text, form):
    write(tmp_path, 'web.json5', text.replace('%s', form))
    values = load(tmp_path).values
    assert values['web']['log'] == {'format': form, 'path': 'x'} and 'types' not in values.get('log', {})


@pytest.mark.parametrize('text', ["{log: {format: '%D %M', path: 'x'}}", "{log: {path: 'x'}}", "{log: {types: 'error', format: 'common %M'}}"])
def test_any_other_log_in_web_json5_is_the_agents(tmp_path, text):
    write(tmp_path, 'web.json5', text)
    values = load(tmp_path).values
    assert 'log' not in values['web'] and values['log']


@pytest.mark.parametrize('text', ["{'/a': {GET: {}}}", "{signatures: {'/a': {GET: {}}}}"])
def test_signatures_have_a_file_of_their_own(tmp_path, text):
    write(tmp_path, 'web.json5', "{signatures: {'/b': {GET: {}}}}")
    write(tmp_path, 'signatures.json5', text)
    loaded = load(tmp_path)
    assert loaded.values['web']['signatures'] == {'/a': {'GET': {}}, '/b': {'GET': {}}}
    assert str(loaded.error("web.signatures['/a'].GET.role", 'no')).startswith(f'{tmp_path}/signatures.json5:1:')
    assert str(loaded.error("web.signatures['/b'].GET.role", 'no')).startswith(f'{tmp_path}/web.json5:1:')


def test_a_web_json5_alone_is_enough(tmp_path):
    write(tmp_path, 'my.json5', "{documents: 'www'}")
    write(tmp_path, 'web.json5', "{documents: 'other'}")
    write(tmp_path, 'auth.json5', "{users: {}}")
    write(tmp_path, 'local.json5', "{web: {documents: 'local'}}")
    values = load(tmp_path / 'my.json5').values
    assert values['web']['documents'] == 'www' and values['auth'] == {'users': {}}
    write(tmp_path, 'my.json5', "{documents: 5}")
    assert str(mistake(tmp_path / 'my.json5')) == f'{tmp_path}/my.json5:1:2: web.documents: expected a text, got 5'


@pytest.mark.parametrize('name, text', [
    ('auth', "{roles: {view: []}}"), ('device', "{name: 'x'}"), ('schema', "{models: {}}"),
    ('auth', "{auth: {roles: {view: []}}}"), ('device', "{device: {name: 'x'}}"), ('schema', "{schema: {models: {}}}"),
])
def test_other_parts_have_files_of_their_own(tmp_path, name, text):
    write(tmp_path, f'{name}.json5', text)
    wanted = {'auth': {'roles': {'view': []}}, 'device': {'name': 'x'}, 'schema': {'models': {}}}
    assert load(tmp_path).values[name] == wanted[name]


def test_a_file_of_its_own_wins_over_ioto_json5(tmp_path):
    write(tmp_path, 'ioto.json5', "{web: {index: 'a.html', documents: 'a'}}")
    write(tmp_path, 'web.json5', "{index: 'b.html'}")
    assert load(tmp_path).values['web'] | {'listen': 0} == {'index': 'b.html', 'documents': 'a', 'listen': 0}


@pytest.mark.parametrize('wrap', ['conditional: {profile: {%s}}', 'profiles: {%s}'])
def test_a_profile_overlays_the_top_level(tmp_path, wrap):
    inside = wrap % "dev: {web: {documents: 'a'}}, prod: {web: {documents: 'b'}}"
    write(tmp_path, 'ioto.json5', "{profile: 'prod', web: {documents: 'c'}, %s}" % inside)
    write(tmp_path, 'web.json5', "{documents: 'd'}")
    assert load(tmp_path).values['web']['documents'] == 'b'
    assert load(tmp_path, profile='dev').values['web']['documents'] == 'a'
    assert load(tmp_path, profile='test').values['web']['documents'] == 'd'
    assert load(tmp_path, profile='test').values['profile'] == 'test'
    assert not {'conditional', 'profiles'} & set(load(tmp_path).values)


def test_a_profile_inside_web_json5_has_the_shape_of_that_file(tmp_path):
    write(tmp_path, 'web.json5', "{documents: 'a', profiles: {prod: {documents: 'b'}}}")
    assert load(tmp_path).values['web']['documents'] == 'a'
    assert load(tmp_path, profile='prod').values['web']['documents'] == 'b'


def test_local_json5_overlays_last_and_may_choose_the_profile(tmp_path):
    write(tmp_path, 'ioto.json5', "{profiles: {dev: {web: {documents: 'a'}}, prod: {web: {documents: 'b'}}}}")
    write(tmp_path, 'local.json5', "{profile: 'prod', web: {index: 'local.html'}}")
    loaded = load(tmp_path)
    assert loaded.profile == 'prod'
    assert (loaded.values['web']['documents'], loaded.values['web']['index']) == ('b', 'local.html')
    assert 'index' not in load(tmp_path, local=False).values['web']
    write(tmp_path, 'local.json5', "{web: {documents: 'c'}}")
    assert load(tmp_path).values['web']['documents'] == 'c'


def test_the_prefixes_of_blend_work_between_files(tmp_path):
    write(tmp_path, 'ioto.json5', "{web: {listen: ['http://:1'], routes: [{match: '/a'}]}}")
    write(tmp_path, 'local.json5', "{web: {'+listen': ['http://:2'], '?documents': 'd'}}")
    web = load(tmp_path).values['web']
    assert web['listen'] == ['http://:1', 'http://:2']
    assert web['documents'] == 'd' and web['routes'] == [{'match': '/a'}]


def test_units_become_numbers(tmp_path):
    write(tmp_path, 'web.json5', """{
        limits: {body: '100K', header: 4096, connections: 'unlimited', upload: 'unlimited'},
        timeouts: {parse: '5 secs', session: 'never', request: 1.5},
        routes: [{match: '/x', limits: {body: '1MB'}, timeouts: {request: '2 mins'}}],
    }""")
    web = load(tmp_path).values['web']
    assert web['limits'] == {'body': 102400, 'header': 4096, 'connections': math.inf, 'upload': math.inf}
    assert web['timeouts'] == {'parse': 5.0, 'session': math.inf, 'request': 1.5}
    assert web['routes'][0]['limits']['body'] == 1 << 20 and web['routes'][0]['timeouts']['request'] == 120.0


MISTAKES = [    # file, its text, what the message says after the folder
    ('ioto.json5', '{\n  services: {\n    web: yes\n  }\n}', "3:5: services.web: expected true or false, got 'yes'"),
    ('ioto.json5', '{\n  servces: {}\n}', "2:3: servces: unknown property, did you mean 'services'?"),
    ('ioto.json5', '{xyzzy: 1}', '1:2: xyzzy: unknown property'),
    ('ioto.json5', '{services: {serialize: "maybe"}}',
     "1:13: services.serialize: expected one of 'none', 'auto', 'factory', false, got 'maybe'"),
    ('ioto.json5', '{web: {limits: {body: "lots"}}}',
     "1:17: web.limits.body: expected a size such as '100K', got 'lots'"),
    ('ioto.json5', '{web: {limits: []}}', '1:8: web.limits: expected an object in braces, got []'),
    ('ioto.json5', '{web: {limits: {fields: -1}}}',
     "1:17: web.limits.fields: expected a whole number from 1, or 'unlimited', got -1"),
    ('ioto.json5', '{web: {index: null}}', '1:8: web.index: expected the name of a file, got null'),
    ('ioto.json5', '{conditional: {profil: {}}}',
     "1:16: conditional.profil: unknown property, did you mean 'profile'?"),
    ('ioto.json5', '{conditional: {\nprofile: {prod: {web: {index: 5}}}}}',
     '2:24: web.index: expected the name of a file, got 5'),
    ('ioto.json5', '{profiles: {dev: 5}}', '1:13: profiles.dev: expected an object in braces, got 5'),
    ('web.json5', '// a comment\n{\n    limits: {\n        body: "lots",\n}}',
     "4:9: web.limits.body: expected a size such as '100K', got 'lots'"),
    ('web.json5', '{web: {\n limit: {}}}', "2:2: web.limit: unknown property, did you mean 'limits'?"),
    ('ioto.json5', '{url: {timeouts: {conect: 5}}}', "1:19: url.timeouts.conect: unknown property, did you mean 'connect'?"),
    ('ioto.json5', '{url: {limits: {body: 0}}}', "1:17: url.limits.body: expected a size from 1 byte, such as '100K', got 0"),
    ('ioto.json5', '{url: {proxy: false}}', '1:8: url.proxy: expected a text, got false'),
    ('web.json5', '{web: {}, servics: {}}', "1:11: servics: unknown property, did you mean 'services'?"),
    ('web.json5', '{web: {},\n tls: {key: 1}}', '2:8: web.tls.key: expected a text, got 1'),
    ('web.json5', '{timeouts: {parse: true}}', "1:13: web.timeouts.parse: expected a time above 0 such as '30 secs', or 'never', got true"),
    ('web.json5', '{routes: [{match: "/"},\n {match: "/b", handler: "files"}]}',
     "2:16: web.routes[1].handler: expected one of 'file', 'action', got 'files'"),
    ('web.json5', '{routes: {}}', '1:2: web.routes: expected a list in brackets, got {}'),
    ('web.json5', '{headers: {"X-A": 5}}', "1:12: web.headers['X-A']: expected a text, got 5"),
    ('web.json5', '{listen: ["http://:99999"]}',
     "1:11: web.listen[0]: expected an address such as 'http://:8080', got 'http://:99999'"),
    ('ioto.json5', '{log: {types: "error,infos"}}',
     "1:8: log.types: expected words out of error, info, trace, debug, got 'error,infos'"),
    ('ioto.json5', '{log: {format: "%X"}}',
     "1:8: log.format: expected a text with %M, and %A, %D, %H, %P, %S and %T, got '%X'"),
    ('web.json5', '{routes: [{limits: {connections: 1}}]}',
     '1:21: web.routes[0].limits.connections: unknown property'),
    ('web.json5', '{routes: [{timeouts: {parse: 1}}]}', '1:23: web.routes[0].timeouts.parse: unknown property'),
    ('web.json5', '{files: {item: "x"}}', "1:10: web.files.item: expected a size such as '100K', got 'x'"),
    ('web.json5', '{profiles: {dev: {"=headers": {\n"X-A": 5}}}}', "2:1: web.headers['X-A']: expected a text, got 5"),
    ('web.json5', '{show: "x"}', "1:2: web.show: expected letters out of 'HhBb', got 'x'"),
    ('device.json5', '{name: 7}', '1:2: device.name: expected a text, got 7'),
    ('local.json5', '{"+web": {index: 1}}', '1:11: web.index: expected the name of a file, got 1'),
    ('auth.json5', '[]', '1:1: expected an object in braces'),
    ('auth.json5', '{realms: "x"}', "1:2: auth.realms: unknown property, did you mean 'realm'?"),
    ('auth.json5', '{limits: {\n wait: "soon"}}', "2:2: auth.limits.wait: expected a time such as '30 secs', got 'soon'"),
    ('auth.json5', '{users: {ann:\n {roles: "admin"}}}', "2:3: auth.users.ann.roles: expected a list in brackets, got 'admin'"),
    ('web.json5', '{limits: {connections: 0}}', "1:11: web.limits.connections: expected a whole number from 1, or 'unlimited', got 0"),
    ('web.json5', '{limits: {message: 0}}', "1:11: web.limits.message: expected a size from 1 byte, such as '100K', got 0"),
    ('web.json5', '{routes: [{timeouts: {request: 0}}]}',
     "1:23: web.routes[0].timeouts.request: expected a time above 0 such as '30 secs', or 'never', got 0"),
    ('web.json5', '{routes: [{role: ""}]}', "1:12: web.routes[0].role: expected a text that is not empty, got ''"),
    ('web.json5', '{routes: [{can: ""}]}', "1:12: web.routes[0].can: expected a text that is not empty, got ''"),
    ('web.json5', '{index: "../x"}', "1:2: web.index: expected the name of a file, got '../x'"),
    ('web.json5', '{mime: {".x": "a/b\\nc"}}', "1:9: web.mime['.x']: expected a media type such as 'text/css', got 'a/b\\nc'"),
    ('web.json5', '{log: {path: "x", format: "comon", types: "info"}}',
     "1:19: log.format: expected a text with %M, and %A, %D, %H, %P, %S and %T, got 'comon'"),
    ('auth.json5', '{login: "sign-in"}', "1:2: auth.login: expected a path that begins with '/', got 'sign-in'"),
    ('auth.json5', '{limits: {failures: 0}}', "1:11: auth.limits.failures: expected a whole number from 1, or 'unlimited', got 0"),
    ('auth.json5', '{auth: {setup: {roles: []}}}', "1:17: auth.setup.roles: unknown property, did you mean 'role'?"),
]


@pytest.mark.parametrize('name, text, message', MISTAKES)
def test_a_mistake_names_file_line_column_and_property(tmp_path, name, text, message):
    write(tmp_path, name, text)
    assert str(mistake(tmp_path)) == f'{tmp_path}/{name}:{message}'


def test_bad_syntax_names_file_line_and_column(tmp_path):
    write(tmp_path, 'web.json5', '{\n  listen: [,]\n}')
    error = mistake(tmp_path)
    assert re.match(rf'{tmp_path}/web\.json5:2:\d+: \S', str(error))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / 'web.json5').mkdir()
    assert 'web.json5' in str(mistake(tmp_path))


def test_a_late_error_is_placed_where_the_value_was_set_last(tmp_path):
    write(tmp_path, 'ioto.json5', "{web: {listen: ['http://:1']}}")
    write(tmp_path, 'local.json5', "{\n web: {\n  listen: ['http://:2']}}")
    assert str(load(tmp_path).error('web.listen[0]', 'in use')) == f'{tmp_path}/local.json5:3:12: web.listen[0]: in use'
    assert str(load(tmp_path).error('web.index', 'no')) .endswith(': web.index: no')
    assert str(load(tmp_path).error('web.cache..css', 'no')).endswith('local.json5:2:2: web.cache..css: no')
    assert str(load(tmp_path).error('services.web', 'no')) == 'services.web: no'
    assert str(load(tmp_path).error('mqtt', 'no')) == 'mqtt: no'


@pytest.mark.parametrize('address', ['http://:80', 'https://example.com:443', 'http://[::]:8080', 'unix:/run/x',
                                     'http://[fe80::1%eth0]:1', '127.0.0.1:0', ':8080', 'http://localhost'])
def test_addresses_that_are_taken(tmp_path, address):
    write(tmp_path, 'web.json5', f"{{listen: ['{address}']}}")
    assert load(tmp_path).values['web']['listen'] == [address]


@pytest.mark.parametrize('address', ['', 'ftp://x:1', 'http://a b:1', 'http://x:y', 'http://::1:80', 'unix:',
                                     'http://x:1/y', 'http://*:80'])
def test_addresses_that_are_refused(tmp_path, address):
    write(tmp_path, 'web.json5', f"{{listen: ['{address}']}}")
    assert mistake(tmp_path).property == 'web.listen[0]'


# Folders

def test_relative_paths_are_looked_for_beside_config_then_in_home(tmp_path, monkeypatch):
    (tmp_path / 'config').mkdir()
    (tmp_path / 'site').mkdir()
    (tmp_path / 'run').mkdir()
    monkeypatch.chdir(tmp_path / 'run')
    paths = load(tmp_path / 'config').paths
    assert paths.resolve('site') == paths.site == str(tmp_path / 'site')
    assert paths.home == str(tmp_path / 'run') and paths.state == str(tmp_path / 'run/state')
    assert paths.resolve('nothing') == str(tmp_path / 'run/nothing')
    (tmp_path / 'run/site').mkdir()
    assert load(tmp_path / 'config').paths.site == str(tmp_path / 'site')
    assert load(tmp_path / 'config', home='.').paths.site == str(tmp_path / 'run/site')


def test_the_site_may_stand_next_to_ioto_json5(tmp_path):
    write(tmp_path, 'box/ioto.json5', '{}')
    (tmp_path / 'box/site').mkdir()
    assert load(tmp_path / 'box').paths.resolve('./site') == str(tmp_path / 'box/site')


def test_the_folder_of_the_configuration_is_never_meant_by_chance(tmp_path, monkeypatch):
    write(tmp_path, 'etc/ioto.json5', '{}')
    (tmp_path / 'www').mkdir()
    monkeypatch.chdir(tmp_path / 'www')
    assert load(tmp_path / 'etc').paths.resolve('.') == str(tmp_path / 'www')


def test_named_folders(tmp_path):
    write(tmp_path, 'config/ioto.json5', "{directories: {state: 'var', certs: '/tls'}}")
    paths = load(tmp_path / 'config', home=tmp_path).paths
    assert paths.resolve('@config/web.json5') == str(tmp_path / 'config/web.json5')
    assert paths.resolve('@state/x/y') == str(tmp_path / 'var/x/y')
    assert paths.resolve('@certs/a.crt') == '/tls/a.crt'
    assert paths.resolve('@home/') == str(tmp_path)
    assert paths.resolve('/abs/./x') == '/abs/x'
    assert load(tmp_path / 'config', state=tmp_path / 's').paths.state == str(tmp_path / 's')
    with pytest.raises(ConfigError, match='@stat/x'):
        paths.resolve('@stat/x')


# What is shipped

@pytest.mark.parametrize('profile, listen', [('dev', 'http://:8080'), ('prod', 'http://:80')])
def test_the_shipped_configuration_loads(profile, listen):
    loaded = load(os.path.join(TREE, 'config'), profile=profile, local=False)
    assert loaded.values['web']['listen'] == [listen]
    assert [name for name, on in loaded.values['services'].items() if on] == ['web']
    assert loaded.paths.site == os.path.join(TREE, 'site')


def test_the_shipped_files_explain_the_properties():
    with open(os.path.join(TREE, 'config/ioto.json5'), encoding='utf-8') as file:
        text = file.read()
    for name in [*config.SERVICES, *config.LOG, *config.TOP['directories'], 'app', 'profile']:
        assert re.search(rf'\b{name}:', text), name


def test_web_json5_shows_the_defaults_that_the_server_has():
    from ioto.web import server
    with open(os.path.join(TREE, 'config/web.json5'), encoding='utf-8') as file:
        text = file.read()
    for name, default in {**server.LIMITS, **server.TIMEOUTS}.items():
        if name != 'tls':
            assert f'// {name}: {default!r},' in text, name
    for name in config.WEB:
        if name not in ('tls', 'upload'):
            assert re.search(rf'\b{name}:', text), name
    for name in config.ROUTE:
        if name not in ('role', 'can', 'validate', 'xsrf'):
            assert re.search(rf'\b{name}\b', text), name


def test_ioto_json5_shows_the_defaults_that_the_client_has():
    from inspect import signature

    from ioto.runtime import units
    from ioto.url.client import TIMES, Client
    with open(os.path.join(TREE, 'config/ioto.json5'), encoding='utf-8') as file:
        text = file.read()
    block = text[text.index('    // url: {'):]
    shown = json5.parse('{' + block[:block.index('\n    // },')].replace('\n    //', '\n').replace('    // url', 'url') + '\n}}')['url']
    defaults = {name: parameter.default for name, parameter in signature(Client).parameters.items()}
    assert {part: set(properties) for part, properties in shown.items() if part in ('timeouts', 'limits', 'tls')} == {
        part: set(config.URL[part]) for part in ('timeouts', 'limits', 'tls')} and set(shown) == set(config.URL)
    times = {name: units.seconds(value) for name, value in shown['timeouts'].items()}
    assert times == TIMES | {'whole': math.inf} and units.seconds(shown['limits'].pop('keep')) == defaults['idle']
    assert [units.size(value) for value in shown['limits'].values()] == [
        defaults[name] for name in ('limit', 'connections', 'per_host', 'redirects')]


def test_auth_json5_shows_the_defaults_that_users_have():
    from ioto.web import passwords, users
    with open(os.path.join(TREE, 'config/auth.json5'), encoding='utf-8') as file:
        text = file.read()
    for name, default in users.LIMITS.items():
        assert f'// {name}: {default!r},' in text, name
    assert f'// rounds: {passwords.ROUNDS},' in text
    for name in [*config.AUTH, *config.AUTH['limits']]:
        assert re.search(rf'\b{name}:', text), name
    assert set(config.AUTH['limits']) == set(users.LIMITS)


def test_every_limit_and_timeout_of_the_server_is_a_property(tmp_path):
    from ioto.web import server
    limits, timeouts = dict.fromkeys(server.LIMITS, '2K'), dict.fromkeys(server.TIMEOUTS, '2 mins')
    write(tmp_path, 'web.json5', json5.render({
        'limits': limits, 'timeouts': timeouts, 'name': 'device.example', 'files': {'cache': '2K', 'item': '2K'},
        'routes': [{'limits': {'body': '2K', 'buffer': '2K'}, 'timeouts': {'request': '2 mins'}}],
    }))
    web = load(tmp_path).values['web']
    assert web['limits'] == dict.fromkeys(limits, 2048) and web['timeouts'] == dict.fromkeys(timeouts, 120)
    assert web['files'] == {'cache': 2048, 'item': 2048} and web['name'] == 'device.example'
    assert web['routes'] == [{'limits': {'body': 2048, 'buffer': 2048}, 'timeouts': {'request': 120}}]


def test_the_map_has_every_module():
    with open(os.path.join(TREE, 'ioto/README.md'), encoding='utf-8') as file:
        named = set(re.findall(r'^\| `([^`]+)`', file.read(), re.M)) - {'../ioto.py'}
    found = set()
    for folder, _, names in os.walk(os.path.join(TREE, 'ioto')):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), os.path.join(TREE, 'ioto'))
            if name.endswith('.py') and (name != '__init__.py' or path == name):
                found.add(path)
    assert named == found
