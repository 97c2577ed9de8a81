#!/usr/bin/env bash
# openvino 2026.4.1, CPU: a float64 graph takes and gives float64, and is computed in float32 without a word.
#
# Seen: 3 x for x = 16,777,217 is 50,331,648, not 50,331,651; 3e300 comes out as 3.4028234663852886e+38, the largest
# float32, not even inf; 3e-60 as 0. Inputs and outputs of the compiled model say double64, and the arrays are float64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/three.py" <<'PYTHON'
import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

x, y = (helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["N", 3]) for name in "xy")
three = numpy_helper.from_array(np.array(3.0), "three")
graph = helper.make_graph([helper.make_node("Mul", ["x", "three"], ["y"])], "three times", [x], [y], [three])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), "three.onnx")
model = openvino.Core().compile_model("three.onnx", "CPU")
given = np.array([[16_777_217.0, 1e300, 1e-60]])
found = model({"x": given})[0]
print(f"{model.inputs[0].element_type} in, {model.outputs[0].element_type} out, an array of {found.dtype}")
print(f"three times {given.tolist()} is {found.tolist()}")
assert found.dtype == np.float64 and "64" in str(model.outputs[0].element_type)
assert found.tolist() == [[50_331_648.0, float(np.finfo(np.float32).max), 0.0]]
PYTHON
cd "$folder" && venv/bin/python three.py
