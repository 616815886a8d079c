"""A handler whose import fails while the file that BROKEN names exists, and always fails without BROKEN."""

import os
import sys
from pathlib import Path

if "BROKEN" not in os.environ or Path(os.environ["BROKEN"]).exists():
    if os.environ.get("BROKEN_HOW") == "exit":
        sys.exit(7)
    raise RuntimeError("the model has 9 labels\nand 10 outputs")


def handler(*_: object) -> str:
    """End the process."""
    os._exit(1)
