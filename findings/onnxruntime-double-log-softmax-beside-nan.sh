#!/usr/bin/env bash
# onnxruntime 1.32.0 (and 1.20.0), CPU: LogSoftmax of a float64 row with a NaN gives logarithms of probabilities of 46.
#
# Seen: LogSoftmax of float64 [0.3, -2, NaN] is [46.05, 43.75, NaN], as if there were a probability of e⁴⁶; of float32,
# and Softmax of both types, it is NaN throughout. Where the NaN comes first, [NaN, 1, 2], the float64 row is NaN, too.
# Who looks for NaN in the largest class alone does not see that the row is none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > "$folder/softmax.py" <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import helper

found = {}
for operator in ("LogSoftmax", "Softmax"):
    for dtype in (np.float64, np.float32):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        x, y = (helper.make_tensor_value_info(name, kind, ["N", 3]) for name in "xy")
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "one", [x], [y])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
        run = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run
        for row in ([0.3, -2, np.nan], [np.nan, 1, 2]):
            (answer,) = run(None, {"x": np.array([row], dtype)})
            found[operator, dtype, np.isnan(row[0])] = answer[0]
            print(f"{operator} of {np.dtype(dtype)} {row}: {answer[0].tolist()}")
wrong = found.pop(("LogSoftmax", np.float64, False))
assert wrong[0] > 46 and wrong[1] > 43 and np.isnan(wrong[2])
assert all(np.isnan(row).all() for row in found.values())
PYTHON
"$folder/venv/bin/python" "$folder/softmax.py"
