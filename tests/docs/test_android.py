"""The Java of the page on Android, compiled, beside Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from facekd.geometry import BoxTransform, Crops, crop_matrix

JAVA = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "android" / "FaceCrop.java"
MAIN = """
public class Main {
    public static void main(String[] text) {
        double[] v = new double[text.length];
        for (int i = 0; i < v.length; i++) v[i] = Double.parseDouble(text[i]);
        FaceCrop crop = new FaceCrop(new double[] {v[0], v[1], v[2], v[3]}, v[4], v[5], v[6], v[7], (int) v[8]);
        for (double each : crop.matrix()) System.out.println(each);
        for (double each : crop.toPhoto(new float[][] {{0, 0}, {100.5f, 20.25f}})[1]) System.out.println(each);
    }
}
"""


@pytest.mark.slow
def test_the_java_of_the_page_cuts_as_python_does(tmp_path: Path) -> None:
    javac = shutil.which("javac")
    if javac is None:
        pytest.skip("no javac on this machine")
    (tmp_path / "Main.java").write_text(MAIN)
    subprocess.run([javac, "-d", str(tmp_path), str(JAVA), str(tmp_path / "Main.java")], check=True)
    box, transform, scale, size = np.array([100.5, 50, 180, 170.25]), BoxTransform(1.1, 0.02, 0.15), 1.25, 112
    values = [*box, transform.scale, transform.shift_x, transform.shift_y, scale, size]
    command = ["java", "-cp", str(tmp_path), "Main", *map(str, values)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = np.array(printed.split(), float)

    matrix = crop_matrix(transform.apply(box[None]), size, scale)
    np.testing.assert_allclose(found[:6], matrix.ravel(), rtol=0, atol=1e-9)
    crops = Crops(np.zeros((1, size, size, 3), np.uint8), matrix)
    np.testing.assert_allclose(found[6:], crops.to_photo(np.array([[[100.5, 20.25]]])).ravel(), rtol=0, atol=1e-9)
