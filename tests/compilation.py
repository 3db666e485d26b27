"""How tests compile: quickly, and once for all processes."""

import os
import pathlib
import tempfile

CACHE = os.environ.get("SDESEG_TEST_CACHE", str(pathlib.Path(tempfile.gettempdir()) / "sdeseg_jax_test_cache"))
"""Folder of compiled programs."""

QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
"""XLA's flags for small programs, which take longer to compile than to run: a half of the compiler's time or more goes
without LLVM's optimisations and with XLA's older way of fusing."""
