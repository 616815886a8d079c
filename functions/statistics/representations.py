"""The answers, as the OpenAPI document describes them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    """Milliseconds. A percentile is within 1 % of the value that it stands for."""

    count: Count
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None


class Latencies(_Representation):
    """What a prediction took."""

    decode_ms: Latency = Field(description="To decode the input.")
    inference_ms: Latency = Field(description="To run the model.")
    queue_ms: Latency = Field(description="From the request to the worker, of asynchronous predictions.")


class Confidence(_Representation):
    """How sure predictions were."""

    count: Count
    mean: Share | None
    histogram: list[Count] = Field(description="How many are in each fiftieth from 0 to 1, a lower bound included.")


class Group(_Representation):
    """A part of a bucket. It has the member that `group_by` names; a version has all figures, too."""

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
    failures: dict[str, Count] = Field(description="Failed predictions by the kind of failure.")
    latency: Latencies
    confidence: Confidence
    labels: dict[str, Count] = Field(description="Predicted labels, the most frequent ones first.")
    other_labels: Count = Field(description="Predictions with a label that is not listed.")
    groups: list[Group] | None = Field(default=None, description="Where `group_by` is given.")
    others: Count | None = Field(default=None, description="Where `group_by` is given: those in no group listed.")


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
    """Requests that were answered with 4xx by this API, on whole days in UTC. At least so many: a count can be lost."""

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
    error_of_percentiles: float = Field(description="How far a percentile may be off, as a share of it.")
    total: Figures
    buckets: list[Bucket] = Field(description="All of the span, also those without a prediction.")
    refused: RefusedRequests | None = Field(
        default=None, description="Refused requests belong to nobody: it is left out where `of` is `yours`."
    )


class WilsonInterval(_Representation):
    """Covers the true share with a probability of 95 % (Wilson 1927)."""

    low: Share
    high: Share


class ModelFigures(_Representation):
    """A version of a model."""

    name: str
    version: str
    task: str
    sha256: list[str] = Field(description="Of what was served under this name and version.")
    registered_at: datetime = Field(description="When it was first served.")
    served_at: datetime = Field(description="When it last began to be served.")
    first_prediction_at: datetime | None
    last_prediction_at: datetime | None
    count: Count = Field(description="How many predictions it has made.")
    judged: Count = Field(description="How many of them have a ground truth.")
    accuracy: Share | None = Field(description="The share of right ones of those that can be right or wrong.")
    accuracy_interval: WilsonInterval | None


class Models(_Representation):
    """The answer of `GET /models`: what was served last comes first."""

    of: Of
    models: list[ModelFigures]
    others: Count = Field(description="How many are not listed.")


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
    labels_left_out: Count = Field(description="Of more than 200 labels, the others.")


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
    residual_quantiles: dict[str, float] | None = Field(description="Each within 1 % of a residual that occurred.")


class TargetPerformance(_Representation):
    """How right a version is about one target. A member is left out where nothing of it is known."""

    classification: Classification | None = None
    log_loss: float | None = None
    brier_score: float | None = None
    calibration: Calibration | None = None
    regression: Regression | None = None


class NumbersOfTarget(_Representation):
    """The figures of a bucket that are one number each. One is left out where nothing of it is known."""

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
    targets: dict[str, TargetPerformance] | None = Field(default=None, description="Where there are several.")
    buckets: list[PerformanceBucket]


class McNemar(_Representation):
    """McNemar's test that both versions are right equally often: exact for fewer than 25 that only one got right."""

    only_first: Count = Field(description="What only the version of the path got right.")
    only_second: Count
    statistic: float
    pvalue: Share
    method: Literal["exact", "chi_squared"]


class Paired(_Representation):
    """What both versions have predicted, and both have a truth of: the same bytes, or the same `inference_id`."""

    count: Count
    both_right: Count
    both_wrong: Count
    looked_at: Count = Field(description="The most predictions of each that are looked at, the newest ones.")
    mcnemar: McNemar | None


class ComparedPerformance(_VersionPerformance):
    """How right another version is, and how the two differ where both have predicted the same."""

    paired: Paired


class Performance(_VersionPerformance, _Span):
    """The answer of `GET /models/{name}/versions/{version}/performance`."""

    model: str
    interval: Literal["minute", "hour", "day", "week"]
    compare: ComparedPerformance | None = None


class StatisticalTest(_Representation):
    """A statistic, and how probable one as large is if nothing has changed."""

    statistic: float
    pvalue: Share


class Side(_Representation):
    """The values on one side of a comparison."""

    count: Count
    missing: Count
    missing_share: Share | None
    mean: float | None
    standard_deviation: float | None


class ColumnDrift(_Representation):
    """How a window differs from the baseline in one column. A figure without a value is null."""

    kind: Literal["number", "share", "label", "category"]
    baseline: Side
    window: Side
    jensen_shannon_distance: Share | None = Field(description="To the base 2, over groups of bins.")
    population_stability_index: float | None = Field(description="With the natural logarithm, over groups of bins.")
    wasserstein_distance: float | None = Field(description="In the unit of the column.")
    ks_test: StatisticalTest | None = Field(description="Of numbers.")
    chi_squared_test: StatisticalTest | None = Field(description="Of categories.")
    grouped_chi_squared_test: StatisticalTest | None
    rare_test: StatisticalTest | None = Field(description="Fisher's exact test of what is rare, all as one.")
    rare_distance: Share | None
    mean_test: StatisticalTest | None
    mean_difference: float | None = Field(description="In standard deviations.")
    missing_test: StatisticalTest | None
    missing_distance: Share | None
    new_categories: list[str]
    adjusted_pvalue: Share | None = Field(description="The least p-value, adjusted for all tests of the window.")
    drift: bool | None = Field(description="Null where a side has too few values to tell.")


class Window(_Representation):
    """How a window differs from the baseline."""

    starts_at: datetime
    ends_at: datetime
    count: Count
    drift: bool | None = Field(description="Whether any column drifted; null where none can tell.")
    drifted: list[str] = Field(description="The columns that did.")
    columns: dict[str, ColumnDrift]


class BaselineOfWindows(_Representation):
    """What the windows are compared with."""

    kind: Literal["package", "first", "span", "version"]
    count: Count
    since: datetime | None
    until: datetime | None
    version: str | None


class DriftThresholds(_Representation):
    """A column drifted if a test is significant and what it found is as large as this."""

    pvalue: float
    jensen_shannon_distance: float
    ks_statistic: float
    mean_difference: float = Field(description="In standard deviations.")
    count: int = Field(description="The least count on each side.")


class Drift(_Span):
    """The answer of `GET /models/{name}/versions/{version}/drift`."""

    model: str
    version: str
    window: Literal["hour", "day", "week"]
    baseline: BaselineOfWindows
    thresholds: DriftThresholds
    windows: list[Window] = Field(description="All of the span, also those without a prediction.")
