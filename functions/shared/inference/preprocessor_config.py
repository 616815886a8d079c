"""preprocessor_config.json: what Hugging Face's libraries do to an image before a model sees it.

The file lies beside the model on the Hub, and `save_pretrained` writes it. It says in other words what model.json says,
so it is read into the same settings, and model.json goes before it. Its keys are those of many classes: what says
nothing about an image is ignored, and what would change the image in a way that is not done here is refused.

Source: the documentation of transformers, "Image processor" and "ImageProcessingMixin".
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.package_settings import (
    PREPROCESSOR_CONFIG,
    Edges,
    PackageSettings,
    read_object,
    read_setting,
    shown,
)

_DONE: Final = frozenset({"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order"})
# The model's channels decide the first; the others are about labels in training.
_WITHOUT_EFFECT: Final = frozenset({"do_convert_rgb", "do_reduce_labels", "do_convert_annotations"})
# Where one of these is set, an image is resized or scaled in another way than the other keys say.
_NOT_DONE: Final = (
    *("crop_pct", "ensure_multiple_of", "keep_aspect_ratio"),
    *("rescale_offset", "include_top", "size_divisibility", "size_divisor", "max_size"),
)
# Their classes do something that no key of the file says.
_REFUSED_KINDS: Final = frozenset(
    {"BridgeTower", "Levit", "Mask2Former", "MaskFormer", "OneFormer", "Perceiver", "PoolFormer", "Vilt", "Yolos"}
)
# A `size` of one number is the shorter edge to these classes, and both sides to those.
_SHORTER_EDGE: Final = frozenset(
    {"Bit", "Chameleon", "ChineseCLIP", "CLIP", "ConvNext", "MobileNetV1", "MobileNetV2", "MobileViT"}
)
# These resize the shorter edge, unless the longer one would become longer than `longest_edge`, or `max_size` in older
# files. They fill images up to the largest of a batch: here only images of one size share a run.
_LIMITED_EDGES: Final = frozenset({"ConditionalDetr", "DeformableDetr", "Deta", "Detr", "GroundingDino"})
_DETR_LONGEST: Final = 1333
_LONGER_EDGE: Final = "Sam"
_BOTH_SIDES: Final = frozenset({"Beit", "DeiT", "EfficientNet", "Flava", "OwlViT", "ViT"})

# What the file of this class says of image_mean has no effect: it never normalises.
_NOT_NORMALISED: Final = "MobileViT"

_CONV_NEXT: Final = "ConvNext"
_UNCROPPED_EDGE: Final = 384  # from this size on, ConvNext's images are stretched
_CROP_PCT: Final = 224 / 256

_SCALE: Final = 1 / 255


def with_preprocessor_config(settings: PackageSettings) -> PackageSettings:
    """Fill in what model.json leaves open and the preprocessor_config.json beside it says.

    Raises
    ------
    ModelPackageError
        The file is no JSON object, a value is not of its key's type, or it asks for what is not done here.
    """
    if settings.preprocessor_config is None:
        return settings
    document = {key: value for key, value in read_object(settings.preprocessor_config).items() if value is not None}
    if "sampling_rate" in document:
        raise _wrong("sampling_rate", "is a sound's, but the model takes an image: take the file away")
    for key in sorted(document.keys() - _DONE - _WITHOUT_EFFECT):
        if key.startswith("do_") and document[key] is True and not _pads_batches_alone(key, document):
            raise _wrong(key, f"is true, which is not done here: {', '.join(sorted(_DONE))} are")
    flags = {key: _flag(key, document[key]) for key in _DONE & document.keys()}
    told = _Told(document, flags, settings)
    told.add_geometry()
    told.add_values()
    return replace(settings, **told.values, told_by=told.keys)  # type: ignore[arg-type]  # as model.json's readers give


def _kind(document: Mapping[str, object]) -> str:
    """Return the class's name without what all of them end in; an empty text if the file does not say it."""
    name = document.get("image_processor_type", document.get("feature_extractor_type", ""))
    if not isinstance(name, str):
        raise _wrong("image_processor_type", f"must be a text, not {shown(name)}")
    return name.removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")


def _pads_batches_alone(key: str, document: Mapping[str, object]) -> bool:
    """Tell whether a key fills up an image to the largest of its batch, so that nothing becomes of one alone."""
    return key == "do_pad" and _kind(document) in _LIMITED_EDGES and "pad_size" not in document


