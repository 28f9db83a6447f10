"""MIME types by file name extension (RFC 9110 §8.3), for what web sites and devices serve."""

_TEXT = '; charset=utf-8'

TYPES = {
    '7z': 'application/x-7z-compressed', 'aac': 'audio/aac', 'apk': 'application/vnd.android.package-archive',
    'apng': 'image/apng', 'atom': 'application/atom+xml', 'avif': 'image/avif', 'bin': 'application/octet-stream',
    'bmp': 'image/bmp', 'bz2': 'application/x-bzip2', 'cer': 'application/pkix-cert', 'css': 'text/css' + _TEXT,
    'crt': 'application/x-x509-ca-cert', 'csv': 'text/csv' + _TEXT, 'doc': 'application/msword',
    'docx': 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
    'eot': 'application/vnd.ms-fontobject', 'epub': 'application/epub+zip', 'flac': 'audio/flac', 'gif': 'image/gif',
    'gz': 'application/gzip', 'htm': 'text/html' + _TEXT, 'html': 'text/html' + _TEXT, 'ico': 'image/x-icon',
    'ics': 'text/calendar' + _TEXT, 'ini': 'text/plain' + _TEXT, 'jpeg': 'image/jpeg', 'jpg': 'image/jpeg',
    'js': 'text/javascript' + _TEXT, 'json': 'application/json', 'json5': 'application/json5',
    'jsonld': 'application/ld+json', 'jxl': 'image/jxl', 'log': 'text/plain' + _TEXT, 'm3u8': 'application/vnd.apple.mpegurl',
    'm4a': 'audio/mp4', 'm4v': 'video/mp4', 'map': 'application/json', 'md': 'text/markdown' + _TEXT, 'mid': 'audio/midi',
    'mjs': 'text/javascript' + _TEXT, 'mkv': 'video/x-matroska', 'mov': 'video/quicktime', 'mp3': 'audio/mpeg',
    'mp4': 'video/mp4', 'mpd': 'application/dash+xml', 'mpeg': 'video/mpeg', 'oga': 'audio/ogg', 'ogg': 'audio/ogg',
    'ogv': 'video/ogg', 'opus': 'audio/ogg', 'otf': 'font/otf', 'pdf': 'application/pdf', 'pem': 'application/x-pem-file',
    'png': 'image/png', 'ppt': 'application/vnd.ms-powerpoint',
    'pptx': 'application/vnd.openxmlformats-officedocument.presentationml.presentation', 'ps': 'application/postscript',
    'rss': 'application/rss+xml', 'rtf': 'application/rtf', 'sh': 'text/x-shellscript' + _TEXT, 'svg': 'image/svg+xml',
    'svgz': 'image/svg+xml', 'tar': 'application/x-tar', 'tif': 'image/tiff', 'tiff': 'image/tiff', 'ts': 'video/mp2t',
    'ttf': 'font/ttf', 'txt': 'text/plain' + _TEXT, 'vtt': 'text/vtt' + _TEXT, 'wasm': 'application/wasm',
    'wav': 'audio/wav', 'weba': 'audio/webm', 'webm': 'video/webm', 'webmanifest': 'application/manifest+json',
    'webp': 'image/webp', 'woff': 'font/woff', 'woff2': 'font/woff2', 'xhtml': 'application/xhtml+xml',
    'xls': 'application/vnd.ms-excel', 'xlsx': 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
    'xml': 'application/xml', 'xz': 'application/x-xz', 'yaml': 'application/yaml', 'yml': 'application/yaml',
    'zip': 'application/zip', 'zst': 'application/zstd',
}


def type_of(name, default='application/octet-stream'):
    """The Content-Type for a file name or path; `default` if the extension is not known or there is none."""
    stem, dot, extension = name.rpartition('.')
    return TYPES.get(extension.lower(), default) if dot else default
