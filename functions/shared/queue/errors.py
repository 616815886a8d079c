"""What can go wrong on the way to the queue. Messages are for the operator's log, never for the caller of the API."""


class QueueUnavailableError(Exception):
    """The queue cannot be reached, or does not take a message. The same call may succeed later.

    A message may have got in nevertheless, and only its acknowledgement have been lost.
    """
