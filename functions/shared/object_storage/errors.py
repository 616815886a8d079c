"""The errors of object storage. Their messages are for the operator's log, never for the caller of the API."""


class ObjectStoreError(Exception):
    """Base class of the errors of object storage."""


class ObjectStoreUnavailableError(ObjectStoreError):
    """S3 is unreachable or refused the request. The same call may succeed later."""


class ObjectMissingError(ObjectStoreError):
    """The object does not exist."""
