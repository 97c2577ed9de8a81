"""A C program that reads digits: a net is trained, written as a header, compiled with gcc and asked from the outside.

`fm.export.c` writes one file with all weights and one function a question. The program below includes it, needs no
library but libm, allocates nothing for the net, and answers as `fm.predict` does.

    python examples/c_program.py          needs gcc, and the extra sklearn: pip install -e '.[sklearn]'
"""

import argparse
import subprocess
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastmlp as fm

PROGRAM = """
#include <stdio.h>
#include "digits.h"

/* reads pictures of 8 by 8 bytes, and prints the digit of each and how sure the net is */
int main(void) {
    unsigned char bytes[digits_FEATURES];
    float x[digits_FEATURES], p[digits_OUTPUTS];
    int i;
    while (fread(bytes, 1, sizeof bytes, stdin) == sizeof bytes) {
        int64_t digit;
        for (i = 0; i < digits_FEATURES; i++) x[i] = bytes[i];
        digit = digits_predict(x);
        digits_proba(x, p);
        printf("%d %.9g\\n", (int)digit, (double)p[digit]);
    }
    return 0;
}
"""


def main() -> None:
    """Train, export, compile, ask, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="where header and program go")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)

    images, labels = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(images.astype(np.uint8), labels, stratify=labels, random_state=0)
    fm.manual_seed(0)
    model = fm.nn.MLP(64, (64,), 10)
    fm.fit(model, fm.Dataset(X, y, scale=1 / 16), epochs=30, progress=False)

    fm.export.c(model, folder / "digits.h", scale=1 / 16)  # the scale that it was trained with
    (folder / "digits.c").write_text(PROGRAM)
    program = folder / "digits"
    options = ["-std=c99", "-O3", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    subprocess.run(["gcc", *options, folder / "digits.c", "-o", program, "-lm"], check=True)

    start = time.perf_counter()
    said = subprocess.run([program.resolve()], input=X_test.tobytes(), capture_output=True, check=True).stdout
    seconds = time.perf_counter() - start
    answers = np.array(said.split(), float).reshape(-1, 2)

    z = fm.Predictor(model, scale=1 / 16)(X_test).astype(np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    sure = (p / p.sum(axis=1, keepdims=True)).max(axis=1)
    print(f"header {(folder / 'digits.h').stat().st_size // 1024} KiB, program {program.stat().st_size // 1024} KiB")
    print(f"{len(X_test)} new digits in {1000 * seconds:.0f} ms, start and end of the program in it")
    print(f"accuracy {np.mean(answers[:, 0] == y_test):.1%}")
    print(f"other answers than fm.predict: {np.sum(answers[:, 0] != fm.predict(model, X_test, scale=1 / 16))}")
    print(f"largest difference of a probability: a part of {np.abs(answers[:, 1] / sure - 1).max():.1e}")


if __name__ == "__main__":
    main()
