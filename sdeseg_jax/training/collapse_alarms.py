"""Alarms on silent failures of a training: collapse, pseudo-labels without effect, waiting for data."""

import dataclasses
import logging
from collections.abc import Mapping

log = logging.getLogger(__name__)


class CollapseError(ValueError):
    """Depth has collapsed and `config.runtime.stop_on_collapse` is set; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Alarm:
    """A bound on a logged metric.

    Attributes:
      metric: its name in the log.
      bound: of good values.
      is_low: whether values below the bound are bad, else those above.
      what: what a bad value shows, and what it may mean.
      advice: what to do.
      collapse: whether it is about collapsed depth.
      from_share: share of the steps before which the metric means nothing.
    """

    metric: str
    bound: float
    is_low: bool
    what: str
    advice: str
    collapse: bool = False
    from_share: float = 0.0

    def rings(self, step: int, total: int, metrics: Mapping[str, float]) -> bool:
        """Whether the metric is beyond its bound after `step` of `total` steps."""
        value = metrics.get(self.metric)
        if value is None or step <= max(FIRST_STEPS, self.from_share * total):
            return False
        return value < self.bound if self.is_low else value > self.bound


FIRST_STEPS = 100
"""No alarm rings during these steps: weights are still random, programs still compile."""

FORWARD_MOTION_PRIOR = (
    "--config.model.disparity_bias=-1.5 --config.model.pose_rotation_scale=0.1 "
    "--config.model.pose_translation_bias=0.0,0.0,-0.03"
)
"""Flags of the prior with which small networks train from random weights: distant scenes, a camera driving forward."""

_COLLAPSE = {
    "bound": 0.05,
    "is_low": True,
    "advice": "When training from random weights, lower config.depth.learning_rate and set the forward-motion prior "
    f"({FORWARD_MOTION_PRIOR}); otherwise check the intrinsics and the frame rate.",
    "collapse": True,
}
ALARMS = (
    Alarm(
        "disparity/spatial_variation",
        what="disparity is nearly constant over the image: depth may have collapsed",
        **_COLLAPSE,
    ),
    Alarm(
        "disparity/picture_dependence",
        what="disparity is nearly the same for every image: depth may have collapsed",
        **_COLLAPSE,
    ),
    Alarm(
        "pseudo_label/largest_class",
        bound=0.9,
        is_low=False,
        what="the teacher assigns nearly every pixel to one class: pseudo-labels may have collapsed",
        advice="Use more labels, a lower config.segmentation.pseudo_label_weight, or class weights "
        "(config.segmentation.class_weights=sqrt_inverse_frequency).",
        from_share=0.25,
    ),
    # "cross_domain/quality" has no such alarm: in it, pixels of the source count as confident.
    Alarm(
        "pseudo_label/quality",
        bound=0.1,
        is_low=True,
        what="the teacher is confident about few pixels: pseudo-labels have little effect",
        advice="Train longer, or lower config.segmentation.confidence_threshold.",
        from_share=0.5,
    ),
    Alarm(
        "input_wait_share",
        bound=0.3,
        is_low=False,
        what="much of the time is spent waiting for data",
        advice="If CPUs are idle, raise config.runtime.reader_threads; otherwise prepare the dataset in a smaller size "
        "or use a faster disk.",
    ),
)

PATIENCE = 3
"""Consecutive logs with collapsed depth after which a training stops, if `stop_on_collapse` is set."""


class AlarmLog:
    """Warns when an alarm starts to ring; not again until it has stopped."""

    def __init__(self, total: int, stop_on_collapse: bool = False):
        """Watches one training.

        Args:
          total: steps of the training.
          stop_on_collapse: whether a lasting collapse of depth is an error.
        """
        self._total, self._stops, self._ringing = total, stop_on_collapse, dict.fromkeys(ALARMS, 0)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Checks the metrics logged after `step` steps.

        Raises:
          CollapseError: depth has collapsed for `PATIENCE` logs, with `stop_on_collapse`.
        """
        for alarm in ALARMS:
            times = self._ringing[alarm] + 1 if alarm.rings(step, self._total, metrics) else 0
            self._ringing[alarm] = times
            if not times:
                continue
            relation = "<" if alarm.is_low else ">"
            facts = f"{alarm.metric} = {metrics[alarm.metric]:.3f} {relation} {alarm.bound:g}"
            message = f"step {step}: {alarm.what} ({facts}). {alarm.advice}"
            if times == 1:
                log.warning("%s", message)
            if alarm.collapse and self._stops and times == PATIENCE:
                raise CollapseError(
                    f"{message} Training stops because of config.runtime.stop_on_collapse; its checkpoints are kept."
                )