class _Told:
    """What the file says, in the words of model.json.

    Attributes
    ----------
    values
        By model.json's key, without those that model.json has itself.
    keys
        By model.json's key, the key of the file that says it.
    """

    def __init__(self, document: Mapping[str, object], flags: Mapping[str, bool], said: PackageSettings) -> None:
        self._document = document
        self._flags = flags
        self._said = said
        self._kind = _kind(document)
        self.values: dict[str, object] = {}
        self.keys: dict[str, str] = {}

    def _add(self, key: str, value: object, by: str) -> None:
        if getattr(self._said, key) is None:
            self.values[key] = value
            self.keys[key] = by

    def add_values(self) -> None:
        """Add what becomes of the pixels' values."""
        said, document, flags = self._said, self._document, self._flags
        if "resample" in document:
            self._add("resample", _setting("resample", document["resample"]), "resample")
        if flags.get("do_flip_channel_order"):
            self._add("color", "bgr", "do_flip_channel_order")
        rescales, normalises = flags.get("do_rescale"), self._normalises()
        if rescales is False:
            self._add("rescale_factor", 1.0, "do_rescale")
        elif "rescale_factor" in document:
            self._add("rescale_factor", _setting("rescale_factor", document["rescale_factor"]), "rescale_factor")
        elif rescales or normalises:  # before there was do_rescale, do_normalize did both
            self._add("rescale_factor", _SCALE, "do_rescale" if rescales else "do_normalize")
        elif normalises is False and said.rescale_factor is None:
            raise _wrong("do_rescale", "is missing beside do_normalize: say rescale_factor in model.json")
        for key, without in (("image_mean", 0.0), ("image_std", 1.0)):
            if normalises is False:
                self._add(key, (without,), "do_normalize")
            elif key in document:
                self._add(key, _setting(key, document[key]), key)
            elif normalises and getattr(said, key) is None:
                raise _wrong(key, "is missing, but do_normalize is true: say it here or in model.json")

    def _normalises(self) -> bool | None:
        """Return do_normalize. Where a class writes image_mean without it, its default counts, which differs."""
        flag, kind = self._flags.get("do_normalize"), self._kind
        given = self._document.keys() & {"image_mean", "image_std"}
        if flag is not None or not kind or not given or (self._said.image_mean and self._said.image_std):
            return flag
        if kind == _NOT_NORMALISED:
            return False
        raise _wrong(
            "do_normalize", f"is missing beside {min(given)}: say it here, or image_mean and image_std in model.json"
        )

    def add_geometry(self) -> None:
        """Add how the image gets the model's size.

        Size and crop size belong to a way of fitting. So if model.json says another way, they are not taken.
        """
        said = self._said
        if said.fit == "letterbox" or (said.fit == "stretch" and said.size is not None):
            return
        if said.fit == "crop" and said.size is not None and said.crop_size is not None:
            return
        geometry = self._geometry()
        if said.fit is None or said.fit == geometry.get("fit", (None,))[0]:
            for key, (value, by) in geometry.items():
                self._add(key, value, by)

    def _geometry(self) -> dict[str, tuple[object, str]]:
        """Return a value and the key that says it, by model.json's key."""
        document, crops = self._document, self._flags.get("do_center_crop")
        kind = self._kind
        if kind in _REFUSED_KINDS:
            raise _wrong("image_processor_type", f"{kind}'s does what no key says: say fit and size in model.json")
        for key in _NOT_DONE:
            value = document.get(key, False)
            known = (key == "crop_pct" and kind == _CONV_NEXT) or (key == "max_size" and kind in _LIMITED_EDGES)
            if (value is True or value not in (0, 1)) and not known:
                raise _wrong(key, f"is {shown(value)}, which is not done here: say fit and size in model.json")
        if self._flags.get("do_resize") is False:
            if crops:
                raise _wrong("do_center_crop", "without do_resize is not done here: say fit and size in model.json")
            return {"fit": ("keep", "do_resize")}
        if "size" not in document:
            if crops:
                raise _wrong("size", "is missing, but do_center_crop is true: say size in model.json")
            return {}
        size = self._size(kind, bool(crops))
        if isinstance(size, Edges):
            if crops:
                raise _wrong("do_center_crop", f"beside a size of {shown(size.describe())} is not done here")
            return {"fit": ("scale", "size"), "size": (size, "size")}
        if kind == _CONV_NEXT and isinstance(size, int) and not crops:
            return self._conv_next(size)
        if crops is None and "crop_size" in document:
            raise _wrong("do_center_crop", "is missing beside crop_size: say it here, or fit in model.json")
        if not crops:
            if isinstance(size, int):
                raise _wrong(
                    "size",
                    f"resizes the shorter edge to {size} and do_center_crop is not true, so each image would have a "
                    "size of its own: say fit and size in model.json",
                )
            return {"fit": ("stretch", "size"), "size": (size, "size")}
        geometry: dict[str, tuple[object, str]] = {
            "fit": ("crop" if isinstance(size, int) else "stretch", "do_center_crop"),
            "size": (size, "size"),
        }
        if "crop_size" in document:
            geometry["crop_size"] = (_setting("crop_size", _height_and_width("crop_size", document)), "crop_size")
        elif not isinstance(size, int):
            raise _wrong("crop_size", "is missing, but do_center_crop is true: say it here or in model.json")
        return geometry

    def _conv_next(self, size: int) -> dict[str, tuple[object, str]]:
        if size >= _UNCROPPED_EDGE:
            return {"fit": ("stretch", "size"), "size": ((size, size), "size")}
        kept = self._document.get("crop_pct", _CROP_PCT)
        if isinstance(kept, bool) or not isinstance(kept, int | float) or not 0 < kept <= 1:
            raise _wrong("crop_pct", f"must be a number above 0 and at most 1, not {shown(kept)}")
        return {
            "fit": ("crop", "size"),
            "size": (int(size / kept), "crop_pct"),
            "crop_size": ((size, size), "size"),
        }

    def _size(self, kind: str, crops: bool) -> int | tuple[int, int] | Edges:
        """Return the length of the shorter edge, height and width, or the edges that are not exceeded."""
        value = self._document["size"]
        if isinstance(value, dict):
            edges = {edge: length for edge, length in value.items() if length is not None}
            if edges.keys() == {"shortest_edge"}:
                return _pixels("size", edges["shortest_edge"])
            if edges.keys() == {"longest_edge"} and kind == _LONGER_EDGE:
                return Edges(None, _pixels("size", edges["longest_edge"]))
            if edges.keys() == {"shortest_edge", "longest_edge"} and kind in _LIMITED_EDGES:
                return Edges(_pixels("size", edges["shortest_edge"]), _pixels("size", edges["longest_edge"]))
            if edges.keys() != {"height", "width"}:
                what = f"{shown(value)}{f' of {kind}' if kind else ''} is not done here"
                raise _wrong(
                    "size",
                    f"{what}: shortest_edge alone is, or height and width; or say fit and size in model.json, where "
                    "fit: scale takes longest_edge",
                )
            return _pixels("size", edges["height"]), _pixels("size", edges["width"])
        side = _pixels("size", value)
        if kind in _SHORTER_EDGE:
            return side
        if kind in _LIMITED_EDGES:
            return Edges(side, _pixels("max_size", self._document.get("max_size", _DETR_LONGEST)))
        if crops and kind not in _BOTH_SIDES:
            raise _wrong(
                "size",
                f"{side} can be the shorter edge or both sides, which depends on image_processor_type: "
                f'write {{"shortest_edge": {side}}} or {{"height": {side}, "width": {side}}}',
            )
        return side, side


def _height_and_width(key: str, document: Mapping[str, object]) -> object:
    value = document[key]
    if isinstance(value, dict):
        edges = {edge: length for edge, length in value.items() if length is not None}
        if edges.keys() != {"height", "width"}:
            raise _wrong(key, f"must be pixels, or height and width, not {shown(value)}")
        return [edges["height"], edges["width"]]
    return value


def _pixels(key: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise _wrong(key, f"must be a whole number of pixels, or an object of them, not {shown(value)}")


def _flag(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong(key, f"must be true or false, not {shown(value)}")


def _setting(key: str, value: object) -> object:
    return read_setting(key, value, PREPROCESSOR_CONFIG)


def _wrong(key: str, what: str) -> ModelPackageError:
    return ModelPackageError(f"{PREPROCESSOR_CONFIG}: {key}: {what}")
