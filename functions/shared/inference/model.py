"""A loaded model: decode an input, predict, warm up."""

import contextlib
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference import run_deadline
from functions.shared.inference.decoding_budget import DecodingBudget
from functions.shared.inference.errors import (
    InputError,
    InputProblem,
    InvalidFeaturesError,
    ModelPackageError,
    ModelRunError,
    ModelTimeoutError,
    ProviderUnavailableError,
    UnpredictableInputError,
)
from functions.shared.inference.features import FeatureDecoder
from functions.shared.inference.images import ImageDecoder
from functions.shared.inference.instance import Instance
from functions.shared.inference.onnx_file import SERVED_DTYPES
from functions.shared.inference.outputs import OutputReader, RawOutput, RowsMismatchError
from functions.shared.inference.package import FeatureInput, ImageInput, ModelPackage, TensorInput
from functions.shared.inference.prediction import Prediction
from functions.shared.inference.raw_rows import raw_rows
from functions.shared.inference.tensor_outputs import TensorReader
from functions.shared.inference.tensor_rows import TensorRows
from functions.shared.inference.tensor_runs import TensorRuns

# The wheel contains a telemetry client that reads this at import. Without it, usage data could leave the deployment.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

__all__ = ["Instance", "Model"]

_LOG: Final = logging.getLogger(__name__)

_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
# Bytes of input in one run. A network allocates tens of times its input. Beyond a few rows, larger runs are faster on a
# GPU but not on a CPU (the digits model: 0.12 ms per row both for 5 rows and for 2000).
_MAX_RUN_BYTES_ON_CPU: Final = 1024 * 1024
_MAX_RUN_BYTES: Final = 64 * 1024 * 1024
_FATAL: Final = 4
# Most networks accept this side length: for the made-up image of a model that takes any size.
_MADE_UP_SIDE: Final = 224
# So many shared runs of different inputs are compared with runs of one. One may by chance show no difference.
_COMPARED_RUNS: Final = 3
# What rounding may change in an answer, as a part of its largest number: float16 and TF32 keep 11 bits of a number, and
# the order in which a run sums up depends on how many rows it has.
_ROUNDING: Final = 0.01
_ONE_PIXEL_PNG: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)

