"""Scoring a pair: the table of metrics, the suites, and one walk for all of them."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from data.types import UserError
from eval.features import Features
from eval.frames import mismatch
from eval.score import Metric, Missing, Pair, Score, missing

SUITES: dict[str, dict[str, str]] = {
    "default": {
        "warp_error_short": "eval.warp:WarpErrorShort",
        "warp_error_short_normalised": "eval.warp:WarpErrorShortNormalised",
        "warp_error_long": "eval.warp:WarpErrorLong",
        "warp_error_long_normalised": "eval.warp:WarpErrorLongNormalised",
        "tof": "eval.tof:Tof",
        "flicker": "eval.flicker:Flicker",
        "background_mse": "eval.background:BackgroundMse",
        "background_psnr": "eval.background:BackgroundPsnr",
        "background_ssim_luma": "eval.background:BackgroundSsimLuma",
        "structure_gradient": "eval.structure:StructureGradient",
        "sharpness_ratio": "eval.sharpness:SharpnessRatio",
        "contrast_ratio": "eval.contrast:ContrastRatio",
        "histogram_drift": "eval.histogram:HistogramDrift",
    },
    "exact": {
        "background_ssim": "eval.background:BackgroundSsim",
    },
    "clip": {
        "clip_direction": "eval.clip:ClipDirection",
        "clip_image_similarity": "eval.clip:ClipImageSimilarity",
        "clip_direction_consistency": "eval.clip:ClipDirectionConsistency",
        "clip_text_alignment": "eval.clip:ClipTextAlignment",
        "clip_frame_consistency": "eval.clip:ClipFrameConsistency",
        "clip_frame_accuracy": "eval.clip:ClipFrameAccuracy",
    },
    "lpips": {
        "lpips_to_source": "eval.lpips:LpipsToSource",
        "tlp": "eval.lpips:Tlp",
        "lpips_warped": "eval.lpips:LpipsWarped",
        "lpips_background": "eval.lpips:LpipsBackground",
    },
    "deep": {
        "gabor_distance": "eval.gabor:GaborDistance",
    },
    "vbench": {
        "subject_consistency": "eval.consistency:SubjectConsistency",
        "background_consistency": "eval.consistency:BackgroundConsistency",
        "dino_structure": "eval.dino:DinoStructure",
    },
    "motion": {
        "motion_fidelity": "eval.motion:MotionFidelity",
        "motion_fidelity_paired": "eval.motion:MotionFidelityPaired",
    },
    "quality": {
        "pickscore": "eval.quality:Pickscore",
        "aesthetic": "eval.quality:Aesthetic",
    },
    "judge": {
        "judge_instruction": "eval.judge:JudgeInstruction",
        "judge_consistency": "eval.judge:JudgeConsistency",
        "judge_preference": "eval.judge:JudgePreference",
    },
    "pocket": {
        "answer_error": "eval.pocket:AnswerError",
        "answer_error_outside": "eval.pocket:AnswerErrorOutside",
        "answer_switches": "eval.pocket:AnswerSwitches",
        "edited_share": "eval.pocket:EditedShare",
        "root_agreement": "eval.pocket:RootAgreement",
        "mask_iou": "eval.pocket:MaskIou",
    },
}
METRICS = {name: path for members in SUITES.values() for name, path in members.items()}


GUARDS = ("structure_gradient", "flicker", "contrast_ratio", "sharpness_ratio")


def load(name: str) -> Metric:
    """A metric by `id`, `id@version` or `id:variant` of the table, or by `package.module:Name`.

    Raises UserError when there is none, naming what there is.
    """
    wanted, _, variant = name.partition(":")
    key, _, version = wanted.partition("@")
    if key in METRICS:
        metric = _attribute(METRICS[key])(variant or None)
        if version and version != str(metric.version):
            raise UserError(f"{key} has version {metric.version}, not {version}: leave the version out")
        return metric
    if "." in wanted and variant:
        try:
            return _attribute(name)()
        except (ImportError, AttributeError) as error:
            raise UserError(f"no metric {name}: {error}") from error
    raise UserError(f"no metric {name!r}: `via metrics` lists them, yours is package.module:Name")


def suite(name: str) -> list[Metric]:
    """The metrics of a suite (default, clip, lpips, ...), or of several joined by commas, or metrics by
    name.
    """
    chosen: list[Metric] = []
    for part in name.split(","):
        chosen += [load(key) for key in SUITES.get(part, [part])]
    return chosen


def score(pair: Pair, metrics: Sequence[Metric], features: Features) -> dict[str, Score]:
    """Every metric of one pair, by `id@version`, after one walk over its frames.

    A pair that does not match, or a frame that cannot be read, is `refused` by every metric; a computation
    that fails is that metric's `error`; a missing weight its `skipped`. Nothing is raised but what stops
    the process.
    """
    why = mismatch(pair.source, pair.edited)
    kinds = [kind for metric in metrics for kind in metric.measures]
    if why is None:
        try:
            features.measure(pair, kinds)
        except UserError as error:
            why = str(error)
    if why is not None:
        return {metric.name: missing("refused", why) for metric in metrics}
    return {metric.name: _scored(metric, pair, features) for metric in metrics}


def flags(scores: Mapping[str, Score]) -> list[str]:
    """What the guards say about an edit, in words: source copy, frozen, flat, washed out, blurred, noisy.

    The guards are scores of the default suite (by `id@version`); what was not computed flags nothing.
    """
    details = {name.partition("@")[0]: score.details for name, score in scores.items()}
    raised = [details.get(guard, {}).get("flag") for guard in GUARDS]
    return [str(flag) for flag in raised if flag]


def _scored(metric: Metric, pair: Pair, features: Features) -> Score:
    started = time.perf_counter()
    try:
        result = metric(pair, features)
    except Missing as error:
        result = missing("skipped", str(error))
    except UserError as error:
        result = missing("refused", str(error))
    except Exception as error:  # one metric's failure is not another's; the record says what happened
        result = missing("error", f"{type(error).__name__}: {error}")
    spent = time.perf_counter() - started + features.seconds(pair, metric.measures)
    return result.model_copy(update={"seconds": spent})


def _attribute(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
