"""Config files, one per family of experiments; in the installed package as `sdeseg_jax.configs`."""
