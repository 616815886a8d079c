"""HTTP: the FastAPI application and problem+json. It imports the layers below; they never import it."""
