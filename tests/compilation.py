"""How tests compile: quickly, and once for all processes."""

import os
import pathlib
import tempfile

CACHE = os.environ.get("SDESEG_TEST_CACHE", str(pathlib.Path(tempfile.gettempdir()) / "sdeseg_jax_test_cache"))
"""Folder of compiled programs."""

QUICK = "--xla_backend_optimization_level=0"
"""XLA's flag for small programs, which take longer to compile than to run: LLVM's optimisations are not worth their
time. Not together with --xla_cpu_use_fusion_emitters=false: of a depth training with colour jitter, that made programs
of other numbers, which differed between one and four devices (JAX 0.10.2; either flag alone did not)."""
