"""The arithmetic of Digest authentication with SHA-256 and MD5, qop=auth (RFC 7616), for server and client."""

ALGORITHMS = {'SHA-256': 'sha256', 'MD5': 'md5'}


def digest(algorithm, *parts):
    """The hash of parts, a character for a byte, joined by colons."""
    import hashlib              # loads OpenSSL
    return hashlib.new(ALGORITHMS[algorithm], ':'.join(parts).encode('latin-1'), usedforsecurity=False).hexdigest()


def secret(algorithm, *parts):
    """H(A1) of a name, a realm and a password (§3.4.2)."""
    return digest(algorithm, *(part.encode().decode('latin-1') for part in parts))


def proof(secret, method, fields):
    """The `response` of who knows the secret (§3.4.1)."""
    request = digest(fields['algorithm'], method, fields['uri'])
    return digest(fields['algorithm'], secret, fields['nonce'], fields['nc'], fields['cnonce'], 'auth', request)
