"""Whether to write: the query of `POST /ground_truth`."""

from pydantic import Field

from functions.shared.api.query_fields import QueryFields, TrueOrFalse


class ManyQuery(QueryFields):
    """Whether to write. Any other parameter is refused: with a misspelt `dry_run`, the request would write."""

    dry_run: TrueOrFalse = Field(
        default=None, description="Only say what would become of each. Nothing is written.", examples=["true"]
    )
