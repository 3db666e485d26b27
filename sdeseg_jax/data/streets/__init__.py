"""Streets: procedural driving video with exact labels, depth, ego-motion and intrinsics.

Rendering needs only NumPy; the TFDS builder is in `sdeseg_jax.data.streets.builder`.
"""

from sdeseg_jax.data.streets.clip_renderer import render_clip as render_clip
from sdeseg_jax.data.streets.domain_looks import TARGET as TARGET
from sdeseg_jax.data.streets.domain_looks import Domain as Domain
from sdeseg_jax.data.streets.frame_renderer import render as render
from sdeseg_jax.data.streets.scene import Scene as Scene
from sdeseg_jax.data.streets.scene import make_scene as make_scene
from sdeseg_jax.data.streets.synthetic_source import SOURCE as SOURCE
