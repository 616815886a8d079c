"""The app that the batching server is compared with: what one writes by hand who knows how.

`uvicorn tests.benchmarks.by_hand_app:app --workers 2` runs it, with DATABASE_URL and an ONNX file as MODEL: FastAPI,
ONNX Runtime, and a pool of psycopg 3 with one statement for a prediction, prepared once a connection. It gives the same
answer as ours, and commits image and output before it answers.
"""

import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import numpy as np
import onnxruntime
from fastapi import FastAPI, UploadFile
from PIL import Image
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

_TABLE = """
    CREATE TABLE IF NOT EXISTS predictions (
        id uuid PRIMARY KEY, filename text, content bytea NOT NULL, output jsonb NOT NULL,
        likely_class integer NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
    )
"""
_STORE = "INSERT INTO predictions (id, filename, content, output, likely_class) VALUES (%s, %s, %s, %s, %s)"

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1  # there is a process for each core
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
pool = AsyncConnectionPool(
    os.environ["DATABASE_URL"],
    min_size=8,
    max_size=8,
    open=False,
    kwargs={"autocommit": True, "prepare_threshold": 0},  # one statement is one transaction, and one round trip
)


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with pool:
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/prediction", status_code=201)
async def predict(file: UploadFile) -> dict[str, Any]:
    """Predict a digit and store it with its image."""
    content = await file.read()
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("L").resize((28, 28), Image.Resampling.BICUBIC), np.float32)
    [[probabilities]] = session.run(None, {"image": pixels.reshape(1, 28, 28, 1) / 255})
    prediction_id = uuid4()
    likely_class = int(probabilities.argmax())
    output = probabilities.tolist()
    async with pool.connection() as connection:
        await connection.execute(_STORE, (prediction_id, file.filename, content, Jsonb(output), likely_class))
    return {"prediction_id": prediction_id, "prediction": output, "likely_class": likely_class}


def make_table(database_url: str) -> None:
    """Make the table, before the processes start."""
    import psycopg

    with psycopg.connect(database_url) as connection:
        connection.execute(_TABLE)


if __name__ == "__main__":
    make_table(os.environ["DATABASE_URL"])
