"""usage: python3 -m ioto.db [options] COMMAND [MODEL] [FIELD=VALUE …]

Look into the database of a device and change it, while no agent has it.

  get MODEL FIELD=VALUE…       the item with this key
  find MODEL [FIELD=VALUE…]    items, a line of JSON each; --where, --index, --limit, --reverse, --fields, --count
  create MODEL FIELD=VALUE…    a new item; with --replace it may be there
  update MODEL FIELD=VALUE…    change an item: fields may be paths such as address.zip, null removes; --upsert, --where
  remove MODEL FIELD=VALUE…    remove the item with this key; with --many all with these values; --where
  models                       the models of the schema, and what makes the keys of each
  stats                        the size of the file, items of each model, changes to be synchronised
  check                        read all of the file, also while an agent has it, and say whether it is damaged
  export [FILE]                all items, a line of JSON each
  import [FILE]                store such lines, over what is there
  shell                        read such commands from the standard input, a line each

A VALUE is JSON5, or text; {…} instead of FIELD=VALUE gives many fields. Options:

  --config FOLDER    the agent's configuration, which says where the file and schema are (config/)
  --profile NAME, --state FOLDER, --home FOLDER    as the agent's
  --database FILE    another file
  --schema FILE      another schema
  --hidden           show hidden fields, too
  --where TEXT --index NAME --limit N --reverse --fields A,B --count --replace --upsert --many    as above

Exit status: 1 for what cannot be done, or found; 2 for a wrong command line.
"""
import os
import re
import shlex
import sys
from getopt import GetoptError, gnu_getopt

from .. import json5
from ..config import ConfigError
from ..config import load as load_config
from ..http.uri import percent_encode
from ..runtime import log
from .errors import DbError
from .service import Service

WORDS = ('config', 'profile', 'state', 'home', 'database', 'schema', 'where', 'index', 'limit', 'fields')
FLAGS = ('hidden', 'reverse', 'count', 'replace', 'upsert', 'many', 'help')
QUICK = 1 << 20         # bytes of a file that is read as a whole before it is opened


def main(words):
    """Run the command line and return the exit status."""
    try:
        options, words = parse(words)
        if 'help' in options:
            sys.stdout.write(__doc__)
            return 0
        if not words or words[0] not in COMMANDS:
            raise GetoptError(f'expected one of the commands {", ".join(COMMANDS)}')
        log.configure(path='stderr', types='error')
        return run(options, words)
    except GetoptError as error:
        return fail(f'{error}; see python3 -m ioto.db --help', 2)
    except BrokenPipeError:                     # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except (DbError, ConfigError, OSError, ValueError) as error:
        return fail(error)
    except KeyboardInterrupt:
        return 130


def parse(words):
    """Return ({option: value}, other words)."""
    found, words = gnu_getopt(words, 'h', [*(f'{name}=' for name in WORDS), *FLAGS])
    return {'help' if name == '-h' else name[2:]: value for name, value in found}, words


def fail(error, status=1):
    print(f'ioto.db: {error}', file=sys.stderr)
    return status


def run(options, words):
    """Open the database and run the command in it."""
    service, command = configured(options), words[0]
    if command == 'models':
        return models(service)
    if not os.path.exists(service.path):
        if command not in ('create', 'update', 'import', 'shell'):
            raise DbError(f'there is no database {service.path}')
    else:
        faults = check(service.path, command == 'check')
        if command == 'check' or faults:
            print(*faults or ['nothing is wrong'], sep='\n', file=sys.stderr if faults else sys.stdout)
            return 1 if faults else 0
    try:
        service.start()
    except DbError as error:
        hint = ': stop the agent first, or use its /api/db' if 'in use' in error.reason else ''
        raise DbError(error.reason + hint) from None
    try:
        return COMMANDS[command](service.db, options, words[1:])
    finally:
        service.db.shut()


def configured(options):
    """The Service that configuration and options describe."""
    folder, database, schema = (options.get(name) for name in ('config', 'database', 'schema'))
    if folder or not (database and schema):
        settings = load_config(folder or 'config', options.get('profile'), options.get('home'), options.get('state'))
        values, resolve = settings.values, settings.paths.resolve
    else:
        settings, values, resolve = None, {}, os.path.abspath
    if database:
        values['database'] = {**values.get('database', {}), 'path': os.path.abspath(database)}
    if schema:
        values['schema'] = os.path.abspath(schema)
    if not settings or schema:
        return Service(values, resolve)
    with settings:
        return Service(values, resolve)


def check(path, whole):
    """What is wrong with a file, as texts, or unless `whole` what is found soon. To open a damaged one would set it aside."""
    from ..runtime.sqlite import sqlite3
    from .store import VERSION
    try:
        connection = sqlite3.connect(f'file:{percent_encode(path)}?mode=ro', uri=True)
        try:
            quick = not whole and os.path.getsize(path) > QUICK and not os.path.exists(f'{path}.damaged')
            version = connection.execute('PRAGMA user_version').fetchone()[0]
            if version > VERSION:
                return [f'{path}: it is of version {version}, and this program knows version {VERSION}']
            rows = () if quick else connection.execute('PRAGMA integrity_check').fetchall()
            return [f'{path}: {row[0]}' for row in rows if row[0] != 'ok']
        finally:
            connection.close()
    except sqlite3.Error as error:
        return [f'{path}: {error}']


