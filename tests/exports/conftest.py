"""What the tests of this folder run on: `make test-exports` runs them with the oldest onnxruntime and the newest."""

import platform

import numpy
import onnx
import onnxruntime


def pytest_report_header():
    return (
        f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}, numpy {numpy.__version__}, "
        f"Python {platform.python_version()}"
    )


def pytest_terminal_summary(terminalreporter):  # -q leaves the header out
    terminalreporter.write_line(pytest_report_header())
