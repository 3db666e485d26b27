"""Writes PNG files of any mode, bit depth and palette, which Pillow cannot."""

import itertools
import struct
import zlib

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples, bits=8, color_type=GREY, palette=None, transparency=None, significant=None, text=None, exif=None):
    """Returns a PNG file.

    Args:
      samples: [H, W] or [H, W, C], as stored.
      bits: per sample.
      palette: colours [N, 3] of the chunk PLTE.
      transparency: content of the chunk tRNS: a grey sample, or a list of opacities of the palette.
      significant: content of the chunk sBIT, a list.
      text: key -> text.
      exif: content of the chunk eXIf.
    """
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1).astype(">u2").view(np.uint8).reshape(height, -1, 2)
    if bits == 16:
        rows = rows.reshape(height, -1)
    else:
        unpacked = np.unpackbits(rows[..., 1:], axis=2)[..., 8 - bits :]
        rows = np.packbits(unpacked.reshape(height, -1), axis=1)
    filtered = np.pad(rows, ((0, 0), (1, 0))).tobytes()
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0))
    if significant is not None:
        out += chunk(b"sBIT", bytes(significant))
    if palette is not None:
        out += chunk(b"PLTE", bytes(itertools.chain.from_iterable(palette)))
    if isinstance(transparency, int):
        out += chunk(b"tRNS", struct.pack(">H", transparency))
    elif transparency is not None:
        out += chunk(b"tRNS", bytes(transparency))
    if exif is not None:
        out += chunk(b"eXIf", exif)
    for key, value in (text or {}).items():
        out += chunk(b"tEXt", key.encode("latin-1") + b"\0" + value.encode("latin-1"))
    return out + chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")
