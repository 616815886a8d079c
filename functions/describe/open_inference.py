"""The routes of the Open Inference Protocol that tell of the server and its model. `infer` has those that predict."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request

from functions.describe.open_inference_documents import (
    config_document,
    metadata_document,
    server_document,
    statistics_document,
)
from functions.shared.api.auth import caller
from functions.shared.api.open_inference import MODEL, VERSION, errors, require_model
from functions.shared.api.problems import Problem
from functions.shared.inference.package import ModelPackage

_MODEL: Final = "/v2/models/{name}"
_VERSION: Final = _MODEL + "/versions/{version}"
_OTHER_METHODS: Final = ["DELETE", "GET", "OPTIONS", "PATCH", "PUT"]
_ALL_METHODS: Final = [*_OTHER_METHODS, "HEAD", "POST"]

_SHARED_MEMORY: Final = "Shared memory is not served: send the tensors in the request, in JSON or in binary."
_NOT_SERVED: Final = {
    "repository": (
        "Models are not loaded or unloaded by requests: a deployment serves the one model that its setting MODEL "
        "names. GET /v1/models lists it, GET /v2/models/{name}/ready says whether it can be asked."
    ),
    "systemsharedmemory": _SHARED_MEMORY,
    "cudasharedmemory": _SHARED_MEMORY,
    "trace": "Traces are not served: the log has a line for each prediction.",
    "logging": "The log's settings are those of the deployment: LOG_LEVEL.",
}
"""Extensions of Triton by the start of their path, and what is said to who asks for them."""

Described = dict[str, Any]


def open_inference_routes(
    package: Callable[[], ModelPackage], token_required: Callable[[], bool], max_batch_inputs: Callable[[], int]
) -> APIRouter:
    """Return the routes.

    Parameters
    ----------
    package
        Returns the served model. Raises `Problem` (503) if it cannot be read.
    token_required
        Returns whether the API has an authorizer.
    max_batch_inputs
        Returns how many rows one request may have.
    """
    router = APIRouter(tags=["Open Inference Protocol"])

    def asked(request: Request) -> ModelPackage:
        """Return the served model, if the request is about it and by somebody who may ask."""
        caller(request, required=token_required())
        served = package()
        require_model(request.path_params["name"], request.path_params.get("version"), (served.name, served.version))
        return served

    @router.get("/v2")
    async def server_metadata() -> Described:
        """The server's name, version and extensions of the protocol."""
        return server_document()

    @router.get("/v2/health/live")
    async def server_live() -> Described:
        """200: the server answers."""
        return {"live": True}

    @router.get("/v2/health/ready", responses=errors(503))
    async def server_ready() -> Described:
        """200 when the model's files can be read, else 503."""
        package()
        return {"ready": True}

    @router.get("/v2/models/stats", responses=errors(401, 503))
    async def server_statistics(request: Request) -> Described:
        """The models that there would be statistics of. What they have answered is in the ledger."""
        caller(request, required=token_required())
        return statistics_document(package())

    @router.get("/v1/models", responses=errors(401, 503))
    async def models_v1(request: Request) -> Described:
        """The served model's name, in a list."""
        caller(request, required=token_required())
        return {"models": [package().name]}

    for path, openapi in ((_MODEL, MODEL), (_VERSION, VERSION)):
        suffix = "_version" if path is _VERSION else ""
        responses = errors(401, 404, 503)

        @router.get(path, name=f"model_metadata{suffix}", responses=responses, openapi_extra=openapi)
        async def model_metadata(request: Request) -> Described:
            """Names, datatypes and shapes of the model's inputs and outputs. An axis of any length is -1."""
            return metadata_document(asked(request))

        @router.get(f"{path}/ready", name=f"model_ready{suffix}", responses=responses, openapi_extra=openapi)
        async def model_ready(request: Request) -> Described:
            """200 when the model can be asked."""
            return {"name": asked(request).name, "ready": True}

        @router.get(f"{path}/config", name=f"model_config{suffix}", responses=responses, openapi_extra=openapi)
        async def model_config(request: Request) -> Described:
            """The model's configuration, as Triton has it."""
            return config_document(asked(request), max_batch_inputs())

        @router.get(f"{path}/stats", name=f"model_statistics{suffix}", responses=responses, openapi_extra=openapi)
        async def model_statistics(request: Request) -> Described:
            """The model that there would be statistics of. What it has answered is in the ledger."""
            return statistics_document(asked(request))

        @router.api_route(f"{path}/infer", methods=_OTHER_METHODS, include_in_schema=False)
        async def infer() -> None:
            """The function `infer` answers POST, and no other method."""
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})

    @router.get("/v1/models/{name}", responses=errors(401, 404, 503), openapi_extra=MODEL)
    async def model_ready_v1(request: Request) -> Described:
        """200 when the model can be asked (version 1 of the protocol)."""
        return {"name": asked(request).name, "ready": True}

    for extension in _NOT_SERVED:
        for path in (f"/v2/{extension}", f"/v2/{extension}/{{rest:path}}"):
            router.add_api_route(path, not_served, methods=_ALL_METHODS, include_in_schema=False)
    return router


async def not_served(request: Request) -> None:
    """Name what is served instead of an extension of Triton that this service does not have."""
    raise Problem(HTTPStatus.NOT_FOUND, _NOT_SERVED[request.scope["path"].split("/")[2]])
