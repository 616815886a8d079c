"""`python -m model_artifacts check` prints how a model is read, or why it is refused and what settles it."""

import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from model_artifacts.__main__ import main
from tests.inference import corpus
from tests.support import graphs


def test_which_output_is_read_as_what_and_which_are_stored_besides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(graphs.package(tmp_path, corpus.heads(corpus.age(), corpus.shares())))]) == 0
    printed = capsys.readouterr().out
    assert "The answer is probabilities, read as classification\n  stored by name  age\n" in printed
    assert '  age  {"shape": [1], "datatype": "FP32", "data": [6.0]}' in printed


def test_each_file_is_named_with_its_size_and_its_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = graphs.package(tmp_path, b"") / "model.onnx"
    model = graphs.linear(np.ones((64, 1)))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert main(["check", str(tmp_path)]) == 0
    files = capsys.readouterr().out.partition("\nFiles\n")[2].partition("\n\n")[0]
    contents = [(name, (tmp_path / name).read_bytes()) for name in ("model.onnx", "weights.bin")]
    assert [re.split(" {2,}", line.strip()) for line in files.splitlines()] == [
        [name, f"{len(content)} bytes", f"sha256 {hashlib.sha256(content).hexdigest()}"] for name, content in contents
    ]


def test_the_key_that_a_model_needs_which_can_be_read_in_two_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = corpus.bert("input_ids", "attention_mask")
    assert main(["check", str(graphs.package(tmp_path, model))]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: model.onnx: input 'input_ids' is [batch, sequence]")
    assert "task: tensors" in line


@pytest.mark.parametrize(
    ("settings", "size", "fit"),
    [
        (
            {"fit": "letterbox", "size": 64, "stride": 32},
            "at most 64 x 64 pixels (height x width), inter_linear resampling",
            "letterbox, filled up to a multiple of 32 with 114, 114, 114",
        ),
        (
            {"fit": "scale", "size": {"shortest_edge": 40, "longest_edge": 60}},
            "its own shape, bilinear",
            "40 at the shorter edge, at most 60 pixels at the longer edge",
        ),
        ({"fit": "scale", "size": {"longest_edge": 60}}, "its own shape, bilinear", "60 pixels at the longer edge"),
    ],
)
def test_how_an_image_becomes_what_a_model_of_open_size_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, object], size: str, fit: str
) -> None:
    model = graphs.conv_net("NCHW", channels=3, size=(None, None))
    assert main(["check", str(graphs.package(tmp_path, model, **settings))]) == 0
    assert f"{size}\n  fitted by   {fit}\n" in capsys.readouterr().out.replace("bilinear resampling", "bilinear")


def test_tensors_made_up_or_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graphs.package(tmp_path, corpus.bert("input_ids", "attention_mask"), task="tensors")
    assert main(["check", str(tmp_path)]) == 0
    assert "The answer is all outputs by name" in capsys.readouterr().out
    sent = '{"inputs": {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 0]}}'
    assert main(["check", str(tmp_path), "--inputs", sent]) == 0
    assert '"data": [6.0, 8.0]' in capsys.readouterr().out
    assert main(["check", str(tmp_path), "--input", "a.png"]) == 1
    assert "takes tensors (--inputs), not an image" in capsys.readouterr().err
