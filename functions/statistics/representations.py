"""The answers, as the OpenAPI document describes them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from functions.shared.evaluation.bins import CONFIDENCE_BINS
from functions.shared.evaluation.performance import EXACT_BELOW, MOST_LABELS

Of = Annotated[
    Literal["everybody", "yours"],
    Field(description="Whose records are counted: without the scope `predictions:read-all`, the caller's own."),
]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Representation(BaseModel):
    """Base class whose schema is built on first use: only the OpenAPI document needs it."""

    model_config = ConfigDict(defer_build=True)


class Latency(_Representation):
    """Milliseconds. A percentile is within 1 % of the exact one."""

    count: Count
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None


class Latencies(_Representation):
    """How long predictions took."""

    decode_ms: Latency = Field(description="To decode the input.")
    inference_ms: Latency = Field(description="To run the model.")
    queue_ms: Latency = Field(description="Asynchronous predictions: from the request until a worker takes it.")


class Confidence(_Representation):
    """How sure predictions were."""

    count: Count
    mean: Share | None
    histogram: list[Count] = Field(
        description=f"Counts in {CONFIDENCE_BINS} bins of equal width from 0 to 1. A bin includes its lower edge; the "
        "last one also includes 1."
    )


class Group(_Representation):
    """A part of a bucket. It has the member that `group_by` names; a version also has all figures."""

    model_config = ConfigDict(defer_build=True, extra="allow")

    count: Count
    model: str | None = None
    version: str | None = None
    label: str | None = None
    status: str | None = None
    user_id: str | None = None


class Figures(_Representation):
    """How many, how fast and how sure."""

    count: Count
    statuses: dict[Literal["queued", "processing", "succeeded", "failed"], Count]
    failures: dict[str, Count] = Field(description="Failed predictions, by the kind of failure.")
    latency: Latencies
    confidence: Confidence
    labels: dict[str, Count] = Field(description="Predicted labels, the most frequent ones first.")
    other_labels: Count = Field(description="Predictions with a label that is not listed.")
    groups: list[Group] | None = Field(default=None, description="Absent without `group_by`.")
    others: Count | None = Field(
        default=None, description="Predictions that are in no listed group. Absent without `group_by`."
    )


class Bucket(Figures):
    """The figures of a bucket."""

    starts_at: datetime
    ends_at: datetime


class RefusedDay(_Representation):
    """The refused requests of a day in UTC."""

    day: date
    count: Count
    statuses: dict[str, Count]


class RefusedRequests(_Representation):
    """Requests that this API answered with 4xx, on whole days in UTC. There may have been more: a count can be lost."""

    count: Count
    statuses: dict[str, Count] = Field(description="By HTTP status.", examples=[{"422": 3}])
    routes: dict[str, Count] = Field(description="By method and path.", examples=[{"POST /prediction": 3}])
    days: list[RefusedDay]


class _Span(_Representation):
    of: Of
    since: datetime
    until: datetime


class Statistics(_Span):
    """The answer of `GET /statistics`."""

    model: str | None
    version: str | None
    interval: Literal["minute", "hour", "day", "week"]
    group_by: Literal["version", "label", "status", "user_id"] | None
    error_of_percentiles: float = Field(description="The largest relative error of a percentile.")
    total: Figures
    buckets: list[Bucket] = Field(description="All buckets of the span, including empty ones.")
    refused: RefusedRequests | None = Field(
        default=None, description="Absent if `of` is `yours`: a refused request belongs to no user."
    )


class WilsonInterval(_Representation):
    """The 95 % confidence interval of a share (Wilson 1927)."""

    low: Share
    high: Share


class ModelFigures(_Representation):
    """A version of a model."""

    name: str
    version: str
    task: str
    sha256: list[str] = Field(description="The digest of each model that was served under this name and version.")
    registered_at: datetime = Field(description="When it was first served.")
    served_at: datetime = Field(description="When it last began to be served.")
    first_prediction_at: datetime | None
    last_prediction_at: datetime | None
    count: Count = Field(description="How many predictions it has made.")
    judged: Count = Field(description="How many of them have a ground truth.")
    accuracy: Share | None = Field(description="The share of correct ones, of those that are correct or wrong.")
    accuracy_interval: WilsonInterval | None


class Models(_Representation):
    """The answer of `GET /models`. The version that was served last comes first."""

    of: Of
    models: list[ModelFigures]
    others: Count = Field(description="How many versions are not listed.")


class Coverage(_Representation):
    """How many predictions have a ground truth."""

    count: Count
    judged: Count
    share: Share | None


class ClassScores(_Representation):
    """How right a version is about one label."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    support: Count = Field(description="How often it is the truth.")
    predicted: Count


class AverageScores(_Representation):
    """The average over the labels."""

    precision: Share
    recall: Share
    f1: Share


class ConfusionMatrix(_Representation):
    """A row is a true label, a column a predicted one, in the order of `labels`."""

    labels: list[str]
    matrix: list[list[Count]]
    labels_left_out: Count = Field(description=f"How many labels are left out: a matrix has at most {MOST_LABELS}.")


class Classification(_Representation):
    """How right a classifier is. The scores are those of scikit-learn."""

    count: Count
    correct: Count
    accuracy: Share | None
    accuracy_interval: WilsonInterval | None
    classes: list[ClassScores]
    macro: AverageScores | None
    weighted: AverageScores | None = Field(description="Weighted by the support.")
    confusion_matrix: ConfusionMatrix


class CalibrationBin(_Representation):
    """The predictions whose confidence lies between two bounds."""

    low: Share
    high: Share
    count: Count
    confidence: float | None = Field(description="Their mean confidence.")
    accuracy: Share | None