# The commands: each returns the exit status

def fields_of(db, name, words):
    """The values that words give: FIELD=VALUE, or objects."""
    values, model = {}, db.models.get(name)
    for word in words:
        if word.lstrip()[:1] == '{':
            found = json5.parse(word, relaxed=True)
            if not isinstance(found, dict):
                raise DbError(f'expected an object, got {word}')
            values.update(found)
            continue
        field, equals, text = word.partition('=')
        if not equals or not field:
            raise GetoptError(f'expected FIELD=VALUE, got {word!r}')
        values[field] = value_of(model and model.fields.get(field), text)
    return values


def value_of(field, text):
    if field and field.type in ('string', 'date', 'binary', 'buffer') and text != 'null':
        return text
    try:
        return json5.parse(text, relaxed=True)
    except json5.Json5Error:
        if text.lstrip()[:1] in tuple('{["\'`'):
            raise
        return text


def item_command(call):
    """A command about items: `call(db, options, model, values)` returns the status, an item, or None for no item."""
    def command(db, options, words):
        if not words:
            raise GetoptError(f'expected a model: {", ".join(db.models)}')
        found = call(db, options, words[0], fields_of(db, words[0], words[1:]))
        if found is None:
            return fail('there is no such item')
        if isinstance(found, dict):
            print(json5.render(found, 'pretty'))
            return 0
        return found
    return command


def get(db, options, model, values):
    return db.get(model, values, **selected(options, 'index'))


def find(db, options, model, values):
    more = selected(options, 'index', 'where')
    if 'count' in options:
        print(db.count(model, values, index=options.get('index', 'primary'), where=options.get('where')))
        return 0
    limit, next = options.get('limit'), None
    if limit is not None:
        if not limit.isdecimal() or not int(limit):
            raise GetoptError(f'--limit: expected a whole number from 1, got {limit!r}')
        limit = int(limit)
    while True:                                 # by pages, so that memory does not grow with what is found
        page = db.find(model, values, limit=min(limit or 100, 100), next=next, reverse='reverse' in options, **more)
        for item in page:
            print(json5.to_json(item))
        limit, next = limit and limit - len(page), page.next
        if not next or limit == 0:
            return 0


def selected(options, *names):
    found = {name: options[name] for name in names if name in options}
    fields = options['fields'].split(',') if 'fields' in options else None
    return {**found, 'hidden': 'hidden' in options, 'fields': fields}


def create(db, options, model, values):
    return db.create(model, values, exists=None if 'replace' in options else False, hidden='hidden' in options)


def update(db, options, model, values):
    return db.update(model, values, upsert='upsert' in options, if_=options.get('where'), hidden='hidden' in options)


def remove(db, options, model, values):
    found = db.remove(model, values, many='many' in options, if_=options.get('where'))
    if 'many' in options:
        print(found)
        return 0
    return found


def models(service):
    for name, model in service.schema.models.items():
        shown = ', '.join([f'indexes {" ".join(model.indexes)}', f'sync {model.sync}', *['in memory'] * model.mem,
                           *['not on this device'] * (not model.enabled)])
        print(f'{name}: key {" ".join(service.key_fields(model)) or "none"}, {shown}')
    return 0


def stats(db, options, words):
    used, size = db.size
    print(f'file: {db.path}\nbytes: {size}\nused: {used}\nschema: {db.schema.version}')
    for name in db.models:
        print(f'{name}: {db.count(name)}')
    pending = after = 0
    while entries := db.pending(1000, after):
        pending, after = pending + len(entries), entries[-1][0]
    print(f'to be synchronised: {pending}')
    return 0


def export(db, options, words):
    with open(words[0] if words else 1, 'w', encoding='utf-8', closefd=bool(words)) as file:
        count = db.export(file)
    if words:
        print(count)
    return 0


def import_(db, options, words):
    with open(words[0] if words else 0, encoding='utf-8', closefd=bool(words)) as file:
        print(db.import_(file))
    return 0


def shell(db, options, words):
    """Commands from the standard input; the status is 1 if one failed."""
    status, prompt = 0, 'ioto.db> ' if sys.stdin.isatty() else ''
    while True:
        try:
            print(prompt, end='', flush=True)
            line = sys.stdin.readline()
            if not line or line.strip() in ('exit', 'quit'):
                return status
            more, words = parse(shlex.split(line, comments=True))
            if 'help' in more or words[:1] == ['help']:
                print(re.search('(?s)  get .*?\n\n', __doc__)[0])
            elif words[:1] == ['models']:
                print(*db.models, sep='\n')
            elif words and words[0] in ('check', 'shell') or words and words[0] not in COMMANDS:
                raise GetoptError(f'expected one of {", ".join(COMMANDS)}, help or exit')
            elif words:
                status = max(status, COMMANDS[words[0]](db, more, words[1:]))
        except (DbError, OSError, ValueError, GetoptError) as error:
            status = fail(error)


COMMANDS = {call.__name__: item_command(call) for call in (get, find, create, update, remove)} | {
    'models': None, 'stats': stats, 'check': None, 'export': export, 'import': import_, 'shell': shell}

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
