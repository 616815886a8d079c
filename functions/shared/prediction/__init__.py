"""The use cases: predict and store, store and queue, a worker's batch. Knows no HTTP and no event."""
