"""Converts a JAX function to an ONNX graph: one node or a few for each primitive that inference uses.

Values that depend only on weights are computed during the conversion. Primitives that `PRIMITIVES` lacks are refused by
name; more can be added there.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.export
import numpy as np
import onnx
from onnx import helper, numpy_helper

from sdeseg_jax.interop.exported.onnx_primitives import BROADCASTING, PRIMITIVES, Tensor, UnsupportedError

OPSET, IR_VERSION = 18, 10
"""From 2023 and 2024: current runtimes and compilers read these."""

BATCH = "batch"
"""Name of the symbolic first axis."""

_INLINED = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")
"""Primitives that only call another jaxpr."""


def to_onnx(
    function: Callable[[jax.Array], Mapping[str, jax.Array]],
    name: str,
    shape: Sequence[int],
    dtype,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Converts a function of one batch.

    Args:
      function: array [B, *shape] -> named arrays [B, ...]; with weights as constants.
      name, dtype: of the input.
      shape: of a sample, without the batch.
      metadata: strings to store in the model (`metadata_props`).

    Raises:
      UnsupportedError: the function uses something that has no ONNX conversion.
    """
    (batch,) = jax.export.symbolic_shape(BATCH)
    traced = jax.make_jaxpr(function, return_shape=True)(jax.ShapeDtypeStruct((batch, *shape), dtype))
    closed, outputs = traced
    graph = Graph(name, batch)
    invar = closed.jaxpr.invars[0]
    graph.values[invar] = Tensor(name, tuple(invar.aval.shape), invar.aval.dtype)
    graph.run(closed.jaxpr, closed.consts)
    names = [str(path[-1].key) for path, _ in jax.tree.leaves_with_path(outputs)]
    results = [graph.output(var, one) for var, one in zip(closed.jaxpr.outvars, names, strict=True)]
    inputs = [helper.make_tensor_value_info(name, _element_type(dtype), [BATCH, *shape])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "sdeseg_jax", inputs, results, graph.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sdeseg_jax",
    )
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    return model


def _element_type(dtype) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Graph:
    """A graph under construction.

    Attributes:
      nodes, initializers: ONNX's, in order.
      values: variable of a jaxpr -> constant (NumPy array) or `Tensor`.
    """

    def __init__(self, input_name: str, batch):
        """Creates an empty graph with one input, whose first side `batch` is symbolic."""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values: dict = {}
        self._input, self._constants, self._count, self._batch = (input_name, batch), {}, 0, None

    def run(self, jaxpr, consts: Sequence) -> None:
        """Adds the equations of a jaxpr; `values` has its inputs."""
        self.values.update(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        for equation in jaxpr.eqns:
            inputs = [self._read(var) for var in equation.invars]
            if equation.primitive.name in _INLINED:
                self._call(equation, inputs)
            elif all(isinstance(x, np.ndarray) for x in inputs) and not _is_symbolic(equation):
                found = equation.primitive.bind(*inputs, **equation.params)
                found = found if equation.primitive.multiple_results else [found]
                self.values.update(zip(equation.outvars, map(np.asarray, found), strict=True))
            else:
                self._convert(equation, inputs)

    def _call(self, equation, inputs: Sequence) -> None:
        inner = next(equation.params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in equation.params)
        inner, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
        self.values.update(zip(inner.invars, inputs, strict=True))
        self.run(inner, consts)
        self.values.update(zip(equation.outvars, map(self._read, inner.outvars), strict=True))

    def _convert(self, equation, inputs: Sequence) -> None:
        name = equation.primitive.name
        if name not in PRIMITIVES:
            raise UnsupportedError(f"JAX's primitive '{name}' has no ONNX conversion")
        if name not in BROADCASTING:
            inputs = [self.expand(x, var.aval.shape) for x, var in zip(inputs, equation.invars, strict=True)]
        aval = equation.outvars[0].aval
        self.values[equation.outvars[0]] = PRIMITIVES[name](self, inputs, aval, equation.params)

    def _read(self, var):
        return np.asarray(var.val) if hasattr(var, "val") else self.values[var]

    def output(self, var, name: str) -> onnx.ValueInfoProto:
        """Adds an output of the graph with the given name."""
        value = self.expand(self._read(var), var.aval.shape)
        self.nodes.append(helper.make_node("Identity", [self.name_of(value)], [name]))
        shape = [side if isinstance(side, int) else BATCH for side in var.aval.shape]
        return helper.make_tensor_value_info(name, _element_type(var.aval.dtype), shape)

    def add(self, op: str, inputs: Sequence, shape: Sequence, dtype, **attributes) -> Tensor:
        """Adds a node; inputs are tensors or constants. Returns its output."""
        self._count += 1
        out = f"{op.lower()}_{self._count}"
        self.nodes.append(helper.make_node(op, [self.name_of(x) for x in inputs], [out], **attributes))
        return Tensor(out, tuple(shape), np.dtype(dtype))

    def name_of(self, value) -> str:
        """Returns a tensor's name; a constant becomes an initializer, which equal ones share."""
        if isinstance(value, Tensor):
            return value.name
        value = np.ascontiguousarray(value)
        key = (value.dtype.str, value.shape, hashlib.sha256(value).digest())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self.initializers.append(numpy_helper.from_array(value, self._constants[key]))
        return self._constants[key]

    def reshape(self, value, shape: Sequence) -> Tensor:
        """Reshapes a value; at most one side may be symbolic, which becomes -1."""
        if isinstance(value, np.ndarray) and all(isinstance(side, int) for side in shape):
            return value.reshape(shape)
        sides = [side if isinstance(side, int) else -1 for side in shape]
        if sides.count(-1) > 1:
            raise UnsupportedError(f"a reshape to {tuple(shape)} has no ONNX conversion")
        return self.add("Reshape", [value, np.array(sides, np.int64)], shape, value.dtype)

    def expand(self, value, shape: Sequence):
        """Expands a tensor, which elementwise operations left smaller, to `shape`."""
        shape = tuple(shape)
        if tuple(value.shape) == shape:
            return value
        sides = self.add("Concat", [self._side(side) for side in shape], (len(shape),), np.int64, axis=0)
        return self.add("Expand", [value, sides], shape, value.dtype)

    def _side(self, side):
        """Returns a side as a value; symbolic ones are multiples of the batch, as windows are stacked on it."""
        if isinstance(side, int):
            return np.array([side], np.int64)
        name, batch = self._input
        factor = side // batch
        if not isinstance(factor, int) or factor * batch != side:
            raise UnsupportedError(f"a size of {side} has no ONNX conversion")
        if self._batch is None:
            self._batch = self.add("Shape", [Tensor(name, (), np.int64)], (1,), np.int64, start=0, end=1)
        return self.add("Mul", [self._batch, np.array([factor], np.int64)], (1,), np.int64)


def _is_symbolic(equation) -> bool:
    """Whether a result's size depends on the batch size."""
    return not all(isinstance(side, int) for var in equation.outvars for side in var.aval.shape)
