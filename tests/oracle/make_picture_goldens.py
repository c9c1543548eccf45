#!/usr/bin/env python3
"""Small pictures and what Pillow makes of them, into tests/data/pictures: NAME.png or .jpg, its pixels NAME.rgb (what is
transparent blended onto white as Chameleon's processor does), and some of them resampled by Lanczos, NAME-WIDTHxHEIGHT.rgb.

    make_picture_goldens.py [--check]

With --check, compares the stored files with what Pillow gives today.
"""
import io
import pathlib
import sys

import numpy
from PIL import Image

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "data" / "pictures"


def pixels(width, height, channels, seed):
    """Waves of every colour with an edge: smooth parts and sharp ones."""
    y, x = numpy.mgrid[:height, :width]
    out = numpy.stack([(128 + 127 * numpy.sin((3 + c) * x / width + seed * y / height + c)) for c in range(channels)], -1)
    out[height // 3:height // 2, width // 4:width // 2] = 255 * (seed % 2)
    return out.clip(0, 255).astype(numpy.uint8)


def stored(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def onto_white(image):
    rgba = numpy.array(image.convert("RGBA"))
    alpha = rgba[:, :, 3:] / 255.0
    return Image.fromarray(((1 - alpha) * 255 + alpha * rgba[:, :, :3]).astype("uint8"), "RGB")


def goldens():
    wide = Image.fromarray(pixels(37, 23, 3, 1), "RGB")
    clear = Image.fromarray(pixels(20, 30, 4, 2), "RGBA")
    grey = Image.fromarray(pixels(9, 9, 3, 3)[:, :, 0], "L")
    files = {"wide.png": stored(wide, "PNG"), "clear.png": stored(clear, "PNG"), "grey.png": stored(grey, "PNG"),
             "tall.jpg": stored(Image.fromarray(pixels(33, 50, 3, 5), "RGB"), "JPEG", quality=90)}
    tall = Image.open(io.BytesIO(files["tall.jpg"]))
    for name, image in (("wide", wide), ("clear", onto_white(clear)), ("grey", grey.convert("RGB")), ("tall", tall)):
        files[f"{name}.rgb"] = image.tobytes()
        for size in {"wide": [(24, 15), (50, 31), (37, 11), (20, 23)], "tall": [(16, 24)]}.get(name, []):
            files[f"{name}-{size[0]}x{size[1]}.rgb"] = image.resize(size, Image.Resampling.LANCZOS).tobytes()
    return files


def main():
    files = goldens()
    if "--check" in sys.argv:
        wrong = [name for name, data in files.items() if (FOLDER / name).read_bytes() != data]
        print("\n".join(f"{name} differs" for name in wrong) or f"{len(files)} files are what Pillow gives")
        return 1 if wrong else 0
    FOLDER.mkdir(exist_ok=True)
    for name, data in files.items():
        (FOLDER / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
