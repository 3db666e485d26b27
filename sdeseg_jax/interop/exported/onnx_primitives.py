"""JAX's primitives in ONNX: name -> function of (graph, inputs, shape and type of the output, parameters).

Inputs are NumPy constants or `Tensor`s. ONNX broadcasts like NumPy, so operations of `BROADCASTING` take inputs before
JAX's explicit broadcasts; for others, the graph expands them.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from onnx import helper


class UnsupportedError(ValueError):
    """A function uses something that has no ONNX conversion; the message names it."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value that the graph computes.

    Attributes:
      name: in the graph.
      shape: sides, some of which may be symbolic; may be smaller than in JAX, but broadcasts to that.
      dtype: NumPy's.
    """

    name: str
    shape: tuple
    dtype: np.dtype


def _broadcast(shapes) -> tuple:
    """Returns the shape of an elementwise operation's result; sides may be symbolic."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(next((side for side in sides if side != 1), 1) for sides in zip(*padded, strict=True))


def _elementwise(op: str, **attributes) -> Callable:
    def convert(graph, inputs, aval, params):
        return graph.add(op, inputs, _broadcast([x.shape for x in inputs]), aval.dtype, **attributes)

    return convert


def _chain(*ops: str) -> Callable:
    """Converts to a sequence of operations with one input each."""

    def convert(graph, inputs, aval, params):
        value = inputs[0]
        for op in ops:
            value = graph.add(op, [value], value.shape, aval.dtype)
        return value

    return convert


def _expm1(graph, inputs, aval, params):
    grown = graph.add("Exp", inputs, inputs[0].shape, aval.dtype)
    return graph.add("Sub", [grown, np.ones((), aval.dtype)], grown.shape, aval.dtype)


def _erfc(graph, inputs, aval, params):
    error = graph.add("Erf", inputs, inputs[0].shape, aval.dtype)
    return graph.add("Sub", [np.ones((), aval.dtype), error], error.shape, aval.dtype)


def _not_equal(graph, inputs, aval, params):
    same = graph.add("Equal", inputs, _broadcast([x.shape for x in inputs]), np.bool_)
    return graph.add("Not", [same], same.shape, np.bool_)


def _integer_pow(graph, inputs, aval, params):
    exponent = np.array(params["y"], aval.dtype)
    return graph.add("Pow", [inputs[0], exponent], inputs[0].shape, aval.dtype)


def _select(graph, inputs, aval, params):
    chosen, if_false, if_true = inputs
    return graph.add("Where", [chosen, if_true, if_false], _broadcast([x.shape for x in inputs]), aval.dtype)


def _clamp(graph, inputs, aval, params):
    low, value, high = inputs
    raised = graph.add("Max", [value, low], _broadcast([value.shape, low.shape]), aval.dtype)
    return graph.add("Min", [raised, high], _broadcast([raised.shape, high.shape]), aval.dtype)


def _cast(graph, inputs, aval, params):
    dtype = np.dtype(params["new_dtype"])
    return graph.add("Cast", inputs, inputs[0].shape, dtype, to=helper.np_dtype_to_tensor_dtype(dtype))


def _same(graph, inputs, aval, params):
    return inputs[0]


def _reshape(graph, inputs, aval, params):
    return graph.reshape(inputs[0], aval.shape)


def _broadcast_in_dim(graph, inputs, aval, params):
    value, axes = inputs[0], params["broadcast_dimensions"]
    sides = [1] * len(aval.shape)
    for axis, side in zip(axes, value.shape, strict=True):
        sides[axis] = side
    if isinstance(value, np.ndarray):
        return value.reshape(sides)
    return value if tuple(sides) == tuple(value.shape) else graph.reshape(value, sides)


def _transpose(graph, inputs, aval, params):
    axes = [int(axis) for axis in params["permutation"]]
    return transpose(graph, inputs[0], axes)


def transpose(graph, value, axes):
    """Permutes axes; of a constant, without a node."""
    if isinstance(value, np.ndarray):
        return np.transpose(value, axes)
    if list(axes) == list(range(len(axes))):
        return value
    return graph.add("Transpose", [value], [value.shape[axis] for axis in axes], value.dtype, perm=list(axes))


def _concatenate(graph, inputs, aval, params):
    return graph.add("Concat", inputs, aval.shape, aval.dtype, axis=params["dimension"])


