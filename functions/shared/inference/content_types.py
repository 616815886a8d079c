"""The supported image types and their signatures."""

from typing import Final

SUPPORTED_CONTENT_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")

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