_LOAD_FAILURES: Final = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_PROVIDER_FAILURES: Final = (ort_errors.EPFail, ort_errors.EngineError, RuntimeError, ValueError)
_RUN_FAILURES: Final = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class Model:
    """A model package, loaded into the runtime. Safe to use from several threads.

    Attributes
    ----------
    package
        The served package.
    provider
        The execution provider that runs it: ``CPUExecutionProvider``, ``CUDAExecutionProvider``.
    tensor_rows
        How the graph's own tensors are made of rows.
    """

    def __init__(self, package: ModelPackage, session: onnxruntime.InferenceSession, max_image_pixels: int) -> None:
        self.package = package
        self.provider: str = session.get_providers()[0]
        self._session = session
        wanted = package.input
        self._runs = TensorRuns(wanted) if isinstance(wanted, TensorInput) else None
        self._tensors = TensorReader(package) if self._runs is not None else None
        self._reader = OutputReader(package)
        self._output_names = self._reader.names if self._tensors is None else self._tensors.names
        self._images = ImageDecoder(wanted, max_pixels=max_image_pixels) if isinstance(wanted, ImageInput) else None
        self._features = FeatureDecoder(wanted) if isinstance(wanted, FeatureInput) else None
        if isinstance(wanted, ImageInput):
            self._input_names: tuple[str, ...] = (wanted.name,)
            self._open_shape = wanted.is_open
        elif isinstance(wanted, TensorInput):
            self._input_names = tuple(tensor.name for tensor in wanted.tensors)
            self._open_shape = True
        else:
            self._input_names = tuple(tensor.name for tensor in wanted.tensors)
            self._open_shape = wanted.columns is None
        self._max_run_bytes = _MAX_RUN_BYTES_ON_CPU if self.provider == _CPU else _MAX_RUN_BYTES
        self._unbatched = wanted.unbatched
        self._rows = 1 if wanted.unbatched or package.answer.unmatched else wanted.batch
        # Whether the outputs have a row for each input, as the file says of them. A run of one input shows where they
        # have not: with as many inputs as classes, transposed scores would look right. None: there was no such run yet.
        # Of a fixed batch, only a shared run that is compared shows it.
        self._splits: bool | None = None
        # The shared runs that are still to be compared: an operator over the first axis (a Softmax, a mean) answers as
        # many rows as there are inputs, and each of them depends on the others.
        self._to_compare = _COMPARED_RUNS
        self.tensor_rows = TensorRows(package)
        self._classes = {spec.name: spec.classes for spec in package.signature.outputs if spec.classes}

    @classmethod
    def load(
        cls,
        package: ModelPackage,
        *,
        providers: str = "auto",
        intra_op_threads: int = 1,
        max_image_pixels: int = 25_000_000,
    ) -> "Model":
        """Load a package into the runtime.

        Parameters
        ----------
        package
            The model.
        providers
            ``auto``: CUDA if the device and its libraries are available, else the CPU. Or the runtime's own names in
            order of preference, separated by commas: all of them must then be available.
        intra_op_threads
            Threads that one run may use.
        max_image_pixels
            Width times height above which an image is refused before it is decoded.

        Raises
        ------
        ModelPackageError
            The runtime cannot load the file, a file has changed since the package was read, or the model's outputs
            contradict the package.
        ProviderUnavailableError
            A provider in an explicit list is not available.
        """
        model = cls(package, _session(package, providers, _options(intra_op_threads)), max_image_pixels)
        # The runtime opens the files itself. If they have changed, the package's digest identifies another model.
        for file in package.files:
            file.require_unchanged()
        if model._runs is not None and model._tensors is not None:
            model._decide_axes(model._runs, model._tensors)
        if package.labels is not None and package.answer.width is None:
            model.warm_up()  # only a run shows how many scores there are
        return model

    def decoding_budget(self) -> DecodingBudget | None:
        """Return what the images of one request may cost to decode; None if the model takes no images."""
        return None if self._images is None else self._images.budget()

    def decode_image(self, data: bytes, budget: DecodingBudget | None = None) -> Instance:
        """Decode and preprocess one image file.

        Parameters
        ----------
        data
            The file's bytes.
        budget
            What is left for the images of its request; None for an image alone.

        Raises
        ------
        UndecodableImageError, ImageTooLargeError
            See `ImageDecoder.decode`.
        """
        if self._images is None:
            raise TypeError(f"this model takes {self.package.takes}, not images")
        array, picture = self._images.decode_and_measure(data, budget)
        return Instance((array,), picture=picture)

    def check_image(self, data: bytes) -> None:
        """Check an image's header only.

        Raises
        ------
        UndecodableImageError, ImageTooLargeError
            See `ImageDecoder.check`.
        """
        if self._images is None:
            raise TypeError(f"this model takes {self.package.takes}, not images")
        self._images.check(data)

    def decode_features(self, features: object) -> Instance:
        """Check and convert one feature vector: a list, or an object by feature name.

        Raises
        ------
        MissingFeaturesError, InvalidFeaturesError
            See `FeatureDecoder.decode`.
        """
        if self._features is None:
            raise TypeError(f"this model takes {self.package.takes}, not features")
        return Instance(self._features.decode(features))

    def decode_tensors(self, inputs: object) -> Instance:
        """Check and convert one example: an object with a value or nested lists for each input of the graph.

        Raises
        ------
        MissingFeaturesError, InvalidFeaturesError
            See `TensorRuns.decode`.
        """
        if self._runs is None:
            raise TypeError(f"this model takes {self.package.takes}, not tensors")
        return self._runs.decode(inputs)

    @property
    def output_names(self) -> Sequence[str]:
        """The outputs that `predict_tensors` returns, in the graph's order: those computed that are no sequences."""
        served = [spec.name for spec in self.package.signature.outputs if spec.dtype in SERVED_DTYPES]
        return [name for name in served if name in self._output_names]

    def instances(self, arrays: Mapping[str, NDArray[Any]], max_rows: int) -> list[Instance]:
        """Split the graph's own tensors into instances, whatever the model takes otherwise: an image is not resized.

        Parameters and errors as in `TensorRows.split`.
        """
        return self.tensor_rows.split(arrays, max_rows)

    def predict_tensors(self, instances: Sequence[Instance]) -> list[tuple[Prediction, Mapping[str, NDArray[Any]]]]:
        """Predict instances, and return with each prediction the outputs that it was made from, by name.

        Errors as in `predict`.
        """
        kept: list[Mapping[str, NDArray[Any]]] = []
        if self._runs is not None:
            predictions = self._predict_alike(self._runs, instances, kept)
        else:
            predictions = self._predict_groups(self._groups(instances), kept)
        return list(zip(predictions, kept, strict=True))

    def predict(self, instances: Sequence[Instance]) -> list[Prediction]:
        """Predict instances, in their order.

        A run has as many instances as fit the limit of input bytes. A model with a fixed batch gets exactly that many:
        the last group is padded with copies, whose results are dropped.

        Raises
        ------
        UnpredictableInputError
            The model returns NaN or Infinity for an instance.
        InvalidFeaturesError
            The model refuses an instance's values (an unknown category, for example).
        ModelRunError
            The runtime fails on a valid input.
        ModelTimeoutError
            The time of `run_deadline.limited` is over.

        The problems of an input error give the positions of the bad instances.
        """
        if len(instances) == 1:
            return self._predict_group(instances)
        if self._runs is not None:
            return self._predict_alike(self._runs, instances)
        return self._predict_groups(self._groups(instances))

    def warm_up(self) -> None:
        """Predict a made-up input, so that everything is imported and allocated before the first real one.

        Raises
        ------
        ModelPackageError
            The number of scores differs from the number of labels, or the number of rows from that of the input; or the
            batch is fixed, and the answer to one of its rows depends on the others.
        ModelRunError
            The model cannot run at all.
        """
        if self._images is not None:
            self.check_image(_ONE_PIXEL_PNG)  # imports Pillow's PNG reader, which decoding a plain file does not need
            self.decode_image(_ONE_PIXEL_PNG)
        made_up = self.made_up_instance()
        try:
            self.predict([made_up])
            if self._rows is not None and self._rows > 1 and self._to_compare == _COMPARED_RUNS:
                # Each run has all rows, also that of one request: what mixes them is to be found out before the first.
                self.predict([_varied(made_up), made_up])
                if self._splits is False:
                    raise ModelPackageError(
                        f"model.onnx: takes {self._rows} rows at a time, and its answer to one depends on the others: "
                        "export it with a batch of one, or, if they are one example, say task: tensors and batched: "
                        "false in model.json"
                    )
        except InputError as error:
            # A model may refuse a made-up category or divide by zero. That says nothing about real inputs.
            _LOG.debug("the made-up input was refused: %s", error)

    def made_up_instance(self) -> Instance:
        """Make up an input: a black image, or zeros, false and empty strings."""
        wanted = self.package.input
        if self._runs is not None:
            return self._runs.made_up()
        if isinstance(wanted, FeatureInput):
            zeros: dict[str, object] = {"string": "", "boolean": False}
            columns = wanted.columns
            return self.decode_features([0] if columns is None else [zeros.get(column.type, 0) for column in columns])
        if isinstance(wanted, TensorInput):
            raise TypeError("tensors are made up above")
        height, width = wanted.height or _MADE_UP_SIDE, wanted.width or _MADE_UP_SIDE
        return Instance((ImageDecoder(wanted, max_pixels=height * width).black(height, width),))

    def _groups(self, instances: Sequence[Instance]) -> Iterator[Sequence[Instance]]:
        start = 0
        while start < len(instances):
            first = instances[start].arrays
            limit = self._rows or max(1, self._max_run_bytes // max(1, sum(array.nbytes for array in first)))
            end = min(start + limit, len(instances))
            if self._runs is not None:
                end = self._runs.end(instances, start, end, self._max_run_bytes)
            elif self._open_shape:
                end = next((at for at in range(start, end) if instances[at].arrays[0].shape != first[0].shape), end)
            yield instances[start:end]
            start = end

    def _predict_alike(
        self, runs: TensorRuns, instances: Sequence[Instance], kept: list[Mapping[str, NDArray[Any]]] | None = None
    ) -> list[Prediction]:
        """Predict examples that can share a run one after another, whatever order they came in."""
        order = runs.order(instances)
        try:
            made = self._predict_groups(self._groups([instances[at] for at in order]), kept)
        except InputError as error:
            problems = sorted((replace(one, instance=order[one.instance]) for one in error.problems), key=_position)
            raise type(error)(str(error), problems=tuple(problems)) from error
        places = {at: place for place, at in enumerate(order)}
        if kept is not None:
            kept[:] = [kept[places[at]] for at in range(len(instances))]
        return [made[places[at]] for at in range(len(instances))]

    def _decide_axes(self, runs: TensorRuns, reader: TensorReader) -> None:
        """Run the model on made-up examples, and see which axes of the outputs are as long as axes of the inputs."""
        if reader.undecided:
            few, more = (self._run_made_up(runs.made_up(), rows) for rows in (2, 3))
            for name in reader.undecided:
                lengths = few[name].shape[:1], more[name].shape[:1]
                reader.decide(name, batched=lengths == ((2,), (3,)))
        runs.one_by_one = runs.one_by_one or reader.one_by_one
        if runs.one_by_one or not reader.has_unnamed_axes(runs.axis_names):
            return
        for axis in runs.padded_axes:
            shorter, longer = (self._run_made_up(runs.made_up(one), 2) for one in (None, axis))
            for name, array in shorter.items():
                for at in range(1, array.ndim):
                    if longer[name].ndim == array.ndim and longer[name].shape[at] == array.shape[at] + 1:
                        reader.name_axis(name, at, axis)

    def _run_made_up(self, example: Instance, rows: int) -> dict[str, NDArray[Any]]:
        try:
            raw = self._session.run(self._output_names, self._feed([example] * rows, self._rows or rows))
        except _RUN_FAILURES as error:
            raise ModelPackageError(
                f"model.onnx: {rows} made-up examples cannot be run, to see which axes of the outputs follow those of "
                f"the inputs: give them the same names: {_first_line(error)}"
            ) from error
        return {name: np.asarray(array) for name, array in zip(self._output_names, raw, strict=True)}

    def _predict_groups(
        self, groups: Iterable[Sequence[Instance]], kept: list[Mapping[str, NDArray[Any]]] | None = None
    ) -> list[Prediction]:
        """Predict group after group, and raise all problems of instances together at the end."""
        predictions: list[Prediction] = []
        errors: list[InputError] = []
        problems: list[InputProblem] = []
        done = 0
        for group in groups:
            try:
                predictions += self._predict_group(group, kept)
            except InputError as error:
                errors.append(error)
                problems += [replace(one, instance=one.instance + done) for one in error.problems]
            done += len(group)
        if errors:
            raise type(errors[0])(str(errors[0]), problems=tuple(problems))
        return predictions

    def _predict_group(
        self, group: Sequence[Instance], kept: list[Mapping[str, NDArray[Any]]] | None = None
    ) -> list[Prediction]:
        """Predict a group in one run. Append the outputs of each instance to `kept`, where they are to be kept."""
        if len(group) > 1 and not (self._splits or (self._splits is None and self._rows)):
            return self._predict_groups(([one] for one in group), kept)
        rows = self._rows or len(group)
        try:
            raw = self._session.run(self._output_names, self._feed(group, rows), run_deadline.options())
        except _RUN_FAILURES as error:
            if run_deadline.passed():
                raise ModelTimeoutError("the model was ended because it took too long") from error
            if len(group) > 1:
                return self._predict_groups(([one] for one in group), kept)  # find out which one fails
            raise self._failure(error) from error
        if rows == 1 and self._splits is not False:
            splits = all(_has_one_row(output) for output in raw)
            if self._splits is None or not splits:  # another thread may have found out meanwhile that it is false
                self._splits = splits
        try:
            if len(group) > 1 and self._to_compare > 0 and self._mixes(group, raw, rows):
                self._splits = False
                return self._predict_groups(([one] for one in group), kept)
            if self._runs is not None and self._tensors is not None:
                predictions = self._tensors.read(raw, rows, len(group), self._runs.own_axes(group))
            else:
                predictions = self._reader.read(raw, rows, len(group))
            if kept is not None:
                kept += self._arrays(group, raw, rows)
        except RowsMismatchError as error:
            if self._rows is None:
                self._splits = False  # the graph merges its rows into one
                return self._predict_groups(([one] for one in group), kept)
            raise ModelPackageError(f"model.onnx: takes {rows} rows, but answers another number of them") from error
        return predictions

    def _arrays(self, group: Sequence[Instance], raw: Sequence[Any], rows: int) -> list[dict[str, NDArray[Any]]]:
        """Return the outputs of each instance of a run, by name."""
        if self._runs is not None and self._tensors is not None:
            return self._tensors.arrays(raw, rows, len(group), self._runs.own_axes(group))
        return raw_rows(self._output_names, raw, rows, len(group), self._classes, self.package.answer.unmatched)

    def _mixes(self, group: Sequence[Instance], raw: Sequence[Any], rows: int) -> bool:
        """Tell whether instances that shared a run are answered otherwise alone: two of them are run again.

        They are the first and the last that differs from it: what goes on from row to row, as a recurrent network does
        over the wrong axis, leaves one end as it is.
        """
        together = self._arrays(group, raw, rows)
        last = next((at for at in range(len(group) - 1, 0, -1) if not _same(group[at], group[0])), 0)
        for at in (0, last or len(group) - 1):
            try:
                alone = self._alone(group[at])
                if _alike(together[at], alone):
                    continue
                if _alike(self._alone(group[at]), alone):
                    return True
                break  # the model answers by chance
            except _RUN_FAILURES as error:
                if run_deadline.passed():
                    raise ModelTimeoutError("the model was ended because it took too long") from error
                return True
        if last:  # copies prove nothing
            self._to_compare -= 1
        return False

    def _alone(self, one: Instance) -> dict[str, NDArray[Any]]:
        rows = self._rows or 1
        raw = self._session.run(self._output_names, self._feed([one], rows), run_deadline.options())
        return self._arrays([one], raw, rows)[0]

    def _feed(self, group: Sequence[Instance], rows: int) -> dict[str, NDArray[Any]]:
        """Return what goes into a run of a group: its last instance is repeated up to the rows that the model takes."""
        padded = group if len(group) == rows else [*group, *[group[-1]] * (rows - len(group))]
        if self._runs is not None:
            return self._runs.feed(padded)
        if rows == 1:
            arrays = group[0].arrays
        else:
            arrays = tuple(np.concatenate(parts) for parts in zip(*(one.arrays for one in padded), strict=True))
        if self._unbatched:
            arrays = tuple(array[0] for array in arrays)
        return dict(zip(self._input_names, arrays, strict=True))

    def _failure(self, error: Exception) -> InputError | ModelRunError:
        """Return the error for a failed run. A model may refuse a feature's value, but not a pixel's."""
        _LOG.warning("the runtime failed: %s", error)
        if self._images is None:
            message = "the model cannot take these values"
            pointer = "/features" if self._features is not None else "/inputs"
            return InvalidFeaturesError(message, problems=(InputProblem(pointer, message),))
        if self._open_shape:
            message = "the model cannot take an image of this size"
            return UnpredictableInputError(message, problems=(InputProblem("/image", message),))
        return ModelRunError("the runtime failed on an image of the model's own size")


def _has_one_row(output: RawOutput) -> bool:
    return len(output) == 1 if isinstance(output, list) else bool(output.shape[:1] == (1,))


def _varied(made_up: Instance) -> Instance:
    """Make up an input that differs from one of zeros, and is as plausible."""
    random = np.random.default_rng(0)
    return replace(made_up, arrays=tuple(_filled(array, random) for array in made_up.arrays))


def _filled(array: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    """Return an array like another: fractions below 1, ones, true, and texts as they are."""
    if array.dtype.kind in "OUS":
        return array
    return random.random(array.shape).astype(array.dtype) if array.dtype.kind == "f" else np.ones_like(array)


def _same(one: Instance, other: Instance) -> bool:
    return all(map(np.array_equal, one.arrays, other.arrays))


def _alike(some: Mapping[str, NDArray[Any]], others: Mapping[str, NDArray[Any]]) -> bool:
    """Tell whether two answers differ by rounding at most."""
    for name, one in some.items():
        other = others[name]
        if one.dtype.kind != "f" or one.shape != other.shape:
            if not np.array_equal(one, other):
                return False
            continue
        largest = max(float(np.abs(part[np.isfinite(part)]).max(initial=0)) for part in (one, other))
        if not np.allclose(one.astype(np.float64), other.astype(np.float64), 0, _ROUNDING * largest, equal_nan=True):
            return False
    return True


def _position(problem: InputProblem) -> int:
    return problem.instance


def _options(intra_op_threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # With memory patterns, the runtime would keep a memory plan for every batch size it has seen.
    options.enable_mem_pattern = False
    # The runtime writes to stderr itself. Its errors are also raised, and logged where they are caught.
    options.log_severity_level = _FATAL
    return options


def _session(
    package: ModelPackage, providers: str, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    if providers.strip() == "auto":
        if _CUDA in available:
            try:
                session = _open(package, [_CUDA, _CPU], options)
            except ProviderUnavailableError as error:
                _LOG.debug("CUDA: %s", error)
            else:
                return session
            _LOG.info("CUDA is in this build of onnxruntime, but its device or libraries are not here: using the CPU")
        return _open(package, [_CPU], options)
    wanted = [name.strip() for name in providers.split(",") if name.strip()]
    if not wanted:
        raise ProviderUnavailableError("execution providers: say auto, or a list of names separated by commas")
    for name in wanted:
        if name not in available:
            raise ProviderUnavailableError(
                f"execution provider {name} is not in this build of onnxruntime, which has {', '.join(available)}"
            )
    return _open(package, wanted, options)


def _open(
    package: ModelPackage, providers: list[str], options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    chatter = io.StringIO()
    try:
        with contextlib.redirect_stdout(chatter):  # the runtime's loader prints
            if _CUDA in providers:
                onnxruntime.preload_dlls()
            session = onnxruntime.InferenceSession(
                os.fspath(package.path), options, providers=providers, enable_fallback=0
            )
    except _PROVIDER_FAILURES as error:
        raise ProviderUnavailableError(f"execution providers {', '.join(providers)} cannot be had: {error}") from error
    except _LOAD_FAILURES as error:
        raise ModelPackageError(f"{package.path.name}: onnxruntime cannot load it: {_first_line(error)}") from error
    # If a provider's libraries are missing, the runtime silently falls back to the CPU.
    missing = [name for name in providers if name not in session.get_providers()]
    if missing:
        raise ProviderUnavailableError(f"execution provider {', '.join(missing)} cannot be had on this machine")
    return session


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
