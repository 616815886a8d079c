"""HTTP: the FastAPI application, problem+json and logging. Knows the layers below; they do not know it."""
