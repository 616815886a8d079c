"""The use cases: predict and store, store and queue, a worker's batch. They know nothing of HTTP or Lambda events."""
