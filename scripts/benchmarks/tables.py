"""Text that the benchmarks of compiled programs print alike."""

from collections.abc import Sequence


def heading(what: str, environment: dict) -> str:
    """What was measured, on what, with what."""
    height, width = environment["crop"]
    remat = ", remat" if environment["remat"] else ""
    return (
        f"{what}: size {environment['size']} ({height}x{width} crops), {environment['dtype']}{remat}, "
        f"{environment['platform']} ({environment['device_kind']}), JAX {environment['jax']}, "
        f"{environment['rounds']} rounds"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column is flushed left, the others right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for first, *others in cells:
        flushed = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *flushed]).rstrip())
    return lines


def milliseconds(spread: dict | None) -> str:
    """Median and 10th..90th percentile of seconds, in milliseconds."""
    if spread is None:
        return "-"
    median, low, high = (1000 * spread[name] for name in ("median", "p10", "p90"))
    digits = 0 if median >= 1000 else 1 if median >= 10 else 2
    return f"{median:,.{digits}f} ({low:,.{digits}f}..{high:,.{digits}f})"


def number(value: float | None, unit: float = 1.0, digits: int = 1) -> str:
    """A value in a unit; "-" for None."""
    return "-" if value is None else f"{value / unit:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent; "-" for None."""
    return "-" if value is None else f"{value:.1%}"


def rate(flops: float | None, seconds: float) -> float | None:
    """FLOP/s, where the FLOPs are known."""
    return None if flops is None else flops / seconds


def memory(planned: int | None, peak: int | None = None) -> str:
    """Device memory in MiB: as it was at its peak where the backend tells, else as the compiled program plans it."""
    return f"{number(planned, 2**20, 0)} planned" if peak is None else f"{number(peak, 2**20, 0)} at peak"
