"""Laying one configuration over another, at any depth, for lists of what is left to do stand in for recursion."""

from .parser import Json5Error


def blend(into, other):
    """Lay the object `other` over the object `into`, in place, and return that; a copy of `other` if one is no object.

    Objects in both are blended in turn, other values replaced, but for prefixes of keys in `other` outside of arrays:

        +key   append items, or one item, to an array, or text to a string; for others Json5Error
        -key   remove items of an array, or properties of an object by name; else, or with null, the key itself
        =key   replace, also an object
        ?key   only if the key is not there
    """
    if not isinstance(other, dict):
        return _clone(other)
    if not isinstance(into, dict):
        into = {}
    layers = [(into, other)]
    for target, source in layers:               # grows meanwhile
        for key, value in source.items():
            prefix = key[0] if len(key) > 1 and key[0] in '+-=?' else ''
            key = key[len(prefix):]
            old = target.get(key)
            if prefix == '-':
                _remove(target, key, old, value)
            elif prefix == '?' and key in target:
                pass
            elif isinstance(value, dict) and not (prefix == '+' and isinstance(old, list)):
                if prefix == '=' or not isinstance(old, dict):
                    target[key] = {}
                layers.append((target[key], value))
            elif prefix != '+' or old is None:
                target[key] = _clone(value)
            elif isinstance(old, list):
                target[key] = old + _clone(value if isinstance(value, list) else [value])
            elif isinstance(old, str) and isinstance(value, str):
                target[key] = old + value
            else:
                raise Json5Error(f'expected an array, or two strings, to append to {key!r}')
    return into


def _clone(value):
    box = [value]
    todo = [box]
    for container in todo:
        for key, item in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(item, (dict, list)):
                container[key] = item.copy()
                todo.append(container[key])
    return box[0]


def _remove(target, key, old, value):
    if value is None or not isinstance(old, (list, dict)):
        target.pop(key, None)
    elif isinstance(old, dict):
        for name in value if isinstance(value, (list, dict)) else [value]:
            if isinstance(name, str):
                old.pop(name, None)
    else:                                       # 1 is True in Python, but not here
        unwanted = value if isinstance(value, list) else [value]
        target[key] = [item for item in old if not any(
            item == other and isinstance(item, bool) == isinstance(other, bool) for other in unwanted)]
