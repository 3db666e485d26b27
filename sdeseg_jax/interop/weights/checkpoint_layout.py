"""Where in a checkpoint a ResNet is: the dicts around its state dict, and the prefix of its keys.

Trainers wrap what they save. The ResNet-50 of one and the same training may be `conv1.weight`,
`module.encoder_q.conv1.weight` within 'state_dict', or `backbone.conv1.weight` within 'teacher'. No list of prefixes is
needed: it is whatever stands before `layer1.0.conv1.weight`. A list is needed to choose between two networks.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping

import numpy as np

from sdeseg_jax.interop.weights.torch_resnets import check_resnet, list_keys, shown

_BLOCK, _STEM = "layer1.0.conv1.weight", "conv1.weight"
_DEEPEST = 6
"""Most dicts around a state dict: VISSL has four."""
_MOST_CANDIDATES = 100
_NOT_WEIGHTS = re.compile(r"optim|scheduler|scaler|^amp$|^loops$|^callbacks$")
"""Entries of a checkpoint that may have keys like those of weights, but hold something else."""

_HEAD = re.compile(
    r"(fc|head|heads|last_linear|linear|logits|mlp|classifier|aux_classifier|projector|projection|proj|predictor|"
    r"prototypes|neck|\w*queue\w*|\w+_head|head_\w+|\w+_classifier|\w+_projector|\w+_predictor|\w+_prototypes)\d*"
)
"""First name, behind the prefix, of keys of a ResNet's file that are not of the ResNet."""
_LONGEST_HEAD = 64

_AVERAGES = ("ema", "model_ema", "ema_model", "state_dict_ema", "ema_state_dict", "model_ema_state_dict", "params_ema")
_SELF_SUPERVISED = "the network that its authors evaluate"
_CONVENTIONS = (
    (("encoder_q",), ("encoder_k",), f"MoCo's query encoder, {_SELF_SUPERVISED}"),
    (("base_encoder",), ("momentum_encoder",), f"MoCo v3's base encoder, {_SELF_SUPERVISED}"),
    (("encoder",), ("encoder_k", "momentum_encoder", "encoder_momentum"), f"the query encoder, {_SELF_SUPERVISED}"),
    (("backbone",), ("momentum_backbone", "backbone_momentum"), f"the trained backbone, {_SELF_SUPERVISED}"),
    (("online_encoder",), ("target_encoder",), f"BYOL's online encoder, {_SELF_SUPERVISED}"),
    (("online_network",), ("target_network",), f"BYOL's online network, {_SELF_SUPERVISED}"),
    (("teacher",), ("student",), f"DINO's teacher, {_SELF_SUPERVISED}"),
    (("teacher_backbone",), ("student_backbone",), f"DINO's teacher, {_SELF_SUPERVISED}"),
    (_AVERAGES, ("",), "the running average of the weights, which is usually the better network"),
)
"""(Taken, not taken, why), by a name in the path to two networks that otherwise have the same path."""
_WRAPPERS = frozenset(
    "module _orig_mod model state_dict model_state model_state_dict net network params params_ema".split()
)
"""Names in a path that do not tell networks apart."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A ResNet in a checkpoint.

    Attributes:
      wrappers: keys of the dicts around its state dict, outermost first.
      prefix: of its keys in that state dict, with a dot at the end, or empty.
      state: the whole state dict.
    """

    wrappers: tuple[str, ...]
    prefix: str
    state: Mapping[str, np.ndarray]

    @property
    def path(self) -> str:
        """Wrappers and prefix as one prefix: what `--prefix` chooses by."""
        return "".join(f"{name}." for name in self.wrappers) + self.prefix


@dataclasses.dataclass(frozen=True)
class FoundEncoder:
    """The ResNet to import.

    Attributes:
      backbone: its name.
      state: torchvision's keys → arrays, exactly those of the network.
      prefix: of these keys in the file's state dict.
      left_out: the other keys of the file's state dict.
      origin: in words, where in the file it was, and why it was taken if there were several; may be empty.
    """

    backbone: str
    state: Mapping[str, np.ndarray]
    prefix: str
    left_out: tuple[str, ...]
    origin: str


def state_dicts(
    content, wrappers: tuple[str, ...] = (), seen: set[int] | None = None
) -> Iterator[tuple[tuple[str, ...], dict[str, np.ndarray]]]:
    """Yields (keys of the dicts around it, state dict) for every dict of arrays in a checkpoint, outermost first."""
    seen = set() if seen is None else seen
    if not isinstance(content, dict) or len(wrappers) > _DEEPEST or id(content) in seen:
        return
    seen.add(id(content))
    state = {str(key): value for key, value in content.items() if isinstance(value, np.ndarray)}
    if state:
        yield wrappers, state
    for key, value in content.items():
        if isinstance(key, str) and not _NOT_WEIGHTS.search(key):
            yield from state_dicts(value, (*wrappers, key), seen)


