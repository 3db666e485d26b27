"""Converts a JAX function to an ONNX graph: one node or a few for each primitive that inference uses.

Values that depend only on weights are computed during the conversion. Primitives that `PRIMITIVES` lacks are refused by
name; more can be added there.
"""

import hashlib
import itertools
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
    graph.leave_out_unused(names)
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


def _constants_and_states(params: Mapping, inputs: int) -> tuple[int, int]:
    """Returns how many of a scan's inputs are constants, and how many are states that its steps hand on."""
    if "num_consts" in params:  # JAX before 0.12
        return params["num_consts"], params["num_carry"]
    constants, states, _ = params["ft_in"].update(range(inputs)).unpack()
    return len([*constants]), len([*states])


_PARAMETRIC = ("Pad", "Slice", "Reshape", "Expand")
"""Operations whose inputs after the first are settings. OpenCV's DNN module before version 5 reads them as such only if
no other kind of operation has the same constant as an input."""


def _value_info(name: str, aval) -> onnx.ValueInfoProto:
    shape = [side if isinstance(side, int) else BATCH for side in aval.shape]
    return helper.make_tensor_value_info(name, _element_type(aval.dtype), shape)


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
        self._input, self._constants, self._count = (input_name, batch), {}, itertools.count(1)
        self._added: dict[tuple, Tensor] = {}  # a multi-task network is applied twice: once for each task

    def _body(self) -> "Graph":
        """Creates a graph for the body of a loop, which sees what this graph has so far, and stores constants in it."""
        body = Graph(*self._input)
        body.initializers, body._constants, body._count = self.initializers, self._constants, self._count
        body.values, body._added = dict(self.values), dict(self._added)
        return body

    def run(self, jaxpr, consts: Sequence) -> None:
        """Adds the equations of a jaxpr; `values` has its inputs."""
        self.values.update(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        for equation in jaxpr.eqns:
            inputs = [self._read(var) for var in equation.invars]
            if equation.primitive.name in _INLINED:
                self._call(equation, inputs)
            elif equation.primitive.name == "dim_as_value":
                side = self.reshape(self._side(equation.params["dim"]), ())
                self.values[equation.outvars[0]] = PRIMITIVES["convert_element_type"](
                    self, [side], None, {"new_dtype": equation.outvars[0].aval.dtype}
                )
            elif all(isinstance(x, np.ndarray) for x in inputs) and not _is_symbolic(equation):
                found = equation.primitive.bind(*inputs, **equation.params)
                found = found if equation.primitive.multiple_results else [found]
                self.values.update(zip(equation.outvars, map(np.asarray, found), strict=True))
            elif equation.primitive.name == "scan":
                self._scan(equation, inputs)
            elif equation.primitive.name == "unstack":
                self._unstack(equation, *inputs)
            else:
                self._convert(equation, inputs)

    def _call(self, equation, inputs: Sequence) -> None:
        inner = next(equation.params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in equation.params)
        inner, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
        self.values.update(zip(inner.invars, inputs, strict=True))
        self.run(inner, consts)
        self.values.update(zip(equation.outvars, map(self._read, inner.outvars), strict=True))

    def _scan(self, equation, inputs: Sequence) -> None:
        """Converts a loop over the first axis of arrays, e.g. over the corners of windows, to a node with a body."""
        params, closed = equation.params, equation.params["jaxpr"]
        constants, states = _constants_and_states(params, len(inputs))
        carried = constants + states
        if carried == len(inputs):
            raise UnsupportedError("a loop that reads nothing in each step has no ONNX conversion")
        body, inner, name = self._body(), closed.jaxpr, f"scan_{next(self._count)}"
        body.values.update(zip(inner.invars, inputs[:constants], strict=False))
        seen = []
        for i, var in enumerate(inner.invars[constants:]):
            body.values[var] = Tensor(f"{name}_in{i}", tuple(var.aval.shape), var.aval.dtype)
            seen.append(_value_info(f"{name}_in{i}", var.aval))
        body.run(inner, closed.consts)
        made = [body.output(var, f"{name}_body{i}") for i, var in enumerate(inner.outvars)]
        outputs = [Tensor(f"{name}_out{i}", tuple(v.aval.shape), v.aval.dtype) for i, v in enumerate(equation.outvars)]
        given = zip(inputs[constants:], equation.invars[constants:], strict=True)
        backwards = int(params["reverse"])
        node = helper.make_node(
            "Scan",
            [self.name_of(self.expand(value, var.aval.shape)) for value, var in given],
            [one.name for one in outputs],
            body=helper.make_graph(body.nodes, name, seen, made),
            num_scan_inputs=len(inputs) - carried,
            scan_input_directions=[backwards] * (len(inputs) - carried),
        )
        if stacked := len(outputs) - states:
            node.attribute.append(helper.make_attribute("scan_output_directions", [backwards] * stacked))
        self.nodes.append(node)
        self.values.update(zip(equation.outvars, outputs, strict=True))

    def _unstack(self, equation, value: Tensor) -> None:
        """Converts what JAX 0.12 makes of `for part in array`: an output for each index of an axis."""
        shape, axis = equation.invars[0].aval.shape, equation.params["axis"]
        for index, var in enumerate(equation.outvars):
            start, limit = [0] * len(shape), [*shape]
            start[axis], limit[axis] = index, index + 1
            bounds = {"start_indices": start, "limit_indices": limit, "strides": None}
            part = PRIMITIVES["slice"](
                self,
                [value],
                jax.ShapeDtypeStruct([b - a for a, b in zip(start, limit, strict=True)], var.aval.dtype),
                bounds,
            )
            self.values[var] = self.reshape(part, var.aval.shape)

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
        return _value_info(name, var.aval)

    def leave_out_unused(self, outputs: Sequence[str]) -> None:
        """Removes nodes and constants that no output depends on, such as a network's heads that are not exported."""
        used, kept = set(outputs), []
        for node in reversed(self.nodes):
            if used.intersection(node.output):
                kept.append(node)
                inner = [one for attribute in node.attribute for one in attribute.g.node]
                used.update(name for one in (node, *inner) for name in one.input)
        self.nodes = kept[::-1]
        self.initializers = [one for one in self.initializers if one.name in used]

    def add(self, op: str, inputs: Sequence, shape: Sequence, dtype, **attributes) -> Tensor:
        """Adds a node, unless there is an equal one; inputs are tensors or constants. Returns its output."""
        names = [self.name_of(x, op if op in _PARAMETRIC and i else "") for i, x in enumerate(inputs)]
        key = (op, *names, repr(sorted(attributes.items())))
        if key not in self._added:
            out = f"{op.lower()}_{next(self._count)}"
            self.nodes.append(helper.make_node(op, names, [out], **attributes))
            self._added[key] = Tensor(out, tuple(shape), np.dtype(dtype))
        return self._added[key]

    def name_of(self, value, use: str = "") -> str:
        """Returns a tensor's name; a constant becomes an initializer, which equal ones with the same use share."""
        if isinstance(value, Tensor):
            return value.name
        value = np.ascontiguousarray(value)
        key = (use, value.dtype.str, value.shape, hashlib.sha256(value).digest())
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
        own = (1,) * (len(shape) - len(value.shape)) + tuple(value.shape)
        # Sides that the value has are 1: where that is the batch, no size has to be computed, which some runtimes
        # (OpenCV's DNN module before version 5) cannot do.
        wanted = [1 if side == has else side for side, has in zip(shape, own, strict=True)]
        if all(isinstance(side, int) for side in wanted):
            sides = np.array(wanted, np.int64)
        else:
            sides = self.add("Concat", [self._side(side) for side in wanted], (len(shape),), np.int64, axis=0)
        return self.add("Expand", [value, sides], shape, value.dtype)

    def _side(self, side):
        """Returns a side as a value; symbolic ones are multiples of the batch, as windows are stacked on it."""
        if isinstance(side, int):
            return np.array([side], np.int64)
        name, batch = self._input
        factor = side // batch
        if not isinstance(factor, int) or factor * batch != side:
            raise UnsupportedError(f"a size of {side} has no ONNX conversion")
        size = self.add("Shape", [Tensor(name, (), np.int64)], (1,), np.int64, start=0, end=1)
        return self.add("Mul", [size, np.array([factor], np.int64)], (1,), np.int64)


def _is_symbolic(equation) -> bool:
    """Whether a result's size depends on the batch size."""
    return not all(isinstance(side, int) for var in equation.outvars for side in var.aval.shape)
