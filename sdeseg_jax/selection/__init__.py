"""Which frames to annotate (Sec. 3.2): coverage of the feature space, error of a depth student, Algorithm 1."""

from sdeseg_jax.selection.annotation_schedule import plan, schedule_up_to
from sdeseg_jax.selection.class_frequency import frequency_ratios
from sdeseg_jax.selection.farthest_point import Picks, farthest_points, update_nearest
from sdeseg_jax.selection.pooled_features import ChannelStatistics, pool_features
from sdeseg_jax.selection.select_frames import pick_priority, select_frames
from sdeseg_jax.selection.uncertainty import prediction_entropy, student_error

__all__ = [
    "ChannelStatistics",
    "Picks",
    "farthest_points",
    "frequency_ratios",
    "pick_priority",
    "plan",
    "pool_features",
    "prediction_entropy",
    "schedule_up_to",
    "select_frames",
    "student_error",
    "update_nearest",
]
