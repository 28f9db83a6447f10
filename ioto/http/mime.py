"""MIME types by file name extension (RFC 9110 §8.3)."""

TYPES = {
    '7z': 'application/x-7z-compressed', 'apk': 'application/vnd.android.package-archive',
    'bin': 'application/octet-stream', 'bz2': 'application/x-bzip2',
    'crt': 'application/x-x509-ca-cert', 'eot': 'application/vnd.ms-fontobject',
    'gz': 'application/gzip', 'htm': 'text/html', 'ico': 'image/x-icon', 'ics': 'text/calendar', 'jpg': 'image/jpeg',
    'js': 'text/javascript', 'log': 'text/plain', 'm3u8': 'application/vnd.apple.mpegurl', 'm4a': 'audio/mp4',
    'map': 'application/json', 'md': 'text/markdown', 'mjs': 'text/javascript', 'mov': 'video/quicktime',
    'mp3': 'audio/mpeg', 'oga': 'audio/ogg', 'ogv': 'video/ogg', 'opus': 'audio/ogg', 'pem': 'application/x-pem-file',
    'sh': 'text/x-shellscript', 'svg': 'image/svg+xml', 'svgz': 'image/svg+xml', 'tar': 'application/x-tar',
    'tif': 'image/tiff', 'ts': 'video/mp2t', 'txt': 'text/plain', 'webmanifest': 'application/manifest+json',
    'xhtml': 'application/xhtml+xml', 'xz': 'application/x-xz', 'yml': 'application/yaml', 'zst': 'application/zstd',
}
for _kind, _names in (
        ('application', 'json json5 pdf rtf wasm xml yaml zip'), ('audio', 'aac flac ogg wav'),
        ('font', 'otf ttf woff woff2'), ('image', 'avif bmp gif jpeg png tiff webp'),
        ('text', 'css csv html vtt'), ('video', 'mp4 mpeg webm')):
    TYPES.update((name, f'{_kind}/{name}') for name in _names.split())
TYPES.update((name, f'{kind}; charset=utf-8') for name, kind in TYPES.items() if kind.startswith('text/'))


def type_of(name, default='application/octet-stream'):
    """The Content-Type for a file name or path; `default` if its extension is not known or it has none."""
    _, dot, extension = name.rpartition('.')
    return TYPES.get(extension.lower(), default) if dot else default
