"""Warnings: what a reader should know before trusting the numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.evaluation.segmentation_metrics import is_of_one_class, scope
from sdeseg_jax.report.confusion_section import confusion_of
from sdeseg_jax.report.scores_section import NETWORKS
from sdeseg_jax.report.svg_charts import Points
from sdeseg_jax.training.collapse_alarms import FIRST_STEPS, Alarm

FEW_FRAMES = 50
"""With fewer scored frames, the report warns that the scores are uncertain."""


def alarm_notices(logs: Mapping[str, Mapping[str, Points]], alarms: Sequence[Alarm]) -> list[str]:
    """Returns warnings about trainings: alarms (with advice if they last to the end), few steps, skipped steps.

    Args:
      logs: training ("depth", "method", ...) -> metric -> points.
    """
    steps = {name: max((points[-1][0] for points in log.values() if points), default=0) for name, log in logs.items()}
    short = [f"{name} for {last} steps" for name, last in steps.items() if 0 < last <= FIRST_STEPS]
    notices = [f"Very short training: {', '.join(short)}. The scores are meaningless."] if short else []
    for training, log in logs.items():
        last = steps[training]
        for alarm in alarms:
            points = log.get(alarm.metric, ())
            rung = [step for step, value in points if alarm.rings(step, last, {alarm.metric: value})]
            if not rung:
                continue
            worst = (min if alarm.is_low else max)(value for step, value in points if step in rung)
            at_end = rung[-1] == points[-1][0]
            facts = f"{alarm.metric} {worst:.3f} at worst, bound {alarm.bound:g}"
            when = f"from step {rung[0]} to the end" if at_end else f"at times, last at step {rung[-1]}, not at the end"
            notices.append(f"{training}: {alarm.what} ({facts}; {when}).{' ' + alarm.advice if at_end else ''}")
        if skipped := sum(value for _, value in log.get("skipped", ())):
            notices.append(f"{training}: {skipped:.0f} steps were skipped because a loss or gradient was not finite.")
    return notices


def score_notices(metrics: Mapping, classes: ClassMap | None) -> list[str]:
    """Returns warnings about scores: few frames, absent classes, means over different classes, worse than trivial.

    Args:
      metrics: of the stage `evaluate`; may be empty.
      classes: of the segmentation scores; None without any.
    """
    notices = []
    frames = {"depth": metrics.get("depth", {}).get("images"), "video": metrics.get("video", {}).get("frames")}
    scored = [metrics[name] for name in NETWORKS if name in metrics]
    annotated = scored[0].get("annotated_images") if scored else None
    frames["segmentation"] = scored[0]["images"] if scored and annotated is None else annotated
    few = [f"{what} on {count}" for what, count in frames.items() if count is not None and count < FEW_FRAMES]
    if few:
        notices.append(f"Few scored frames ({', '.join(few)}): another set of this size may well score differently.")
    if scored and classes:
        notices += _class_notices(metrics, classes)
    mious = [one["miou"] for one in scored]
    if len(scored) == 2 and None not in mious and (gain := mious[1] - mious[0]) <= -0.05:
        notices.append(f"The method scores {-gain:.1f} points of mIoU less than the baseline.")
    if (depth := metrics.get("depth")) and depth.get("prior_abs_rel", np.inf) < depth["abs_rel"]:
        notices.append(
            f"Depth is worse than a prior that ignores the image (abs rel {depth['abs_rel']:.3f} against "
            f"{depth['prior_abs_rel']:.3f}): it was not learned, or has collapsed."
        )
    if (video := metrics.get("video")) and video["photometric"] >= video["identity"]:
        notices.append("Warping by depth and ego-motion does not lower the photometric error of held-out video.")
    return notices


def _class_notices(metrics: Mapping, classes: ClassMap) -> list[str]:
    networks, notices = [name for name in NETWORKS if name in metrics], []
    first = metrics[networks[0]]
    if first["miou"] is None:
        return [f"Segmentation is {scope(first)}. Annotate frames of the split that config.evaluation.split names."]
    if (annotated := first.get("annotated_images")) is not None and annotated < first["images"]:
        notices.append(f"{first['images'] - annotated} of {first['images']} labels have no annotated pixel.")
    if is_of_one_class(first):
        notices.append(
            "All annotated pixels of the scored frames are of one class: a network that predicts it everywhere scores "
            "an mIoU of 100. Score on frames with several classes."
        )
    missing = {name: {one for one in classes.names if metrics[name]["iou"].get(one) is None} for name in networks}
    labels = [counts.sum(axis=1) for name in networks if (counts := confusion_of(metrics[name], classes)) is not None]
    unlabeled = {one for one, pixels in zip(classes.names, labels[0], strict=True) if not pixels} if labels else set()

    def listed(names) -> str:
        return ", ".join(one for one in classes.names if one in names)

    nowhere = set.intersection(*missing.values())
    if nowhere:
        notices.append(
            f"No scored pixel is labelled or predicted as {listed(nowhere)}: mIoU is the mean over the other classes."
        )
    if unlabeled - nowhere:
        notices.append(
            f"No scored pixel is labelled as {listed(unlabeled - nowhere)}: if a network predicts such a class "
            "anywhere, its IoU of 0 counts in the mean."
        )
    if len({frozenset(one) for one in missing.values()}) > 1:
        counts = " and ".join(f"{len(classes) - len(one)} ({name})" for name, one in missing.items())
        notices.append(f"The mIoUs of the two networks are means over different numbers of classes: {counts}.")
    return notices
