"""params.yaml as a typed, validated model: the only way that parameters enter the program.

What each parameter means, its unit or range and the reference's value stand beside it in params.yaml.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from oneshot.errors import UserError

# 'e' without a dot or sign is a number in YAML 1.2, which DVC writes, and a string in PyYAML's 1.1.
_YAML_12_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


def _number(value: Any) -> Any:
    if isinstance(value, str) and _YAML_12_FLOAT.fullmatch(value):
        return float(value)
    return value


def _whole(value: Any) -> Any:
    value = _number(value)  # `-S image_budget=1e6` means a whole number
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value


Int = Annotated[int, BeforeValidator(_whole)]
Float = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Float, Field(gt=0, le=1e6)]
Weight = Annotated[Float, Field(ge=0, le=1e6)]
Momentum = Annotated[Float, Field(ge=0, le=0.999)]
Count = Annotated[Int, Field(ge=1, le=10**12)]
Channels = Annotated[Int, Field(ge=4, le=2048)]
StepCounts = Annotated[list[Annotated[Int, Field(ge=0, le=10**4)]], Field(max_length=9)]
Rates = Annotated[list[Positive], Field(max_length=9)]
Two = Annotated[Int, Field(ge=2, le=10**6)]


class Params(BaseModel):
    """All parameters, immutable. Attribute names are the keys of params.yaml."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    dataset: Literal["cifar100", "mnist", "digits", "folder"]
    data_folder: Annotated[str, Field(min_length=1)]
    image_size: Annotated[Int, Field(ge=8, le=512)]
    folder_test_share: Annotated[Float, Field(ge=0.01, le=0.9)]
    unseen_classes: Two
    class_split: Literal["last", "random", "cifar_fs"]
    validation_classes: Annotated[Int, Field(ge=0, le=10**6)]
    calibration_images: Two
    drop_duplicates: bool
    seed: Annotated[Int, Field(ge=0, lt=2**31)]

    training: Literal["classic", "meta"]

    backbone: Literal["small", "resnet18"]
    pretrained_weights: Annotated[str, Field(min_length=1)]
    resnet_stem: Channels
    resnet_widths: Annotated[list[Channels], Field(min_length=1, max_length=5)]
    resnet_blocks: Annotated[list[Annotated[Int, Field(ge=1, le=100)]], Field(min_length=1, max_length=5)]
    resnet_first_stride: Annotated[Int, Field(ge=1, le=2)]
    embedding_norm: bool

    triplet_weight: Weight
    triplet_mining: Literal["random", "all", "hard"]
    triplet_margin: Annotated[Float, Field(ge=0, le=2)]
    triplet_soft_scale: Weight
    identity_weight: Weight
    identity_scale: Positive
    label_smoothing: Annotated[Float, Field(ge=0, le=0.9)]
    augmentation: Literal["none", "crop", "crop_flip", "crop_flip_cutout"]

    image_budget: Count
    batch_size: Annotated[Int, Field(ge=4, le=10**6)]

    classic_batch_classes: Two
    classic_optimizer: Literal["sgd", "adam", "muon"]
    classic_learning_rate: Positive
    classic_momentum: Momentum
    classic_schedule: Literal["one_cycle", "constant"]
    weight_decay: Weight

    meta_step: Annotated[Float, Field(ge=0, le=10)]
    meta_schedule: Literal["linear", "constant"]
    meta_momentum: Momentum
    meta_tasks: Annotated[Int, Field(ge=1, le=10**4)]
    meta_batch_norm: Literal["reestimate", "interpolate"]
    task_classes: Annotated[Int, Field(ge=1, le=10**6)]
    inner_steps: Annotated[Int, Field(ge=1, le=10**6)]
    inner_optimizer: Literal["sgd", "adam", "muon"]
    inner_learning_rate: Positive
    inner_momentum: Momentum
    inner_state: Literal["reset", "keep"]
    forward_passes: Literal["joint", "separate"]

    threshold_criterion: Literal["balanced", "eer", "fpr"]
    target_fpr: Annotated[Float, Field(gt=0, lt=1)]
    fixed_threshold: Annotated[Float, Field(ge=-1, le=1)]

    evaluate_unseen: bool
    views: Annotated[Int, Field(ge=1, le=12)]
    episode_draws: Two
    episode_count: Two
    episode_ways: Two
    episode_queries: Count
    adapt_shots: Annotated[list[Count], Field(max_length=8)]
    adapt_draws: Annotated[Int, Field(ge=1, le=10**4)]
    adapt_episodes: Two
    adapt_threshold_criterion: Literal["balanced", "eer", "fpr"]
    adapt_weights: Literal["metric", "all"]
    adapt_optimizer: Literal["sgd", "adam"]
    adapt_classic_steps: StepCounts
    adapt_classic_learning_rate: Rates
    adapt_meta_steps: StepCounts
    adapt_meta_learning_rate: Rates
    adapt_soft_scale: Weight
    adapt_batch_size: Annotated[Int, Field(ge=3, le=10**6)]
    adapt_classes: Two
    adapt_negatives: Count

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16"]
    threads: Annotated[Int, Field(ge=0, le=1024)]
    compile: bool
    checkpoint_steps: Count


