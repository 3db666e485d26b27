"""How tests compile: fast, and once for all processes."""

import os
import pathlib
import tempfile

CACHE = os.environ.get("SDESEG_TEST_CACHE", str(pathlib.Path(tempfile.gettempdir()) / "sdeseg_jax_test_cache"))
"""Folder of compiled programs."""

QUICK = "--xla_backend_optimization_level=0"
"""XLA flag for small programs: LLVM's optimisations take longer than they save. Do not combine it with
--xla_cpu_use_fusion_emitters=false: together, not alone, they changed the numbers of a depth training with colour
jitter, differently on one and four devices (JAX 0.10.2)."""
