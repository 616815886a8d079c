"""What a token may permit beyond its user's own records."""

from enum import StrEnum
from typing import Final

RESOURCE_SERVER: Final = "onnx-ledger"
"""What may stand before a scope, with a slash between: Cognito puts the identifier of the resource server there.

The same name with another prefix is a scope of another API, for which the same issuer makes tokens.
"""


class Scope(StrEnum):
    """A scope of the contract."""

    READ_ALL = "predictions:read-all"
    DELETE_ALL = "predictions:delete-all"
    WRITE_GROUND_TRUTH = "ground-truth:write"