# What is known of a data set before it is there: classes, and training images of the class with the fewest.
_KNOWN = {"cifar100": (100, 500), "mnist": (10, 5421), "digits": (10, 120)}
_UNKNOWN = (10**7, 10**7)  # a folder of pictures: later stages find out
VIEWS = (1, 2, 10, 12)  # of an image, that `network.embed` knows


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and validate params.yaml.

    Raises:
        UserError: one line with the file, the key, the value found and what is allowed.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the top folder of the project") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: found {_shown(values)}; it must be lines of `name: value`")
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_mistake(error)}") from None
    for key, value, allowed in _impossible(params):
        raise UserError(f"{path}: {key}: found {_shown(value)}; {allowed}")
    return params


def _impossible(p: Params) -> Any:
    """Yield (key, value, what is allowed) for values that are fine alone but not together."""
    classes, train_images = _KNOWN.get(p.dataset, _UNKNOWN)
    if p.dataset == "folder" and p.data_folder == "none":
        yield "data_folder", "none", "must be a folder with a folder of pictures for each class, with dataset folder"
    seen = classes - p.unseen_classes - p.validation_classes
    if p.class_split == "cifar_fs":
        if p.dataset != "cifar100":
            yield "class_split", "cifar_fs", f"needs dataset cifar100, not {p.dataset}"
        for key, needed in (("unseen_classes", 20), ("validation_classes", 16)):
            if getattr(p, key) != needed:
                yield key, getattr(p, key), f"must be {needed} with class_split cifar_fs"
    if p.validation_classes == 1:
        yield "validation_classes", 1, "must be 0, or at least 2 so that they can be told apart"
    if p.unseen_classes > classes - 2:
        yield "unseen_classes", p.unseen_classes, f"{p.dataset} has {classes} classes: at most {classes - 2}"
    if seen < 2:
        yield (
            "validation_classes",
            p.validation_classes,
            f"with unseen_classes {p.unseen_classes} at most {classes - p.unseen_classes - 2} of {classes} remain",
        )
    if p.calibration_images > train_images - 2:
        yield "calibration_images", p.calibration_images, f"must be at most {train_images - 2} for {p.dataset}"
    if len(p.resnet_blocks) != len(p.resnet_widths):
        yield "resnet_blocks", p.resnet_blocks, f"must have as many stages as resnet_widths, {len(p.resnet_widths)}"
    widths = [p.resnet_stem, *p.resnet_widths]
    if widths != sorted(widths):
        yield "resnet_widths", p.resnet_widths, f"must not fall, from resnet_stem {p.resnet_stem} on"
    if p.pretrained_weights == "download" and p.backbone == "small":
        yield "pretrained_weights", "download", "must be none, or a model file of this project, with backbone small"
    if not p.triplet_weight and not p.identity_weight:
        yield "triplet_weight", p.triplet_weight, "must be above 0 where identity_weight is 0: nothing else is learnt"
    if not p.evaluate_unseen and not p.validation_classes:
        yield "evaluate_unseen", False, "must be true where validation_classes is 0: nothing else is measured"
    if p.triplet_mining == "random" and p.batch_size % 3:
        yield "batch_size", p.batch_size, "must be a multiple of 3 with triplet_mining random"
    if p.classic_batch_classes > seen:
        yield "classic_batch_classes", p.classic_batch_classes, f"must be at most the {seen} seen classes"
    if p.task_classes > seen:
        yield "task_classes", p.task_classes, f"must be at most the {seen} seen classes"
    if p.triplet_mining != "random":
        for key in ("classic_batch_classes", "task_classes"):
            value = getattr(p, key)
            if value < 2:
                yield key, value, f"must be at least 2 with triplet_mining {p.triplet_mining}"
            if p.batch_size < 2 * value or p.batch_size % value:
                yield (
                    key,
                    value,
                    f"must divide batch_size {p.batch_size}, with 2 or more images of a class in each batch",
                )
        if p.forward_passes == "separate":
            yield "forward_passes", "separate", "needs triplet_mining random"
    if p.identity_weight and p.task_classes == 1:
        yield "task_classes", 1, "must be at least 2 where identity_weight is above 0"
    outer = p.meta_tasks * p.inner_steps * p.batch_size
    if p.image_budget < max(outer, 2 * p.batch_size):
        yield (
            "image_budget",
            p.image_budget,
            f"must be at least {max(outer, 2 * p.batch_size)}: one outer step (meta_tasks x inner_steps x batch_size)",
        )
    if p.meta_step == 0:
        yield "meta_step", 0, "must be above 0: no step, no learning"
    if p.views not in VIEWS:
        yield "views", p.views, f"must be one of {', '.join(map(str, VIEWS))}"
    for shots in p.adapt_shots:
        if shots > train_images - p.calibration_images:
            yield "adapt_shots", p.adapt_shots, f"each must be at most {train_images - p.calibration_images}"
    fewest = min(n for n in (p.unseen_classes, p.validation_classes) if n)
    if p.episode_ways > fewest:
        yield "episode_ways", p.episode_ways, f"must be at most {fewest}: the unseen, or the validation classes"
    if len(set(p.adapt_shots)) != len(p.adapt_shots):
        yield "adapt_shots", p.adapt_shots, "must not repeat a number"
    for key in ("classic_steps", "classic_learning_rate", "meta_steps", "meta_learning_rate"):
        values, needed = getattr(p, f"adapt_{key}"), len(p.adapt_shots) + 1
        if len(values) != needed:
            yield (
                f"adapt_{key}",
                values,
                f"must be {needed} numbers: one for each of adapt_shots, then one for all images",
            )
    if p.adapt_batch_size % 3:
        yield "adapt_batch_size", p.adapt_batch_size, "must be a multiple of 3: anchors, positives, negatives"
    if p.adapt_classes > seen:
        yield "adapt_classes", p.adapt_classes, f"must be at most the {seen} seen classes"


