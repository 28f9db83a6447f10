"""Laying one configuration over another."""

from .syntax import Json5Error


def blend(into, other):
    """Lay the object `other` over the object `into`, in place, and return `into`.

    Where both have an object it is blended in turn; any other value, arrays too, is replaced. A prefix of a key in
    `other` says otherwise, at any depth:

        +key   append: items to an array (or the one item that is no array), text to a string, properties to an object
        -key   remove: the named items of an array (one or an array of them), the named properties of an object (a
               name, an array of names, or an object that has them); with null, and any other value, the key itself
        =key   replace, also an object
        ?key   default: only if the key is not there

    Prefixes are resolved in objects that are put in as well, except inside arrays. A key that itself begins with a
    prefix is written with = before it. Nothing of `other` is shared or changed. If either is no object, a copy of
    `other` is returned. Raises Json5Error for an append to a number, true or false.
    """
    if not isinstance(other, dict):
        return clone(other)
    if not isinstance(into, dict):
        into = {}
    layers = [(into, other)]
    for target, source in layers:               # grows while it is walked; Python's stack stays out of it
        for key, value in source.items():
            prefix = key[:1]
            if len(key) > 1 and prefix in ('+', '-', '=', '?'):
                key = key[1:]
            else:
                prefix = ''
            old = target.get(key)
            if prefix == '-':
                _remove(target, key, value)
            elif prefix == '?' and key in target:
                pass
            elif isinstance(value, dict) and not (prefix == '+' and isinstance(old, list)):
                if prefix == '=' or not isinstance(old, dict):
                    target[key] = {}
                layers.append((target[key], value))
            elif prefix == '+' and old is not None:
                target[key] = _append(key, old, value)
            else:
                target[key] = clone(value)
    return into


def clone(value):
    """Return a deep copy of a JSON value, without recursion."""
    box = [value]
    todo = [box]
    for container in todo:
        for key, item in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(item, (dict, list)):
                container[key] = item = item.copy()
                todo.append(item)
    return box[0]


def _append(key, old, value):
    if isinstance(old, list):
        return old + (clone(value) if isinstance(value, list) else [clone(value)])
    if isinstance(old, str) and isinstance(value, str):
        return old + value
    raise Json5Error(f'expected an array, or two strings, to append to {key!r}')


def _remove(target, key, value):
    old = target.get(key)
    if isinstance(old, list) and value is not None:
        unwanted = value if isinstance(value, list) else [value]
        target[key] = [item for item in old if not any(_same(item, other) for other in unwanted)]
    elif isinstance(old, dict) and value is not None:
        for name in value if isinstance(value, (list, dict)) else [value]:
            if isinstance(name, str):
                old.pop(name, None)
    else:
        target.pop(key, None)


def _same(one, other):
    return one == other and isinstance(one, bool) == isinstance(other, bool)
