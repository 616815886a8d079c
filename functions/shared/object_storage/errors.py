"""What can go wrong with objects. Messages are for the operator's log, never for the caller of the API."""


class ObjectStoreError(Exception):
    """Base of everything this layer raises."""


class ObjectStoreUnavailableError(ObjectStoreError):
    """S3 cannot be reached, or refuses. The same call may succeed later."""


class ObjectMissingError(ObjectStoreError):
    """There is no such object."""