def _first_mistake(error: ValidationError) -> str:
    mistakes = error.errors()
    # An unknown key explains a missing one: it is the same typing mistake.
    first = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    key = str(first["loc"][0]) if first["loc"] else "?"
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown parameter, found with value {_shown(first['input'])}; {_nearest(key)}"
    if first["type"] == "missing":
        return f"{key}: missing; add `{key}: ...` (see the README's list of parameters)"
    return f"{key}: found {_shown(first['input'])}; {_allowed(first)}"


def _nearest(key: str) -> str:
    import difflib

    names = difflib.get_close_matches(key, Params.model_fields, n=1)
    return f"did you mean {names[0]}?" if names else "remove it"


def _allowed(mistake: Any) -> str:
    kind, context = mistake["type"], mistake.get("ctx", {})
    bounds = {
        "greater_than": ("gt", "must be above"),
        "greater_than_equal": ("ge", "must be at least"),
        "less_than": ("lt", "must be below"),
        "less_than_equal": ("le", "must be at most"),
    }
    if kind in bounds:
        bound, words = bounds[kind]
        return f"{words} {context[bound]:g}"
    if kind == "literal_error":
        return f"must be one of {context['expected'].replace(' or ', ', ')}"
    words_of = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "list": "a list such as [1, 5]",
        "finite": "a finite number",
        "string": "a word or a path",
        "too": f"a list of at {'least' if kind == 'too_short' else 'most'} "
        f"{context.get('min_length') or context.get('max_length')} numbers",
    }
    return f"must be {words_of.get(kind.split('_')[0], mistake['msg'].lower())}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