def _slice(graph, inputs, aval, params):
    sides, starts, stops = inputs[0].shape, params["start_indices"], params["limit_indices"]
    steps = params["strides"] or (1,) * len(starts)
    axes = [i for i, side in enumerate(sides) if (starts[i], stops[i], steps[i]) != (0, side, 1)]
    if any(not isinstance(sides[i], int) for i in axes):
        raise UnsupportedError("slicing the batch has no ONNX conversion")
    columns = (starts, stops, range(len(sides)), steps)
    bounds = [np.array([int(values[i]) for i in axes], np.int64) for values in columns]
    return graph.add("Slice", [inputs[0], *bounds], aval.shape, aval.dtype)


def _first_pixels(graph, starts, sides, sizes):
    """Returns where a part of an array starts on some axes, int64 [axes]; like JAX, moved to lie within the array."""
    parts = []
    for start, side, size in zip(starts, sides, sizes, strict=True):
        if not (isinstance(side, int) and isinstance(size, int)):
            raise UnsupportedError("slicing the batch has no ONNX conversion")
        if isinstance(start, np.ndarray):
            parts.append(np.array([min(max(int(start), 0), side - size)], np.int64))
            continue
        start = graph.reshape(_cast(graph, [start], None, {"new_dtype": np.int64}), (1,))
        start = graph.add("Max", [start, np.zeros(1, np.int64)], (1,), np.int64)
        parts.append(graph.add("Min", [start, np.array([side - size])], (1,), np.int64))
    return graph.add("Concat", parts, (len(parts),), np.int64, axis=0)


def _dynamic_slice(graph, inputs, aval, params):
    value, *starts = inputs
    axes = [i for i, (side, size) in enumerate(zip(value.shape, aval.shape, strict=True)) if side != size]
    if not axes:
        return value
    sides, sizes = ([shape[i] for i in axes] for shape in (value.shape, aval.shape))
    first = _first_pixels(graph, [starts[i] for i in axes], sides, sizes)
    last = graph.add("Add", [first, np.array(sizes, np.int64)], first.shape, np.int64)
    return graph.add("Slice", [value, first, last, np.array(axes, np.int64)], aval.shape, aval.dtype)


def _dynamic_update_slice(graph, inputs, aval, params):
    """Pads the part to the array's size, and takes it where a mask that is padded alike says so."""
    value, part, *starts = inputs
    axes = [i for i, (side, size) in enumerate(zip(value.shape, part.shape, strict=True)) if side != size]
    if not axes:
        return part
    sides, sizes = ([shape[i] for i in axes] for shape in (value.shape, part.shape))
    first = _first_pixels(graph, [starts[i] for i in axes], sides, sizes)
    rest = graph.add("Sub", [np.array(sides, np.int64) - np.array(sizes, np.int64), first], first.shape, np.int64)
    pads = graph.add("Concat", [first, rest], (2 * len(axes),), np.int64, axis=0)
    mask = np.ones([size if i in axes else 1 for i, size in enumerate(part.shape)], np.float32)
    padded = [
        graph.add("Pad", [x, pads, np.zeros((), x.dtype), np.array(axes, np.int64)], aval.shape, x.dtype)
        for x in (part, mask)
    ]
    inside = graph.add("Greater", [padded[1], np.zeros((), np.float32)], aval.shape, np.bool_)
    return graph.add("Where", [inside, padded[0], value], aval.shape, aval.dtype)


def _rev(graph, inputs, aval, params):
    axes = [int(axis) for axis in params["dimensions"] if inputs[0].shape[axis] != 1]
    if not axes:  # reflecting a border of one pixel mirrors single pixels
        return inputs[0]
    low, high = np.full(len(axes), -1, np.int64), np.full(len(axes), np.iinfo(np.int64).min, np.int64)
    return graph.add("Slice", [inputs[0], low, high, np.array(axes), low], inputs[0].shape, aval.dtype)


def _pad(graph, inputs, aval, params):
    value, filling = inputs
    if any(inside or low < 0 or high < 0 for low, high, inside in params["padding_config"]):
        raise UnsupportedError("padding between pixels, or by a negative number of them, has no ONNX conversion")
    low, high = ([int(sides[i]) for sides in params["padding_config"]] for i in (0, 1))
    return graph.add("Pad", [value, np.array(low + high, np.int64), filling], aval.shape, aval.dtype)


