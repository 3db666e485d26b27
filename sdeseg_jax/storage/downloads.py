"""Files from the network, kept in a cache: one process at a time, resumed, checked, complete when they exist."""

import hashlib
import http.client
import os
import pathlib
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from sdeseg_jax.storage.disk_errors import disk_problem
from sdeseg_jax.storage.process_lock import only_process

CACHE_VARIABLE = "SDESEG_CACHE"
"""Environment variable with the folder of the cache."""

_CHUNK = 1 << 20
_TIMEOUT = 30
"""Seconds without a byte after which a download fails."""


class DownloadError(OSError):
    """A file could not be had; the message says which, from where, and where to put it by hand.

    Attributes:
      status: of the server's answer; None if there was none.
    """

    status: int | None = None


def cache_folder() -> pathlib.Path:
    """Returns the folder for downloaded files: $SDESEG_CACHE, or sdeseg_jax in the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return pathlib.Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(base).expanduser() / "sdeseg_jax"


def sha256_of(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(url: str, path: pathlib.Path, sha256: str = "", headers: Mapping[str, str] | None = None) -> pathlib.Path:
    """Downloads a file unless it is there; a download that was interrupted is continued.

    Args:
      url: address.
      path: to write to; while it is incomplete, it has the suffix `.part`.
      sha256: first digits of its hash; "" if unknown.
      headers: to send, e.g. with a token.

    Raises:
      DownloadError: there is no network, the server refuses, the disk is full, or the file is not what it should be.
    """
    if path.exists():
        return path
    lock = path.with_name(path.name + ".lock")
    try:
        with only_process(lock, waits=lambda: _tell(f"waiting for another download of {path.name}")):
            if not path.exists():  # the other process may have got it
                _fetch(url, path, sha256, dict(headers or {}))
    except DownloadError:
        raise
    except OSError as error:
        reason = disk_problem(error) or error.strerror or error
        raise DownloadError(
            f"{path} cannot be written: {reason}. Name another folder with the environment variable {CACHE_VARIABLE}"
        ) from error
    return path


def _fetch(url: str, path: pathlib.Path, sha256: str, headers: dict[str, str]) -> None:
    part = path.with_name(path.name + ".part")
    by_hand = f"\nWithout a network, download it elsewhere and put it at {path}"
    try:
        total = _append(url, part, headers)
    except urllib.error.HTTPError as error:
        refused = DownloadError(f"{url}: the server answers {error.code} {error.reason}{_advice(error.code)}{by_hand}")
        refused.status = error.code
        raise refused from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise DownloadError(f"{url} cannot be reached: {getattr(error, 'reason', error)}{by_hand}") from error
    size = part.stat().st_size
    if total is not None and size != total:
        if size > total:
            part.unlink()
        raise DownloadError(f"{url} ended after {size:,} of {total:,} bytes. The same command continues it.{by_hand}")
    if sha256 and not (found := sha256_of(part)).startswith(sha256.lower()):
        part.unlink()
        raise DownloadError(
            f"{url}: the file's SHA-256 begins with {found[: len(sha256)]}, but the publisher states {sha256}: it was "
            f"changed, or damaged on the way. It was deleted; try again.{by_hand}"
        )
    os.replace(part, path)


def _advice(code: int) -> str:
    if code in (401, 403):
        return (
            ". If the weights have a licence that must be accepted: log in at the address, accept it, and set HF_TOKEN "
            "to an access token of yours"
        )
    return ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but gives the token to no other host: hubs redirect to the servers that store their files."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Returns the request to the new address."""
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request and urllib.parse.urlsplit(newurl).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            request.remove_header("Authorization")
        return request


_opener = urllib.request.build_opener(_Redirects)


def open_url(url: str, headers: Mapping[str, str], timeout: float, method: str = "GET"):
    """Opens an address; like `urllib.request.urlopen`, with a token in `headers` for that host alone."""
    return _opener.open(urllib.request.Request(url, headers=dict(headers), method=method), timeout=timeout)


def _append(url: str, part: pathlib.Path, headers: dict[str, str]) -> int | None:
    """Downloads what is missing of a file; returns the size that the server states for the whole."""
    start = part.stat().st_size if part.exists() else 0
    if start:
        headers = headers | {"Range": f"bytes={start}-"}
    try:
        answer = open_url(url, headers, _TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:  # nothing is missing, or another file is there now
            raise
        part.unlink()
        return _append(url, part, {name: value for name, value in headers.items() if name != "Range"})
    with answer:
        if start and answer.status != 206:  # the server sends the whole file again
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total is not None and shutil.disk_usage(part.parent).free < total - start:
            raise DownloadError(f"{part.parent} has no room for {total - start:,} bytes of {url}")
        with part.open("ab" if start else "wb") as file:
            _copy(answer, file, part.name.removesuffix(".part"), start, total)
    return total


def _copy(answer, file, name: str, done: int, total: int | None) -> None:
    shown = time.monotonic()
    every = 0.5 if sys.stderr.isatty() else 10.0
    try:
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            if time.monotonic() - shown >= every:
                shown = time.monotonic()
                share = f" of {total / 1e6:.0f} MB ({done / total:.0%})" if total else " MB"
                _tell(f"downloading {name}: {done / 1e6:.0f}{share}", again=sys.stderr.isatty())
    finally:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def _tell(text: str, again: bool = False) -> None:
    print(f"\r{text}" if again else text, end="" if again else "\n", file=sys.stderr, flush=True)
