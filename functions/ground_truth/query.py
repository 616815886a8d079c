"""Whether to write: the query of `POST /ground_truth`, and the header that is a condition."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from fastapi import Request
from pydantic import Field

from functions.shared.api.query_fields import QueryFields, TrueOrFalse


class ManyQuery(QueryFields):
    """Whether to write. Any other parameter is refused: with a misspelt `dry_run`, the request would write."""

    dry_run: TrueOrFalse = Field(
        default=None, description="Only say what would become of each. Nothing is written.", examples=["true"]
    )


UNMODIFIED_SINCE: Final = "If-Unmodified-Since"


def unless_judged_since(request: Request) -> datetime | None:
    """Return since when nothing else may have been said of the predictions, if the request names a time.

    The header has whole seconds: what was said within the second that it names is no later. One that is no date counts
    as absent (RFC 9110, section 13.1.4).
    """
    header = request.headers.get(UNMODIFIED_SINCE, "")
    try:
        named = parsedate_to_datetime(header)
        return (named if named.tzinfo else named.replace(tzinfo=UTC)) + timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
