"""Detection in a frozen program: the weights, and the modules that `import facekd` loads only when they are used."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("facekd", subdir="weights")
hiddenimports = [
    "facekd.api",
    "facekd.drawing",
    "facekd.errors",
    "facekd.geometry",
    "facekd.markup",
    "facekd.runtime.batch",
    "facekd.runtime.detector",
    "facekd.runtime.face",
    "facekd.runtime.interop",
    "facekd.runtime.landmarker",
    "facekd.runtime.tracking",
    "facekd.shape",
]
