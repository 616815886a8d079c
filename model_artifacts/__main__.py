"""Train the shipped model packages, export a Keras model as a package, or check any package and make its baseline."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from functions.shared.inference.errors import InferenceError
from model_artifacts.errors import ArtifactError

_HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str or None
        The command line after the program's name; None takes the process's own.

    Returns
    -------
    int
        The exit status: 0, or 1 after printing one line to standard error.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ArtifactError, InferenceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_artifacts", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train and export a shipped model (needs TensorFlow)")
    models = train.add_subparsers(required=True, metavar="MODEL")
    mnist = models.add_parser("mnist", help="handwritten digits")
    mnist.add_argument(
        "--idx-folder",
        type=Path,
        metavar="DIR",
        help="folder with train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz (default: Keras downloads MNIST)",
    )
    mnist.add_argument("--keras", type=Path, metavar="FILE.keras", help="save the Keras model too")
    mnist.set_defaults(run=_train_mnist)
    diabetes = models.add_parser("diabetes", help="the progression of diabetes, from ten measurements")
    diabetes.set_defaults(run=_train_diabetes)
    for name, model in (("mnist", mnist), ("diabetes", diabetes)):
        model.add_argument("--output", type=Path, metavar="DIR", default=_HERE / name, help="default: %(default)s")
        model.add_argument("--epochs", type=_positive, metavar="N", help="passes over the training data")

    export = commands.add_parser("export", help="export a saved Keras model to a model package (needs TensorFlow)")
    export.add_argument("model", type=Path, metavar="MODEL.keras")
    export.add_argument("folder", type=Path, metavar="FOLDER")
    export.set_defaults(run=_export)

    check = commands.add_parser("check", help="show how the API serves a model package, and run one prediction")
    check.add_argument("folder", type=Path, metavar="FOLDER")
    given = check.add_mutually_exclusive_group()
    given.add_argument("--input", type=Path, metavar="FILE", help="an image to predict (default: a made-up one)")
    given.add_argument(
        "--features",
        metavar="JSON",
        help="features to predict: a JSON list or object, or a file that contains one",
    )
    given.add_argument(
        "--inputs", metavar="JSON", help="tensors to predict: a JSON object, or a file that contains one"
    )
    check.set_defaults(run=_check)

    baseline = commands.add_parser("baseline", help="write baseline.json: what data and a model's answers look like")
    baseline.add_argument("folder", type=Path, metavar="PACKAGE", help="the folder with the model")
    baseline.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="a CSV file with a column for each feature, or a folder with MNIST's two IDX files",
    )
    baseline.add_argument(
        "--truth",
        action="append",
        default=[],
        metavar="COLUMN",
        help="the column with what is true; once for each of several targets (default: the model is not scored)",
    )
    baseline.add_argument(
        "--held-out", type=_positive, metavar="N", help="take only the one in N that `train` leaves out of training"
    )
    baseline.set_defaults(run=_baseline)

    patients = commands.add_parser("patients", help="write the data of the diabetes model as CSV (needs scikit-learn)")
    patients.add_argument("file", type=Path, metavar="FILE.csv")
    patients.set_defaults(run=_patients)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


# Each command imports what it needs: importing TensorFlow takes ten seconds, and `check` must run without it.


def _train_mnist(options: argparse.Namespace) -> None:
    _quieten_tensorflow()
    from model_artifacts import train_mnist

    train_mnist.train(options.idx_folder, options.output, options.epochs or train_mnist.DEFAULT_EPOCHS, options.keras)


def _train_diabetes(options: argparse.Namespace) -> None:
    _quieten_tensorflow()
    from model_artifacts import train_diabetes

    train_diabetes.train(options.output, options.epochs or train_diabetes.DEFAULT_EPOCHS)


def _export(options: argparse.Namespace) -> None:
    _quieten_tensorflow()
    from model_artifacts.export import export_keras_file

    difference = export_keras_file(options.model, options.folder)
    print(f"ONNX Runtime and Keras agree to {difference:.1e}. Wrote {options.folder / 'model.onnx'} and model.json.")
    print(
        "Add to model.json what the ONNX file does not contain (labels, feature_names, rescale_factor, ...), then run:"
    )
    print(f"  python -m model_artifacts check {options.folder}")


def _check(options: argparse.Namespace) -> None:
    from model_artifacts.check import check

    check(options.folder, image=options.input, features=options.features, inputs=options.inputs)


def _baseline(options: argparse.Namespace) -> None:
    from model_artifacts.baseline import write_baseline

    write_baseline(options.folder, options.data, truths=options.truth, held_out=options.held_out)


def _patients(options: argparse.Namespace) -> None:
    from model_artifacts.patients import write_patients

    print(f"Wrote {write_patients(options.file)} patients to {options.file}.")


def _quieten_tensorflow() -> None:
    """Hide the messages about the processor that TensorFlow's C++ part prints; warnings and errors still show."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


if __name__ == "__main__":
    sys.exit(main())
