"""Print what NannyML measures of two samples: `nannyml_drift.py FILE`, a JSON of `numbers` and `groups` of both."""

import json
import sys
from pathlib import Path

import nannyml
import pandas as pd

samples = json.loads(Path(sys.argv[1]).read_text())
baseline, window = (
    pd.DataFrame({column: sides[side] for column, sides in samples.items()}) for side in ("baseline", "window")
)
calculator = nannyml.UnivariateDriftCalculator(
    column_names=["numbers", "groups"],
    treat_as_categorical=["groups"],
    continuous_methods=["wasserstein", "kolmogorov_smirnov"],
    categorical_methods=["jensen_shannon", "chi2"],
    chunk_size=max(len(baseline), len(window)),
)
found = calculator.fit(baseline).calculate(window).filter(period="analysis").to_df(multilevel=True)
methods = [column[:2] for column in found.columns if column[2] == "value"]
print(json.dumps({method: float(found[column][method]["value"].iloc[0]) for column, method in methods}))
