"""Field values that are lists of more than tokens: parameters, quoted strings, quality values (RFC 9110 §5.6, §12.4.2)."""

import re
from functools import lru_cache

from .errors import ParseError, shown
from .grammar import QUOTED, TOKEN

PARAMETER = rf'[\t ]*+;[\t ]*+(?:([{TOKEN}]++)=(?:([{TOKEN}]++)|({QUOTED})))?+'
QUALITY = r'0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?'
MEMBER = rf'(?s:[^",]++|{QUOTED}|".*+)++'


def members(value):
    """The members of a list as they stand; a comma in quotes ends none."""
    return [member for member in [member.strip(' \t') for member in re.findall(MEMBER, value)] if member]


def parameters(value, strict=False):
    """Split 'A/B; C="D"' into 'a/b' and {'c': 'D'}; ends at what is malformed (RFC 9110 §5.6.6).

    Where `strict`, that and a repeated name are a ParseError, and a backslash before other than itself or a quote stays.
    """
    main = value.partition(';')[0]
    found = {}
    at = len(main)
    match_parameter = re.compile(PARAMETER).match
    while match := match_parameter(value, at):
        name, token, quoted = match.groups()
        if name:
            if strict and name.lower() in found:
                break
            found.setdefault(name.lower(), token or unquote(quoted, r'["\\]' if strict else '.'))
        at = match.end()
    if strict and value[at:].strip(' \t'):
        raise ParseError(400, f'bad parameter: {shown(value[at:])}')
    return main.strip(' \t').lower(), found


def unquote(quoted, escaped='.'):
    """The text of a quoted string, given with its quotes (RFC 9110 §5.6.4)."""
    return re.sub(rf'\\({escaped})', r'\1', quoted[1:-1])


def qualities(value):
    """The [(name, quality), …] of Accept and the like, best first; a malformed quality is 0."""
    found = []
    for member in members(value):
        name, arguments = parameters(member)
        quality = arguments.get('q', '1')
        found.append((name, float(quality) if re.fullmatch(QUALITY, quality) else 0.0))
    return sorted(found, key=lambda pair: -pair[1])


@lru_cache(32)
def preferred(value, offered):
    """The one of `offered` codings that Accept-Encoding likes best, None for the plain content (RFC 9110 §12.5.3)."""
    liked = {'gzip' if name == 'x-gzip' else name: quality for name, quality in reversed(qualities(value))}
    plain = liked.get('identity', liked.get('*', 0.0))
    best = max(offered, key=lambda coding: liked.get(coding, liked.get('*', 0.0)))
    quality = liked.get(best, liked.get('*', 0.0))
    return best if quality > 0 and quality >= plain else None
