"""The command `oneshot`: trained networks at work on people's own pictures."""

from __future__ import annotations

import argparse
import glob
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

from oneshot.common.errors import UserError, printable
from oneshot.common.files import new_file, write_bytes, write_text
from oneshot.common.stage import Parser, run_stage
from oneshot.recognizer.gallery import Gallery, gallery_pictures
from oneshot.recognizer.onnx_file import run_export
from oneshot.recognizer.recognizer import UNSEEN, Recognizer, Verdict
from oneshot.sources.pictures import find_pictures

SAME, DIFFERENT, FAILED = 0, 1, 2

ABOUT = """\
Recognise things from one picture, with a network that never saw their class in training.

  oneshot verify cup.jpg photo.jpg             do both show the same class of thing?
  oneshot enroll known/ --gallery known.safetensors    remember classes: known/cup/1.jpg, known/pen/1.jpg, ...
  oneshot classify new/*.jpg --gallery known.safetensors    what does each picture show, of these?
  oneshot gallery --gallery known.safetensors --remove cup    list the classes, remove or rename one
  oneshot evaluate mine/                       how well does the network tell apart: mine/cup/1.jpg, mine/cup/2.jpg, ...
  oneshot calibrate mine/ --fpr 0.01           the threshold that suits these, for `--threshold threshold.json`
  oneshot embed new/ --output vectors.npy      the vectors themselves, a row a picture
  oneshot export --onnx meta.onnx              the network as a file that runs without PyTorch
  oneshot page                                 compare and name pictures in the browser

A picture is a PNG, JPEG, WebP, GIF, BMP, TIFF, PPM or AVIF; its central square is looked at, in 32 x 32 pixels.
So the thing should fill the picture, as in CIFAR-100, which the networks were trained on."""

