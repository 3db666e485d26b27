"""Alarms on what goes wrong quietly in a training: collapse, pseudo-labels without effect, waiting for data."""

import dataclasses
import logging
from collections.abc import Mapping

log = logging.getLogger(__name__)


class CollapseError(ValueError):
    """Depth has collapsed, and `config.runtime.stop_on_collapse` is set; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Alarm:
    """A metric beyond a bound.

    Attributes:
      metric: its name in the log.
      bound: of good values.
      is_low: whether values below the bound are bad, else those above.
      what: that is the case then, and may mean.
      advice: what to do.
      collapse: of depth.
      from_share: of the steps; before them it means nothing.
    """

    metric: str
    bound: float
    is_low: bool
    what: str
    advice: str
    collapse: bool = False
    from_share: float = 0.0

    def rings(self, step: int, total: int, metrics: Mapping[str, float]) -> bool:
        """Whether it is as bad as that after `step` steps."""
        value = metrics.get(self.metric)
        if value is None or step <= max(FIRST_STEPS, self.from_share * total):
            return False
        return value < self.bound if self.is_low else value > self.bound


FIRST_STEPS = 100
"""Steps at the start that no alarm is about: weights are still random, programs are still compiled."""

FORWARD_MOTION_PRIOR = (
    "--config.model.disparity_bias=-1.5 --config.model.pose_rotation_scale=0.1 "
    "--config.model.pose_translation_bias=0.0,0.0,-0.03"
)
"""Flags of the prior that small networks train with from random weights: scenes are far, cameras drive ahead."""

_COLLAPSED = (
    "From random initialisation, lower config.depth.learning_rate and set the forward-motion prior "
    f"({FORWARD_MOTION_PRIOR}); else check the intrinsics and the frame rate."
)

ALARMS = (
    Alarm("disparity/spatial_variation", 0.05, True, "disparity is nearly constant over the image: depth may have "
          "collapsed", _COLLAPSED, collapse=True),
    Alarm("disparity/picture_dependence", 0.05, True, "disparity is nearly the same for every picture: depth may have "
          "collapsed", _COLLAPSED, collapse=True),
    Alarm("pseudo_label/largest_class", 0.9, False, "the teacher takes nearly every pixel for one class: pseudo-labels "
          "may have collapsed", "More labels, a lower config.segmentation.pseudo_label_weight, or class weights "
          "(config.segmentation.class_weights=sqrt_inverse_frequency) help.", from_share=0.25),
    # Not so of "cross_domain/quality": pixels of the source count as sure in it.
    Alarm("pseudo_label/quality", 0.1, True, "the teacher is sure of few pixels: pseudo-labels hardly count",
          "Train longer, or lower config.segmentation.confidence_threshold.", from_share=0.5),
    Alarm("input_wait_share", 0.3, False, "much of the time passes in waiting for data", "More "
          "config.runtime.reader_threads help where CPUs are idle; else a smaller prepared size of the dataset, or a "
          "faster disk."),
)  # fmt: skip

PATIENCE = 3
"""Times in a row that a collapse is logged before it stops a training, if it is to."""


class Watch:
    """Warns when an alarm begins to ring, once as long as it does."""

    def __init__(self, total: int, stop_on_collapse: bool = False):
        """Watches one training.

        Args:
          total: its steps.
          stop_on_collapse: whether a collapse of depth that lasts is an error.
        """
        self._total, self._stops, self._ringing = total, stop_on_collapse, dict.fromkeys(ALARMS, 0)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Looks at what was logged after `step` steps.

        Raises:
          CollapseError: see `stop_on_collapse`.
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
                    f"{message} It stops here because of config.runtime.stop_on_collapse; its checkpoints are kept."
                )
