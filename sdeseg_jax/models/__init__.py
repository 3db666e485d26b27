"""Networks (sections 3.1–3.3 and 4.2): images in, predictions out; nothing here knows losses, data or training."""

from sdeseg_jax.models.network import Network, Predictions, build_network
from sdeseg_jax.models.pose import Pose
from sdeseg_jax.models.transfer import transfer_depth_decoder

__all__ = ["Network", "Pose", "Predictions", "build_network", "transfer_depth_decoder"]