CODES = """\
exit codes: 0 done (verify: same class), 1 verify: different classes, 2 a mistake, or a picture that cannot be read"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; ends the program with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what the terminal cannot show
    options = parser().parse_args(arguments)
    unread = FAILED if options.run is run_verify else 0  # its codes are verdicts
    run_stage(lambda: options.run(options), unread, command=True)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    options: dict[str, dict[str, Any]] = {
        "first": {"metavar": "PICTURE"},
        "second": {"metavar": "PICTURE"},
        "folder": {"metavar": "FOLDER", "help": "with a folder of pictures for each class; enroll: or a picture each"},
        "pictures": {"metavar": "PICTURE", "nargs": "+", "help": "a file, a folder, or a pattern in quotes"},
        "--model": {"default": "meta", "help": "classic, meta, large, or the path of a model file (default: meta)"},
        "--gallery": {"metavar": "FILE", "default": "gallery.safetensors", "help": "default: gallery.safetensors"},
        "--json": {"action": "store_true", "help": "print JSON"},
        "--port": {"type": int, "default": 0, "help": "of 127.0.0.1 (default: a free one)"},
        "--no-browser": {"dest": "browser", "action": "store_false", "help": "print the address, and no more"},
        "--onnx": {"metavar": "FILE", "required": True, "help": "where to, a new file"},
        "--output": {"metavar": "FILE", "default": "vectors.npy", "help": "where to (default: %(default)s)"},
        "--new": {"action": "store_true", "help": "forget what the gallery holds, rather than add to it"},
        "--remove": {"metavar": "NAME", "nargs": "+", "default": [], "help": "classes"},
        "--rename": {"metavar": ("OLD", "NEW"), "nargs": 2, "help": "a class"},
        "--threshold": {"metavar": "T", "help": "in place of the network's: -1..1, or a file of `oneshot calibrate`"},
        "--false-alarms": {"metavar": "RATE", "type": float, "help": "wished share of strangers that are named, 0..1"},
        "--fpr": {"metavar": "RATE", "type": float, "help": "wished rate of false positives (default: least errors)"},
        "--plot": {"metavar": "FILE", "help": "draw the ROC curve: a new .svg or .png"},
    }
    top = Parser("oneshot", description=ABOUT, epilog=CODES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, run, words, own in (
        ("verify", run_verify, "say whether two pictures show the same class", "first second --threshold --json"),
        ("enroll", run_enroll, "remember classes from one or a few pictures of each", "folder --gallery --new"),
        ("gallery", run_gallery, "list enrolled classes, remove or rename some", "--gallery --remove --rename --json"),
        ("classify", run_classify, "name what pictures show, of the enrolled classes",
         "pictures --gallery --threshold --false-alarms --json"),
        ("evaluate", partial(run_measured, "run_evaluate"), "measure a network on pictures of one's own",
         "folder --threshold --json"),
        ("calibrate", partial(run_measured, "run_calibrate"), "find the threshold that suits pictures of one's own",
         "folder --fpr --output --plot"),
        ("embed", run_embed, "write the vectors of pictures as npy, their paths beside them", "pictures --output"),
        ("export", run_export, "write a network in ONNX, which runs without PyTorch", "--onnx"),
        ("page", run_page, "open a page in the browser that compares and names pictures", "--port --no-browser"),
    ):  # fmt: skip
        command = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.", epilog=CODES)
        for option in (*own.split(), "--model"):
            if option != "--model" or run is not run_gallery:
                command.add_argument(option, **options[option])
        command.set_defaults(run=run)
    commands.choices["calibrate"].set_defaults(output="threshold.json", threshold=None)
    return top


def run_verify(options: argparse.Namespace) -> int:
    """`oneshot verify`: exit code 0 for the same class, 1 for different ones."""
    verdict = Recognizer(options.model, options.threshold).verify(options.first, options.second)
    if options.json:
        print(json.dumps(asdict(verdict)))
    else:
        print(told(verdict))
    return SAME if verdict.same else DIFFERENT


def told(verdict: Verdict) -> str:
    """A verdict in two lines."""
    share, rate = (_percent(each, verdict.finest) for each in (verdict.share_as_similar, verdict.false_positive_rate))
    return (
        f"{'same class' if verdict.same else 'different classes'}: similarity {verdict.similarity:.3f}, "
        f"{'at least' if verdict.same else 'below'} the threshold {verdict.threshold:.3f}\n"
        f"{share} of pairs of different {verdict.classes} are at least this alike, and {rate} reach the threshold."
    )


def _percent(share: float, finest: float) -> str:
    """A share of 1, to two digits; one that is too small to tell from so many pairs is not called 0."""
    least = max(finest, 0.0001)
    return f"{100 * share:.2g} %" if share >= least else f"Less than {100 * least:.2g} %"


def run_enroll(options: argparse.Namespace) -> int:
    """`oneshot enroll`: broken pictures are named and left out; a class with none left is a mistake."""
    recognizer, known = Recognizer(options.model), None
    if os.path.exists(options.gallery):
        known = Gallery.load(options.gallery)  # another file is not overwritten
        if options.new:
            known = None
        else:
            recognizer.check(known, options.gallery)
    classes, found, vectors = in_folder(recognizer, options.folder)
    if lost := set(classes).difference(found):
        raise UserError(f"{options.folder}: class {min(lost)} has no picture that can be read")
    added = Gallery.of(found, vectors, recognizer.name)
    gallery = known.joined(added) if known else added
    gallery.save(options.gallery)
    counts = ", ".join(f"{name} ({count})" for name, count in zip(added.names, added.counts, strict=True))
    print(f"{options.gallery}: {len(gallery.names)} classes; added, in brackets the pictures: {counts}")
    return FAILED if len(found) < len(classes) else 0


def run_gallery(options: argparse.Namespace) -> None:
    """`oneshot gallery`: lists it, after the changes asked for."""
    gallery = before = Gallery.load(options.gallery)
    for name in options.remove:
        gallery = gallery.without(printable(name))
    if options.rename:
        gallery = gallery.renamed(*map(printable, options.rename))
    if gallery is not before:
        gallery.save(options.gallery)
    counts = dict(zip(gallery.names, gallery.counts.tolist(), strict=True))
    lines = (f"{count:6}  {printable(name)}" for name, count in counts.items())
    print(json.dumps(counts, indent=2) if options.json else "\n".join(lines))


def run_classify(options: argparse.Namespace) -> int:
    """`oneshot classify`: a line for each picture; broken ones are named and left out."""
    recognizer, gallery = Recognizer(options.model, options.threshold), Gallery.load(options.gallery)
    recognizer.check(gallery, options.gallery)
    threshold = recognizer.threshold
    if options.false_alarms is not None:
        threshold = recognizer.strict_threshold(options.false_alarms, len(gallery.names))
        if options.threshold and recognizer.classes == UNSEEN:
            raise UserError(f"--threshold: found {options.threshold}; must be a file, or absent, with --false-alarms")
    paths, vectors, failed = _embedded(recognizer, expand(options.pictures))
    matches = gallery.match(vectors, threshold)
    if options.json:
        rows = [{"picture": str(path)} | asdict(match) for path, match in zip(paths, matches, strict=True)]
        print(json.dumps(rows, indent=2))
    else:
        shown = [printable(path) for path in paths]
        width = max(map(len, shown), default=0)
        for path, match in zip(shown, matches, strict=True):
            named = match.name or f"unknown (nearest: {match.nearest})"
            print(f"{path:{width}}  {match.score:6.3f}  {printable(named)}")
        if matches:
            print(f"Score: mean similarity to a class's pictures; unknown below {threshold:.3f}", file=sys.stderr)
    return FAILED if failed else 0


def run_embed(options: argparse.Namespace) -> int:
    """`oneshot embed`: FILE.npy (N, D) float32 unit vectors, and FILE.txt with the path of each row, escaped."""
    output = new_file("--output", options.output, ".npy")
    names = new_file("--output", output.with_suffix(".txt"), ".txt")
    paths, vectors, failed = _embedded(Recognizer(options.model), expand(options.pictures))
    if not paths:
        raise UserError("no picture could be read")
    buffer = io.BytesIO()
    np.save(buffer, vectors)
    write_bytes(output, buffer.getvalue())
    write_text(names, "".join(f"{printable(path)}\n" for path in paths))
    print(f"{output}: {len(vectors)} vectors; {names}: their pictures")
    return FAILED if failed else 0


def run_page(options: argparse.Namespace) -> int:
    """`oneshot page`."""
    try:
        from oneshot.recognizer.page import serve
    except ImportError:
        raise UserError("oneshot page needs the extra `page`: pip install 'oneshot[page]'") from None
    return serve(options)


def expand(patterns: Sequence[str]) -> list[Path]:
    """The pictures that files, folders and patterns stand for, each once, in order; none may stand for nothing."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        if os.path.isdir(pattern):
            paths = find_pictures(pattern)
        elif os.path.exists(pattern) or not glob.has_magic(pattern):
            paths = [Path(pattern)]
        else:
            matched = sorted(Path(path) for path in glob.glob(pattern, recursive=True))
            paths = [file for path in matched for file in (find_pictures(path) if os.path.isdir(path) else [path])]
        if not paths:
            raise UserError(f"{pattern}: no pictures there")
        found |= dict.fromkeys(paths)
    return list(found)