def _candidates(content) -> list[Candidate]:
    found = []
    for wrappers, state in state_dicts(content):
        prefixes = {key.removesuffix(_BLOCK) for key in state if key.endswith(_BLOCK)}
        found += [Candidate(wrappers, one, state) for one in sorted(prefixes) if one == "" or one.endswith(".")]
    return [one for one in found if one.prefix + _STEM in one.state] or found


def _reason_to_prefer(one: Candidate, other: Candidate) -> str | None:
    """Returns why, by a convention of the field, one network is taken and the other is not; else None."""
    ours, theirs = (path.path.rstrip(".").split(".") for path in (one, other))
    for taken, left, reason in _CONVENTIONS:
        winner = next((name for name in ours if name in taken), None)
        loser = next((name for name in theirs if name in left), "")
        if winner is None or (loser == "") != (left == ("",)) or set(taken) & set(theirs):
            continue
        if _without(ours, winner) == _without(theirs, loser):
            return reason
    return None


def _without(path: list[str], name: str) -> list[str]:
    return [part for part in path if part and part != name and part not in _WRAPPERS]


def _choose(candidates: list[Candidate], prefix: str | None) -> tuple[Candidate, str]:
    """Returns the network to take, and why it was taken if there were several."""
    listed = ", ".join(shown(one.path) for one in candidates[:12]) + (", …" if len(candidates) > 12 else "")
    if prefix is not None:
        wanted = prefix if prefix == "" or prefix.endswith(".") else f"{prefix}."
        for path in (Candidate.path.fget, lambda one: one.prefix):
            matches = [one for one in candidates if path(one) == wanted]
            if len(matches) == 1:
                return matches[0], "as --prefix says" if len(candidates) > 1 else ""
        raise ValueError(f"--prefix={prefix} does not name one of the networks in it. Those are at: {listed}")
    if len(candidates) > _MOST_CANDIDATES:
        raise ValueError(f"it holds {len(candidates)} networks. Choose one with --prefix=…: {listed}")
    reasons = {}
    rest = list(candidates)
    for one in candidates:
        for other in candidates:
            if other in rest and (reason := _reason_to_prefer(one, other)):
                rest.remove(other)
                reasons[reason] = None
    if len(rest) != 1:
        raise ValueError(
            f"it holds {len(candidates)} networks, and none of them is the usual choice. Choose one with --prefix=…: "
            f"{listed}"
        )
    return rest[0], "; ".join(reasons)


def _is_head(name: str) -> bool:
    return len(name) < _LONGEST_HEAD and _HEAD.fullmatch(name) is not None


def find_encoder(content, prefix: str | None = None) -> FoundEncoder | None:
    """Finds the ResNet in a checkpoint, and checks that it is exactly that.

    Args:
      content: of the file: a state dict, or dicts around one or several of them.
      prefix: path of the network to take if there are several: keys of the dicts, prefix of the keys; or the prefix
        alone.

    Returns:
      What was found; None if no key of a ResNet is in it.

    Raises:
      ValueError: there are several networks and no convention decides, or the one to take is another network than
        torchvision's, or its numbers cannot be used.
    """
    candidates = _candidates(content)
    if not candidates:
        return None
    chosen, reason = _choose(candidates, prefix)
    nested = [one.prefix for one in candidates if one.state is chosen.state and len(one.prefix) > len(chosen.prefix)]
    own, left_out = {}, []
    for key, value in chosen.state.items():
        name = key.removeprefix(chosen.prefix)
        first = name.partition(".")[0]
        if not key.startswith(chosen.prefix) or key.startswith(tuple(nested)) or _is_head(first):
            left_out.append(key)
        else:
            own[name] = value
    backbone = check_resnet(own, prefix=chosen.prefix)
    counters = [chosen.prefix + key for key in own if key.endswith("num_batches_tracked")]
    own = {key: value for key, value in own.items() if not key.endswith("num_batches_tracked")}
    others = [one.path for one in candidates if one is not chosen]
    origin = [f"entry {' → '.join(map(shown, chosen.wrappers))}"] if chosen.wrappers else []
    origin += [f"prefix {shown(chosen.prefix)}"] if chosen.prefix else []
    text = ", ".join(origin) or ("keys without prefix" if others else "")
    if others:
        text += f" ({reason}; not {list_keys(others)})"
    return FoundEncoder(backbone, own, chosen.prefix, (*left_out, *counters), text)
