"""The JSON documents that describe a deployment and its model."""

import json
from typing import Any

from functions.describe.baseline import baseline_document
from functions.shared.api.app import TITLE, VERSION
from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES
from functions.shared.inference.package import ModelPackage


def service_document(package: ModelPackage) -> dict[str, Any]:
    """Return the paths of the API and the content types that `POST /prediction` takes."""
    images = ["multipart/form-data", *SUPPORTED_CONTENT_TYPES] if package.takes == "image" else []
    return {
        "name": TITLE,
        "version": VERSION,
        "status": "alive",  # what clients of version 1 of the Open Inference Protocol look for
        "model": {"name": package.name, "version": package.version, "task": package.task},
        "predict": {"method": "POST", "path": "/prediction", "contenttypes": [*images, "application/json"]},
        "predict_many": {"method": "POST", "path": "/predictions"},
        "links": {
            "predictions": "/predictions",
            "statistics": "/statistics",
            "models": "/models",
            "model": "/model",
            "health": "/health",
            "openapi": "/openapi.json",
            "docs": "/docs",
        },
    }


def model_document(package: ModelPackage, provider: str | None) -> dict[str, Any]:
    """Return the model's identity, signature and, if it has run, the execution provider that it last ran on."""
    return {
        "name": package.name,
        "version": package.version,
        "sha256": package.sha256,
        "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in package.files],
        "settings": json.loads(package.settings),
        "task": package.task,
        "labels": package.labels,
        **package.describe_input(),
        "signature": package.signature.describe(),
        "provider": provider,
        "baseline": baseline_document(package),
    }
