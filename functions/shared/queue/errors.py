"""The errors of the queue. Their messages are for the operator's log, never for the caller of the API."""


class QueueUnavailableError(Exception):
    """The queue is unreachable or refused a message. The same call may succeed later.

    A message may have been queued nevertheless, if only its acknowledgement was lost.
    """
