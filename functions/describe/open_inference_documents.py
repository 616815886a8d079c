"""What the Open Inference Protocol asks of a server and its model, beside inference. Reads the signature alone.

Sources: Open Inference Protocol, "HTTP/REST"; Triton Inference Server, "Model Configuration Extension" and "Statistics
Extension" for `/config` and `/stats`, as far as its clients need them; KServe, "V1 Protocol".
"""

from typing import Any, Final

from functions.shared.api.app import VERSION
from functions.shared.inference.datatypes import DATATYPES
from functions.shared.inference.onnx_file import OutputSpec, TensorSpec
from functions.shared.inference.package import ImageInput, ModelPackage

NAME: Final = "triton"
"""The server's name: clients of Triton look for it before they go on."""

EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_configuration", "statistics")
"""The extensions of the protocol that this service has, by Triton's names."""

PLATFORM: Final = "onnxruntime_onnx"
"""What Triton calls a model in ONNX."""

_FORMATS: Final = {"NCHW": "FORMAT_NCHW", "NHWC": "FORMAT_NHWC"}

Document = dict[str, Any]


def server_document() -> Document:
    """Return the server's metadata."""
    return {"name": NAME, "version": VERSION, "extensions": list(EXTENSIONS)}


def metadata_document(package: ModelPackage) -> Document:
    """Return the model's metadata."""
    signature = package.signature
    return {
        "name": package.name,
        "versions": [package.version],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in signature.inputs],
        "outputs": [_tensor(spec) for spec in signature.outputs if spec.name in _answered(package)],
    }


def config_document(package: ModelPackage, max_batch_inputs: int) -> Document:
    """Return the model's configuration, as Triton would write it for a model that takes batches.

    A batch axis is no dimension there: `max_batch_size` says that there is one, and 0 that there is none.
    """
    batched = package.input.rows is None
    metadata = metadata_document(package)

    wanted = package.input
    layout = wanted.layout if isinstance(wanted, ImageInput) else ""

    def described(tensor: Document) -> Document:
        dims = tensor["shape"][1:] if batched else tensor["shape"]
        return {"name": tensor["name"], "data_type": _config_type(tensor["datatype"]), "dims": dims}

    def input_described(tensor: Document) -> Document:
        return described(tensor) | {"format": _FORMATS.get(layout, "FORMAT_NONE"), "optional": False}

    return {
        "name": package.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_batch_inputs if batched else 0,
        "input": [input_described(tensor) for tensor in metadata["inputs"]],
        "output": [described(tensor) for tensor in metadata["outputs"]],
    }


def statistics_document(package: ModelPackage) -> Document:
    """Return which model there would be statistics of. What it has answered is in the ledger: `GET /predictions`."""
    return {"model_stats": [{"name": package.name, "version": package.version, "batch_stats": []}]}


def _answered(package: ModelPackage) -> set[str]:
    """Return the names of the outputs that are computed and are tensors, or maps that become one."""
    answer = package.answer
    unused = answer.label if package.task == "regression" else None
    computed = [spec for spec in (*answer.headline, *answer.further) if spec is not unused]
    return {spec.name for spec in computed if spec.dtype in DATATYPES}


def _tensor(spec: TensorSpec | OutputSpec) -> Document:
    classes = spec.classes if isinstance(spec, OutputSpec) and spec.key_dtype else None
    shape = (None, len(classes) if classes else None) if spec.shape is None else spec.shape
    return {
        "name": spec.name,
        "datatype": DATATYPES[spec.dtype],
        "shape": [axis if isinstance(axis, int) else -1 for axis in shape],
    }


def _config_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
