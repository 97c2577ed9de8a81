#!/usr/bin/env bash
# onnxruntime 1.32.0 (and 1.20.0), CPU: Sigmoid of float64 has digits of float32 far out, and is exactly 0 from -37 down.
#
# Seen: at -20 it is off by a part of 4e-8, at -30 of 1e-3, at -36 of 4 %; from -37 down it is 0, where 1 / (1 + e⁻ᶻ) is
# 8.5e-17, and 1.8e-35 at -80. A float64 graph is no way out of the float32 kernel's -18, and the logarithm of such a
# probability is -inf. 1 / (1 + Exp(-z)) of the same runtime, in nodes, is right to 1e-15.
# Why: it is close to 0 by the difference of numbers near 1/2, and 2.2e-16 is the last that remains.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > "$folder/sigmoid.py" <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node
x, y, w = (helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["N"]) for name in "xyw")
nodes = [node("Sigmoid", ["x"], ["y"]), node("Neg", ["x"], ["n"]), node("Exp", ["n"], ["e"]),
         node("Add", ["e", "one"], ["s"]), node("Div", ["one", "s"], ["w"])]
graph = helper.make_graph(nodes, "two", [x], [y, w], [numpy_helper.from_array(np.array(1.0), "one")])
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
z = np.array([-1.0, -20, -30, -36, -37, -80])
run = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run
sigmoid, nodes_ = run(["y", "w"], {"x": z})
right = 1 / (1 + np.exp(-z))
for at, value in enumerate(z):
    print(f"{value:g}: Sigmoid {sigmoid[at]:.6g}, its nodes {nodes_[at]:.6g}, right {right[at]:.6g}")
off = np.abs(sigmoid / right - 1)
assert off[0] < 1e-15 and 1e-9 < off[1] < 1e-6 and 1e-4 < off[2] < 1e-2 and 0.01 < off[3] < 0.1
assert (sigmoid[4:] == 0).all() and (np.abs(nodes_ / right - 1) < 1e-14).all()
PYTHON
"$folder/venv/bin/python" "$folder/sigmoid.py"
