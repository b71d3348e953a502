"""Writes the files in this folder: small dicts of arrays as numpy and PaddlePaddle write them.

    python3 make.py        (needs numpy 2; it was run once, and the files are kept)

Element i of every array of floats, counted row-major, is i / 4 - 1. Element i of an array of integers is i.
"""

import collections
import pickle
import zipfile

import numpy as np


def values(shape, dtype="<f4"):
    count = int(np.prod(shape))
    return (np.arange(count) / 4 - 1).astype(dtype).reshape(shape)


def arrays():
    return {
        "row": values((2, 3)),
        "column": np.asfortranarray(values((3, 4))),
        "cube": np.asfortranarray(values((2, 3, 4))),
        "big": values((5,), ">f4"),
        "double": values((2, 2), "<f8"),
        "half": values((6,), "<f2"),
        "scalar": values(()),
        "empty": values((0, 3)),
        "steps": np.arange(3, dtype="<i8"),
        "flags": np.array([True, False]),
    }


for protocol in (2, 3, 4, 5):
    content = collections.OrderedDict(arrays()) if protocol == 3 else arrays()
    # What paddle.save adds for the layers of the imperative mode, and its (name, array) for a single tensor.
    content["linear.weight"] = values((3, 2))
    content["StructuredToParameterName@@"] = {"linear.weight": "linear_0.w_0"}
    content["pair"] = ("pair", values((4,)))
    content["epoch"] = 3
    content["rate"] = 0.25
    content["note"] = None
    content["list"] = [1, 2, -70000, 2**40, True]
    with open(f"arrays_protocol{protocol}.pickle", "wb") as file:
        pickle.dump(content, file, protocol=protocol)

np.savez("arrays.npz", **arrays())
np.savez_compressed("arrays_compressed.npz", **arrays())
with zipfile.ZipFile("arrays_versions.npz", "w") as archive:
    for version in (1, 2, 3):
        with archive.open(f"scope/version{version}.npy", "w") as file:
            np.lib.format.write_array(file, values((2, 3)), version=(version, 0))
    archive.writestr("notes.txt", "no array")
