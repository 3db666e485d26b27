"""Configs derived from a run's (baseline, source domain), and what a config makes its stages read."""

import ml_collections


def baseline_config(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the config of the supervised baseline: `config.segmentation` overridden by `config.baseline`."""
    config = config.copy_and_resolve_references()
    config.segmentation.update(config.baseline)
    return config


def source_config(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the config of the source domain's depth: `config` with data, video and networks of `config.source`.

    Of `config.init` it keeps only the encoders: the source's decoders have another size.
    """
    config, source = config.copy_and_resolve_references(), config.source
    for section, own, split in ((config.data, source, "train_split"), (config.video, source.video, "split")):
        section.update(name=own.name, variant=own.variant)
        section.options, section[split] = own.options, own.split
    config.data.update(protocol="", labels=0, labels_file="", labels_from="random")
    config.video.share = 1.0
    config.model.update(source.model)
    config.depth.update(source.depth)
    config.init.update(depth_decoder="", segmentation_decoder="", distillation="")
    return config


def source_keys(config) -> dict[str, str]:
    """Returns {key or section in the config that `source_config` makes: where the user gives it}."""
    given = {f"data.{name}": f"source.{name}" for name in ("name", "variant", "options")}
    given |= {"data.train_split": "source.split", "video": "source.video"}
    given |= {f"video.{name}": f"video.{name}" for name in ("min_difference", "min_match")}  # the same for both domains
    for section in ("model", "depth"):
        given |= {f"{section}.{name}": f"source.{section}.{name}" for name in config.source[section]}
    return given


def uses_pool(segmentation) -> bool:
    """Whether `config.segmentation` uses unlabelled target frames, and with them a mean teacher."""
    return segmentation.pseudo_labels or segmentation.cross_mix != "none"


def uses_source(config) -> bool:
    """Whether segmentation learns from the source domain's labels."""
    return bool(config.source.name) and (
        config.segmentation.source_weight > 0 or config.segmentation.cross_mix != "none"
    )


def uses_matching(config) -> bool:
    """Whether source frames are chosen by their geometry (Eq. 22, 23), which matters only if they are mixed in."""
    return uses_source(config) and config.segmentation.cross_mix != "none" and config.source.n_candidates > 1


def needs_source_disparity(config) -> bool:
    """Whether training reads the stored disparity of source frames."""
    return uses_matching(config) or (uses_source(config) and config.segmentation.cross_mix == "depth")


def mixes_by_stored_disparity(segmentation) -> bool:
    """Whether `config.segmentation` mixes target frames, with each other or with the source, by stored disparity."""
    stored = segmentation.mix == "depth" and segmentation.mix_disparity == "precomputed"
    return stored or segmentation.cross_mix == "depth"


def needs_disparity(config) -> bool:
    """Whether training reads the stored disparity of target frames: to mix by it, or to match source frames to it."""
    return mixes_by_stored_disparity(config.segmentation) or uses_matching(config)
