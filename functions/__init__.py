"""The Lambda functions, and the layers they share."""

import gc

# A cold start makes 110,000 objects that stay. With Python's threshold of 700 it searches them for cycles again and
# again, and the first request takes 25 ms longer: docs/decisions/garbage-collection.md.
gc.set_threshold(50_000)