def in_folder(recognizer: Recognizer, folder: str) -> tuple[list[str], list[str], np.ndarray]:
    """The classes of all pictures in a folder, then those of the P pictures that can be read, with vectors (P, D)."""
    classes = gallery_pictures(folder)
    paths, vectors, _ = _embedded(recognizer, list(classes))
    return list(classes.values()), [classes[path] for path in paths], vectors


def run_measured(name: str, options: argparse.Namespace) -> int:
    """A command of `measured`, which loads scipy: the others do without."""
    from oneshot.recognizer import measured

    return getattr(measured, name)(options)


def _embedded(recognizer: Recognizer, paths: Sequence[Path]) -> tuple[list[Path], np.ndarray, int]:
    """The N pictures that can be read, their vectors (N, D), and how many cannot be: those are named on the way."""
    vectors: dict[Path, np.ndarray] = {}
    with tqdm(total=len(paths), unit="picture", disable=None if len(paths) > 100 else True) as bar:
        for path, result in recognizer.embed_each(paths):
            bar.update()
            if isinstance(result, UserError):
                bar.write(f"error: {printable(result)}", file=sys.stderr)
            else:
                vectors[path] = result
    rows = np.array(list(vectors.values()), dtype=np.float32).reshape(-1, recognizer.network.dimensions)
    return list(vectors), rows, len(paths) - len(vectors)


if __name__ == "__main__":  # else that would end in 0, which for `verify` means the same class
    main()
