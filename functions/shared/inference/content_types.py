"""The supported image types: their signatures, and what clients call them."""

import re
from typing import Final

SUPPORTED_CONTENT_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")

OCTET_STREAM: Final = "application/octet-stream"

_WITHOUT_A_TYPE: Final = frozenset({"", OCTET_STREAM, "binary/octet-stream"})
"""What a client writes that does not know, or does not say, what its bytes are. S3 writes the last."""

# Older browsers, operating systems and libraries use these names (the aliases in freedesktop.org's shared MIME database
# have most of them).
_NAMES: Final = {
    "png": ("image/x-png", "image/apng", "image/vnd.mozilla.apng", "application/png", "application/x-png"),
    "jpeg": (
        *("image/jpg", "image/pjpeg", "image/x-jpeg", "image/x-jpg", "image/jpe", "image/jfif", "image/pjp"),
        *("image/pipeg", "application/jpeg", "application/jpg", "application/x-jpg"),
    ),
    "webp": ("image/x-webp",),
    "gif": ("image/x-gif", "application/gif", "application/x-gif"),
    "bmp": (
        *("image/x-bmp", "image/x-ms-bmp", "image/ms-bmp", "image/x-windows-bmp", "image/x-win-bitmap"),
        *("image/dib", "image/x-dib", "application/bmp", "application/x-bmp", "application/x-win-bitmap"),
    ),
    "tiff": ("image/tif", "image/x-tif", "image/x-tiff", "application/tif", "application/tiff", "application/x-tif"),
}
_CONTENT_TYPES: Final = {name: f"image/{kind}" for kind, names in _NAMES.items() for name in names} | {
    name: name for name in SUPPORTED_CONTENT_TYPES
}

IMAGE_SUBTYPE: Final = r"[A-Za-z0-9_!#$%&'*+.^`|~-]{1,127}"
"""A pattern of what may follow `image/`: a token of HTTP, of the length that RFC 6838, section 4.2, allows."""

_IMAGE: Final = re.compile(f"image/{IMAGE_SUBTYPE}")

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),  # BigTIFF
    (b"MM\x00+", "image/tiff"),
)


def sniff_contenttype(data: bytes) -> str | None:
    """Tell an image's content type from its first bytes.

    Parameters
    ----------
    data
        The file, or at least its first 12 bytes.

    Returns
    -------
    str | None
        One of `SUPPORTED_CONTENT_TYPES`; None for anything else.
    """
    for signature, content_type in _SIGNATURES:
        if data.startswith(signature):
            return content_type
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def may_be_image(declared: str) -> bool:
    """Tell whether a client that declares this media type may have sent an image.

    Parameters
    ----------
    declared
        The media type without parameters, in lower case; empty if there is none.
    """
    return declared in _WITHOUT_A_TYPE or declared in _CONTENT_TYPES or _IMAGE.fullmatch(declared) is not None


def image_contenttype(declared: str, content: bytes) -> str | None:
    """Return what the bytes are, whatever image they are declared to be.

    Parameters
    ----------
    declared
        The media type that the client declares, without parameters, in lower case; empty if there is none.
    content
        The file.

    Returns
    -------
    str | None
        One of `SUPPORTED_CONTENT_TYPES`. `OCTET_STREAM` if the bytes are no such image and nothing is declared. None if
        the client declares something else than an image, or an image of a kind that is not supported, and the bytes are
        none of another.
    """
    if not may_be_image(declared):
        return None
    known = OCTET_STREAM if declared in _WITHOUT_A_TYPE else _CONTENT_TYPES.get(declared)
    return sniff_contenttype(content) or known
