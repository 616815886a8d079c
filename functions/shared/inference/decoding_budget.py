"""How much the images of one request may cost to decode, counted from their headers before a pixel is decoded.

docs/decisions/no-decoding-process.md says why these counts are enough to end every decoder.
"""

import io
from time import thread_time
from typing import Final

from functions.shared.inference.errors import image_too_large

MAX_SIDE: Final = 65_535
"""Pixels of a side, as in JPEG and GIF. Pillow keeps a pointer for each row: 25 million rows take 200 MB of them."""

IMAGES_OF_A_REQUEST: Final = 4
"""How many images of the largest size one request may have decoded."""

TENSOR_BYTES_PER_PIXEL: Final = 1
"""Bytes that an image may be for a model of open size, times the pixels of the largest image. A small network of four
channels allocates 24 times as many."""

TENSOR_BYTES_PER_PIXEL_OF_A_REQUEST: Final = 8
"""Bytes that the images of a request may be for the model, times the pixels of the largest image."""

RESIZED_ASPECT: Final = 16
"""An image whose shorter edge is resized may be this many times as long as wide, even if that makes more pixels than
the largest image has."""

SECONDS: Final = 5.0
"""Processor time for decoding the images of one request."""

SCANS_LIKE_THE_FIRST: Final = 16
"""A JPEG file may have this many scans per pass over its pixels: an empty scan takes a twelfth of a decoding."""

UNTIMED_BYTES: Final = 65_536
"""Bytes of a file that is not timed. A reader in Python takes 0.1 s at most for it."""

# Images of fewer pixels are decoded in milliseconds: one alone is not timed.
_QUICK_PIXELS: Final = 100_000

# The clock takes as long as a read, and a reader in Python reads single bytes.
_READS_PER_CHECK: Final = 32


class DecodingBudget:
    """What is left for the images of one request.

    Parameters
    ----------
    max_pixels
        Width times height above which an image is refused.
    bytes_per_pixel
        Bytes that a pixel has in the tensor of a model of open size; 0 for a model of fixed size.
    fixed_bytes
        Bytes that an image has at most in the tensor of a model that it is resized for; 0 if it keeps its own size.
    shorter_edge
        What an image's shorter edge is resized to before a part is cut out; 0 if images are not resized so.
    """

    __slots__ = (
        *("_began", "_bytes_per_pixel", "_fixed_bytes"),
        *("_max_pixels", "_pixels", "_shorter_edge", "_tensor_bytes"),
    )

    def __init__(self, max_pixels: int, bytes_per_pixel: int, fixed_bytes: int, shorter_edge: int = 0) -> None:
        self._max_pixels = max_pixels
        self._bytes_per_pixel = bytes_per_pixel
        self._fixed_bytes = fixed_bytes
        self._shorter_edge = shorter_edge
        self._pixels = 0
        self._tensor_bytes = 0
        self._began: float | None = None

    def admit(self, width: int, height: int, passes: float = 1) -> None:
        """Take an image's cost off the budget.

        Parameters
        ----------
        width, height
            Of the image, as its header says.
        passes
            How often its decoder goes over that many pixels.

        Raises
        ------
        ImageTooLargeError
            The image is too large, or the budget is not enough for it. The message names the limit.
        """
        pixels = width * height
        if pixels > self._max_pixels:
            raise image_too_large(
                f"the image has {width} x {height} = {pixels} pixels, more than the {self._max_pixels} pixels that are "
                "taken"
            )
        if width > MAX_SIDE or height > MAX_SIDE:
            raise image_too_large(
                f"the image has {width} x {height} pixels, more than the {MAX_SIDE} pixels of a side that are taken"
            )
        largest = max(pixels, self._admit_resized(width, height)) if self._shorter_edge else pixels
        self._admit_tensor(pixels)
        first = not self._pixels
        self._pixels += int(pixels * passes)
        limit = IMAGES_OF_A_REQUEST * self._max_pixels
        if self._pixels > limit:
            if first:
                raise image_too_large(
                    f"the image has {width} x {height} pixels and is made of so many scans, strips or tiles that "
                    f"decoding it takes as long as {self._pixels} pixels: at most {limit} are decoded: "
                    "send it with fewer of them"
                )
            raise image_too_large(
                f"the images up to this one have {self._pixels} pixels together: at most {limit} are decoded for one "
                "request: send fewer at once"
            )
        if not first or largest > _QUICK_PIXELS:
            self.check_time()

    def _admit_resized(self, width: int, height: int) -> int:
        """Return the pixels that resizing the shorter edge makes. Refuse an image so long that they are too many."""
        shorter, longer = sorted((width, height))
        if not shorter:
            return 0  # its decoder refuses it
        resized = self._shorter_edge * (self._shorter_edge * longer // shorter)
        limit = max(self._max_pixels, RESIZED_ASPECT * self._shorter_edge**2)
        if resized > limit:
            raise image_too_large(
                f"the image has {width} x {height} pixels and is resized to {self._shorter_edge} pixels at its shorter "
                f"edge, which makes {resized} pixels: at most {limit} are taken: send a part of it that is less long"
            )
        return resized

    def _admit_tensor(self, pixels: int) -> None:
        limit = TENSOR_BYTES_PER_PIXEL * self._max_pixels
        size = self._fixed_bytes or pixels * self._bytes_per_pixel
        if size > limit and self._bytes_per_pixel:
            raise image_too_large(
                f"the image has {pixels} pixels, which are {size} bytes for the model: at most {limit} are taken: "
                "send a smaller image"
            )
        limit = TENSOR_BYTES_PER_PIXEL_OF_A_REQUEST * self._max_pixels
        if self._tensor_bytes and self._tensor_bytes + size > limit:
            raise image_too_large(
                f"the images up to this one are {self._tensor_bytes + size} bytes for the model: at most {limit} are "
                "taken in one request: send fewer at once"
            )
        self._tensor_bytes += size

    def check_time(self) -> None:
        """Raise `ImageTooLargeError` if more than `SECONDS` of processor time have passed since the first check."""
        if self._began is None:
            self._began = thread_time()
        elif thread_time() - self._began > SECONDS:
            raise image_too_large(
                f"decoding takes longer than {SECONDS:g} seconds: send a smaller image, one in another format, or "
                "fewer at once"
            )


class TimedFile(io.BytesIO):
    """A file in memory that stops its reader once the budget's time is used up.

    Pillow reads a file piece by piece and works on each piece before it reads the next. So a reader in Python, and a
    decoder that is fed with pieces, end at their next piece.
    """

    def __init__(self, data: bytes, budget: DecodingBudget) -> None:
        super().__init__(data)
        budget.check_time()
        self._budget = budget
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `io.BytesIO` does. Raises `ImageTooLargeError` once the time is used up."""
        self._reads += 1
        if self._reads % _READS_PER_CHECK == 0:
            self._budget.check_time()
        return super().read(size)
