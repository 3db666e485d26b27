"""Text of the printed tables of compiled programs."""

from collections.abc import Sequence

COMPILATION = ("trace+lower [s]", "compile [s]")


def heading(what: str, environment: dict) -> str:
    """Returns a line with what was measured, its settings and the machine."""
    height, width = environment["crop"]
    remat = ", remat" if environment["remat"] else ""
    return (
        f"{what}: size {environment['size']} ({height}x{width} crops), {environment['dtype']}{remat}, "
        f"{environment['platform']} ({environment['device_kind']}), JAX {environment['jax']}, "
        f"{environment['rounds']} rounds"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table: first column flush left, the others flush right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for first, *others in cells:
        flushed = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *flushed]).rstrip())
    return lines


def milliseconds(spread: dict | None) -> str:
    """Returns median and 10th..90th percentile in milliseconds; "-" for None."""
    if spread is None:
        return "-"
    median, low, high = (1000 * spread[name] for name in ("median", "p10", "p90"))
    digits = 0 if median >= 1000 else 1 if median >= 10 else 2
    return f"{median:,.{digits}f} ({low:,.{digits}f}..{high:,.{digits}f})"


def number(value: float | None, unit: float = 1.0, digits: int = 1) -> str:
    """Returns a value in a unit; "-" for None."""
    return "-" if value is None else f"{value / unit:,.{digits}f}"


def percent(value: float | None) -> str:
    """Returns a share in percent; "-" for None."""
    return "-" if value is None else f"{value:.1%}"


def memory(planned: int | None, peak: int | None = None) -> str:
    """Returns device memory in MiB: its peak if the backend reports it, else what the compiled program plans."""
    return f"{number(planned, 2**20, 0)} planned" if peak is None else f"{number(peak, 2**20, 0)} at peak"


def compilation(program: dict) -> list[str]:
    """Returns the cells of `COMPILATION` for the `Program.facts` of a program."""
    return [
        number(program["trace_seconds"] + program["lower_seconds"]),
        number(program["compile_seconds"]) + (" cached" if program["cached"] else ""),
    ]
