"""Print what Evidently measures of two samples: `evidently_drift.py FILE`, a JSON of `numbers` and `groups` of both."""

import json
import sys
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift

samples = json.loads(Path(sys.argv[1]).read_text())
definition = DataDefinition(numerical_columns=["numbers"], categorical_columns=["groups"])
baseline, window = (
    Dataset.from_pandas(pd.DataFrame({column: sides[side] for column, sides in samples.items()}), definition)
    for side in ("baseline", "window")
)
wanted = [("groups", "jensenshannon"), ("groups", "psi"), ("numbers", "wasserstein"), ("numbers", "ks")]
report = Report([ValueDrift(column=column, method=method) for column, method in wanted])
metrics = report.run(current_data=window, reference_data=baseline).dict()["metrics"]
print(json.dumps({method: float(metric["value"]) for (_, method), metric in zip(wanted, metrics, strict=True)}))
