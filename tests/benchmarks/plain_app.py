"""The app that the local server is compared with: FastAPI, Keras and psycopg2, used as their tutorials show.

`uvicorn tests.benchmarks.plain_app:app` runs it in one process, with DATABASE_URL for psycopg2 and a `.keras` file as
MODEL. It uses the same network, gives the same answer, stores the same bytes and commits both rows before it answers.
"""

import io
import json
import os
import uuid
from typing import Any

import keras
import numpy as np
import psycopg2
from fastapi import FastAPI, UploadFile
from PIL import Image

app = FastAPI()
model = keras.models.load_model(os.environ["MODEL"])

with psycopg2.connect(os.environ["DATABASE_URL"]) as _connection, _connection.cursor() as _cursor:
    _cursor.execute("CREATE TABLE IF NOT EXISTS inputs (id uuid PRIMARY KEY, filename text, content bytea NOT NULL)")
    _cursor.execute(
        "CREATE TABLE IF NOT EXISTS predictions (id uuid PRIMARY KEY, input_id uuid NOT NULL REFERENCES inputs, "
        "output jsonb NOT NULL, likely_class integer NOT NULL, created_at timestamptz NOT NULL DEFAULT now())"
    )


@app.post("/prediction", status_code=201)
def predict(file: UploadFile) -> dict[str, Any]:
    """Predict a digit and store it with its image."""
    content = file.file.read()
    image = Image.open(io.BytesIO(content)).convert("L").resize((28, 28))
    probabilities = model.predict(np.asarray(image, np.float32).reshape(1, 28, 28, 1) / 255, verbose=0)[0]
    input_id, prediction_id = str(uuid.uuid4()), str(uuid.uuid4())
    likely_class = int(probabilities.argmax())
    output = [float(probability) for probability in probabilities]
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO inputs (id, filename, content) VALUES (%s, %s, %s)", (input_id, file.filename, content)
            )
            connection.commit()
            cursor.execute(
                "INSERT INTO predictions (id, input_id, output, likely_class) VALUES (%s, %s, %s, %s)",
                (prediction_id, input_id, json.dumps(output), likely_class),
            )
            connection.commit()
    finally:
        connection.close()
    return {"prediction_id": prediction_id, "prediction": output, "likely_class": likely_class}
