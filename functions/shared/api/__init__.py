"""HTTP: the FastAPI application and problem+json. It knows the layers below; they do not know it."""