class Calibration(_Representation):
    """How near the confidence is to how often the model is right (Guo et al. 2017)."""

    count: Count
    expected_calibration_error: float | None
    bins: list[CalibrationBin]


class Regression(_Representation):
    """How near a regression is to the truth. A residual is the prediction minus the truth."""

    count: Count
    mae: float | None
    rmse: float | None
    r2: float | None
    bias: float | None = Field(description="The mean residual.")
    residual_quantiles: dict[str, float] | None = Field(
        description="Each within 1 % of a residual that occurred, or 0 for one below 1e-9. Null if one is beyond 1e12, "
        "or if all are below 1e-9 because the values are."
    )


class TargetPerformance(_Representation):
    """How right a version is about one target. A member is absent if nothing was counted for it."""

    classification: Classification | None = None
    log_loss: float | None = None
    brier_score: float | None = None
    calibration: Calibration | None = None
    regression: Regression | None = None


class NumbersOfTarget(_Representation):
    """The figures of a bucket that are one number each. A member is absent if nothing was counted for it."""

    accuracy: Share | None = None
    accuracy_interval: WilsonInterval | None = None
    log_loss: float | None = None
    expected_calibration_error: float | None = None
    mae: float | None = None
    rmse: float | None = None
    r2: float | None = None
    bias: float | None = None


class PerformanceBucket(NumbersOfTarget):
    """How right a version was in a bucket."""

    starts_at: datetime
    ends_at: datetime
    coverage: Coverage
    targets: dict[str, NumbersOfTarget] | None = None


class _VersionPerformance(TargetPerformance):
    version: str
    task: str
    coverage: Coverage
    targets: dict[str, TargetPerformance] | None = Field(
        default=None, description="Absent unless the model has several targets."
    )
    buckets: list[PerformanceBucket]


class McNemar(_Representation):
    """McNemar's test that both versions are right equally often."""

    only_first: Count = Field(description="Inputs that only the version in the path got right.")
    only_second: Count = Field(description="Inputs that only the version in `compare` got right.")
    statistic: float
    pvalue: Share
    method: Literal["exact", "chi_squared"] = Field(
        description=f"`exact` for fewer than {EXACT_BELOW} inputs that only one version got right."
    )


class Paired(_Representation):
    """Inputs that both versions predicted: the same bytes, or the same `inference_id`, both with a ground truth."""

    count: Count
    both_right: Count
    both_wrong: Count
    looked_at: Count = Field(description="How many of each version's newest predictions are compared at most.")
    mcnemar: McNemar | None


class ComparedPerformance(_VersionPerformance):
    """How right another version is, and how the two differ on the inputs that both have predicted."""

    paired: Paired


class Performance(_VersionPerformance, _Span):
    """The answer of `GET /models/{name}/versions/{version}/performance`."""

    model: str
    interval: Literal["minute", "hour", "day", "week"]
    compare: ComparedPerformance | None = None


class StatisticalTest(_Representation):
    """A statistic, and the probability of one at least as large if nothing has changed."""

    statistic: float
    pvalue: Share


class Side(_Representation):
    """The values on one side of a comparison."""

    count: Count
    missing: Count
    missing_share: Share | None
    mean: float | None
    standard_deviation: float | None = Field(
        description="Null if it is smaller than a millionth of the mean: the sums that it comes from are rounded."
    )


class ColumnDrift(_Representation):
    """How a window differs from the baseline in one column. A figure that cannot be computed is null."""

    kind: Literal["number", "share", "label", "category"]
    baseline: Side
    window: Side
    jensen_shannon_distance: Share | None = Field(description="To the base 2, over groups of bins.")
    population_stability_index: float | None = Field(description="With the natural logarithm, over groups of bins.")
    wasserstein_distance: float | None = Field(description="In the unit of the column.")
    ks_test: StatisticalTest | None = Field(description="Only for numbers.")
    chi_squared_test: StatisticalTest | None = Field(description="Only for categories.")
    grouped_chi_squared_test: StatisticalTest | None
    rare_test: StatisticalTest | None = Field(description="Fisher's exact test of the rare categories, pooled.")
    rare_distance: Share | None
    mean_test: StatisticalTest | None
    mean_difference: float | None = Field(description="In standard deviations.")
    missing_test: StatisticalTest | None
    missing_distance: Share | None
    new_categories: list[str]
    adjusted_pvalue: Share | None = Field(description="The smallest p-value, adjusted for all tests of the window.")
    drift: bool | None = Field(description="Null if a side has too few values to decide.")


class Window(_Representation):
    """How a window differs from the baseline."""

    starts_at: datetime
    ends_at: datetime
    count: Count
    drift: bool | None = Field(description="Whether any column drifted; null if no column has enough values.")
    drifted: list[str] = Field(description="The columns that drifted.")
    columns: dict[str, ColumnDrift]


class BaselineOfWindows(_Representation):
    """What the windows are compared with."""

    kind: Literal["package", "first", "span", "version"]
    count: Count
    since: datetime | None
    until: datetime | None
    version: str | None


class DriftThresholds(_Representation):
    """A column drifted if a test is significant and its effect is at least this large."""

    pvalue: float
    jensen_shannon_distance: float
    ks_statistic: float
    mean_difference: float = Field(description="In standard deviations.")
    count: int = Field(description="The smallest count on each side.")


class Drift(_Span):
    """The answer of `GET /models/{name}/versions/{version}/drift`."""

    model: str
    version: str
    window: Literal["hour", "day", "week"]
    baseline: BaselineOfWindows
    thresholds: DriftThresholds
    windows: list[Window] = Field(description="All of the span, also those without a prediction.")