def _reduce(op: str) -> Callable:
    def convert(graph, inputs, aval, params):
        axes = np.array([int(axis) for axis in params["axes"]], np.int64)
        return graph.add(op, [inputs[0], axes], aval.shape, aval.dtype, keepdims=0)

    return convert


def _argmax(graph, inputs, aval, params):
    found = graph.add("ArgMax", inputs, aval.shape, np.int64, axis=int(params["axes"][0]), keepdims=0)
    return _cast(graph, [found], aval, {"new_dtype": aval.dtype})


def _dot_general(graph, inputs, aval, params):
    """Converts to a matrix product: axes in the order batch, free, contracted, each group merged to one."""
    (left_contracted, right_contracted), (left_batch, right_batch) = params["dimension_numbers"]
    left, right = inputs
    groups = []
    for value, contracted, batch in ((left, left_contracted, left_batch), (right, right_contracted, right_batch)):
        free = [axis for axis in range(len(value.shape)) if axis not in (*contracted, *batch)]
        groups.append([list(map(int, batch)), free, list(map(int, contracted))])
    batch = [left.shape[axis] for axis in groups[0][0]]
    free = [[value.shape[axis] for axis in group[1]] for value, group in zip(inputs, groups, strict=True)]
    depth = [left.shape[axis] for axis in groups[0][2]]
    if len(groups[0][2]) == 1 and not batch and len(free[1]) == 1:
        # The usual case, features times a matrix: without a reshape, runtimes recognise it.
        left = transpose(graph, left, groups[0][1] + groups[0][2])
        right = transpose(graph, right, groups[1][2] + groups[1][1])
        return graph.add("MatMul", [left, right], aval.shape, aval.dtype)
    left = transpose(graph, left, groups[0][0] + groups[0][1] + groups[0][2])
    left = graph.reshape(left, [*batch, math.prod(free[0]), math.prod(depth)])
    right = transpose(graph, right, groups[1][0] + groups[1][2] + groups[1][1])
    right = graph.reshape(right, [*batch, math.prod(depth), math.prod(free[1])])
    product = graph.add("MatMul", [left, right], [*batch, math.prod(free[0]), math.prod(free[1])], aval.dtype)
    return graph.reshape(product, aval.shape)


def _convolution(graph, inputs, aval, params):
    """Converts to Conv, which has batch and channels first, in images and kernels."""
    image, kernel = inputs
    numbers = params["dimension_numbers"]
    if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
        raise UnsupportedError("a transposed convolution has no ONNX conversion")
    first = transpose(graph, image, [int(axis) for axis in numbers.lhs_spec])
    kernel = transpose(graph, kernel, [int(axis) for axis in numbers.rhs_spec])
    low, high = zip(*params["padding"], strict=True)
    sides = [aval.shape[axis] for axis in numbers.out_spec]
    attributes = {
        "strides": list(params["window_strides"]),
        "pads": [int(pad) for pad in (*low, *high)],
        "dilations": list(params["rhs_dilation"]),
        "group": params["feature_group_count"],
        "kernel_shape": list(kernel.shape[2:]),
    }
    out = graph.add("Conv", [first, kernel], sides, aval.dtype, **attributes)
    return transpose(graph, out, [int(axis) for axis in np.argsort(numbers.out_spec)])


_SAME_NAME = "add sub mul div max min pow exp log neg abs sign sqrt erf tanh floor ceil and or not".split()
_ELEMENTWISE = {name: name.capitalize() for name in _SAME_NAME} | {
    "add_any": "Add",
    "logistic": "Sigmoid",
    "eq": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
}

BROADCASTING: dict[str, Callable] = {
    **{name: _elementwise(op) for name, op in _ELEMENTWISE.items()},
    **dict.fromkeys(("stop_gradient", "copy", "copy_p", "optimization_barrier"), _same),
    "rsqrt": _chain("Sqrt", "Reciprocal"),
    "expm1": _expm1,
    "erfc": _erfc,
    "ne": _not_equal,
    "integer_pow": _integer_pow,
    "square": lambda graph, inputs, aval, params: _integer_pow(graph, inputs, aval, {"y": 2}),
    "select_n": _select,
    "clamp": _clamp,
    "convert_element_type": _cast,
    "broadcast_in_dim": _broadcast_in_dim,
}
"""Operations whose inputs may be smaller than in JAX."""

PRIMITIVES: dict[str, Callable] = {
    **BROADCASTING,
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "rev": _rev,
    "pad": _pad,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "argmax": _argmax,
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
}
