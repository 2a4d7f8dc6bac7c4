"""Files come verified from every kind of source, or one line says what is wrong; nothing unfinished stays."""

import base64
import gzip
import hashlib
import http.server
import io
import lzma
import os
import pickle
import shutil
import tarfile
import threading
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import damaged, fuzz, raising, refusal, taken_or_named
from hypothesis import strategies as st
from torchvision.datasets import CIFAR100, MNIST

from oneshot.data.dataset import save_dataset
from oneshot.sources import fetch
from oneshot.sources.datasets import fetch_dataset

FOLDER = "cifar-100-python"
NAMES = ["apple", "aquarium_fish", "baby"]


def md5(content):
    return hashlib.md5(content).hexdigest()


def small_files():
    """Files as CIFAR-100's, of 6 training and 3 test images in 3 classes."""
    images = np.random.default_rng(0).integers(0, 256, (9, 3072), dtype=np.uint8)
    train = {"data": images[:6], "fine_labels": [2, 0, 1, 1, 0, 2], "coarse_labels": [0] * 6}
    test = {"data": images[6:], "fine_labels": [1, 2, 0], "coarse_labels": [0] * 3}
    contents = {"train": train, "test": test, "meta": {"fine_label_names": NAMES}}
    return {name: pickle.dumps(content, protocol=2) for name, content in contents.items()}


def tar(files, prefix=f"{FOLDER}/", odd=None):
    """An archive of plain files and, if given, after them one that is none: its name, kind and target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if odd:
            member = tarfile.TarInfo(odd[0])
            member.type, member.linkname = odd[1:]
            archive.addfile(member)
    return buffer.getvalue()


def gz(content):
    return gzip.compress(content, mtime=0)


GOOD = gz(tar(small_files()))


@pytest.fixture(autouse=True)
def small_cifar(monkeypatch):
    """torchvision's own tables, for the small files; its address leads nowhere."""
    files = small_files()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5(files["train"])]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5(files["test"])]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5(files["meta"])})
    monkeypatch.setattr(CIFAR100, "tgz_md5", md5(GOOD))
    monkeypatch.setattr(CIFAR100, "url", "http://127.0.0.1:9/cifar-100-python.tar.gz")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    """A mirror on this machine; a test says what it answers to which path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            started.asked.append(self.path)
            answers = started.answers
            answers[self.path](self) if self.path in answers else self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        started = SimpleNamespace(url=f"http://127.0.0.1:{listening.server_port}", answers={}, asked=[])
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield started
        listening.shutdown()
        thread.join()


def body(content, length=None):
    """An answer of `content`, announced as `length` bytes; -1: not announced."""

    def answer(request):
        request.send_response(200)
        if length != -1:
            request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content)

    return answer


def assert_is_small(dataset):
    for part in ("train", "test"):
        expected = pickle.loads(small_files()[part])
        images, labels = (getattr(dataset, f"{part}_{name}") for name in ("images", "labels"))
        assert images.shape[1:] == (32, 32, 3) and (images.dtype, labels.dtype) == (np.uint8, np.int64)
        assert np.array_equal(images.transpose(0, 3, 1, 2).reshape(-1, 3072), expected["data"])
        assert labels.tolist() == expected["fine_labels"]
    assert dataset.class_names == NAMES


def refused(raw, source, name="cifar100"):
    """The one line of a refusal that leaves nothing behind."""
    message = refusal(fetch_dataset, name, raw, None if source is None else str(source))
    assert fetch.SOURCE in message and not left_in(raw)
    return message


def left_in(raw):
    """What there is beside locks."""
    return [path.name for path in raw.glob("*") if path.suffix != ".lock"]


def test_every_source_gives_the_same_bytes(tmp_path, server):
    plain = tar(small_files())
    shuffled = tar(dict(reversed(small_files().items())), prefix=f"./{FOLDER}/")
    (tmp_path / "a.tar.gz").write_bytes(GOOD)
    (tmp_path / "b.tar.xz").write_bytes(lzma.compress(plain))
    (tmp_path / "renamed.zip").write_bytes(lzma.compress(plain))  # what counts is the content
    (tmp_path / "more.tar.gz").write_bytes(gz(tar({**small_files(), "file.txt~": b"note", "sub/train": b"other"})))
    (tmp_path / "shuffled.tar.gz").write_bytes(gz(shuffled))
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (tmp_path / "unpacked" / FOLDER).rename(tmp_path / "unpacked" / "any name")
    shutil.copytree(tmp_path / "unpacked" / "any name", tmp_path / "parent" / FOLDER)
    server.answers["/mirror.tar.xz"] = body(lzma.compress(plain))
    server.answers["/no-length.tar.gz"] = body(GOOD, length=-1)

    sources = sorted(str(path) for path in tmp_path.iterdir() if path.is_file())
    sources += [str(tmp_path / "unpacked" / "any name"), str(tmp_path / "parent")]
    sources += [f"{server.url}/mirror.tar.xz", f"{server.url}/no-length.tar.gz"]
    outputs = set()
    for number, source in enumerate(sources):
        dataset = fetch_dataset("cifar100", tmp_path / f"raw-{number}", source)
        assert_is_small(dataset)
        save_dataset(tmp_path / "dataset", dataset)
        outputs.add(tuple(path.read_bytes() for path in sorted((tmp_path / "dataset").iterdir())))
    assert len(sources) == 9
    assert len(outputs) == 1


def test_the_original_address_is_the_default_and_kept_files_are_verified_each_time(tmp_path, server, monkeypatch):
    monkeypatch.setattr(CIFAR100, "url", f"{server.url}/cifar.tar.gz")
    server.answers["/cifar.tar.gz"] = body(GOOD)
    for source in (None, "", None):  # empty means unset; the third finds the files of the first
        assert_is_small(fetch_dataset("cifar100", tmp_path / "raw", source))
    assert server.asked == ["/cifar.tar.gz"]
    kept = tmp_path / "raw" / FOLDER / "train"
    kept.write_bytes(kept.read_bytes()[:-1] + b"!")
    (tmp_path / f"raw/.{FOLDER}.99999999.unfinished").mkdir()  # what a killed run leaves
    assert_is_small(fetch_dataset("cifar100", tmp_path / "raw"))
    assert server.asked == ["/cifar.tar.gz"] * 2
    assert left_in(tmp_path / "raw") == [FOLDER] and {each.name for each in kept.parent.iterdir()} == set(small_files())
    # Good files of another archive.
    server.answers["/cifar.tar.gz"] = body(gz(tar({**small_files(), "file": b"x"})))
    assert f"expected {md5(GOOD)}" in refused(tmp_path / "other", None)


def test_of_two_downloads_at_once_the_second_waits_and_takes_the_files_of_the_first(tmp_path, server, capfd):
    begun, go = threading.Event(), threading.Event()

    def slow(request):
        begun.set()
        go.wait(20)
        body(GOOD)(request)

    server.answers["/slow"] = slow
    with ThreadPool(2) as pool:
        found = [pool.apply_async(fetch_dataset, ("cifar100", tmp_path / "raw", f"{server.url}/slow")) for _ in "ab"]
        begun.wait(20)
        told, end = "", time.monotonic() + 10
        while "lock: held by process" not in told and time.monotonic() < end:
            time.sleep(0.05)
            told += capfd.readouterr().err
        assert told.count("waiting until it ends") == 1
        go.set()
        for each in found:
            assert_is_small(each.get())
    assert server.asked == ["/slow"] and left_in(tmp_path / "raw") == [FOLDER]


def other(name):
    """The files, where one holds what must never be unpickled."""
    return {**small_files(), name: pickle.dumps(Trap())}


class Trap:
    def __reduce__(self):
        return (os.abort, ())


def without(name):
    return {key: content for key, content in small_files().items() if key != name}


PLAIN = tar(small_files())
WRONG = {
    "empty": (b"", "not a whole|train"),
    "a page": (b"<html>Not found</html>", "not a whole"),
    "damaged xz": (lzma.compress(PLAIN)[:2000] + b"!" + lzma.compress(PLAIN)[2001:], "not a whole"),
    "truncated tar": (gz(PLAIN[:15000]), "not a whole|train"),
    "another folder": (gz(tar(small_files(), prefix="cifar-10-batches-py/")), "train: "),
    **{
        f"train as {kind!r}": (gz(tar(without("train"), odd=(f"{FOLDER}/train", kind, "/etc/passwd"))), "train: ")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)
    },
    "train as folder": (gz(tar(without("train") | {"train/train": b""})), "train: "),
    "no meta": (gz(tar(without("meta"))), "meta: No such file"),
    **{f"other {name}": (gz(tar(other(name))), f"{name} has md5 {md5(other(name)[name])}") for name in small_files()},
    "a bomb": (gz(tar({"train": bytes(10**7)})), "unpacks to more than 1000000 bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_archive_is_refused_and_stays(tmp_path, server, monkeypatch, case):
    monkeypatch.setattr(fetch, "SIZE_LIMIT", 10**6)
    content, words = WRONG[case]
    source = tmp_path / "cifar-100-python.tar.gz"
    source.write_bytes(content)
    server.answers["/mirror"] = body(content)
    for place in (str(source), f"{server.url}/mirror"):
        message = refused(tmp_path / "raw", place)
        assert message.startswith(f"{place}: ") and any(word in message for word in words.split("|")), message
    assert source.read_bytes() == content


def test_of_an_archive_only_the_published_files_are_unpacked(tmp_path):
    outside = tar({"/tmp/oneshot-evil": b"x"} | {f"{FOLDER}/{name}": x for name, x in small_files().items()}, prefix="")
    links = [(f"{FOLDER}/{name}", tarfile.SYMTYPE, "/etc/passwd") for name in ("link", "train")]
    odd = [tar(small_files(), odd=each) for each in (*links, (f"{FOLDER}/null", tarfile.CHRTYPE, ""))]
    for number, content in enumerate((outside, tar({**small_files(), "../../evil": b"x"}), *odd)):
        (tmp_path / "archive.tar.gz").write_bytes(gz(content))
        raw = tmp_path / str(number)
        assert_is_small(fetch_dataset("cifar100", raw, str(tmp_path / "archive.tar.gz")))
        assert {path.name for path in (raw / FOLDER).iterdir()} == set(small_files())
    assert not list(tmp_path.rglob("evil")) and not Path("/tmp/oneshot-evil").exists()


def test_a_wrong_folder_is_refused_and_stays(tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir()
    for key, content in other("test").items():
        (folder / key).write_bytes(content)
    assert "test has md5" in refused(tmp_path / "raw", folder)
    (folder / "test").unlink()
    assert "test: No such file" in refused(tmp_path / "raw", tmp_path)
    assert len(list(folder.iterdir())) == 2


NOWHERE = ["/nowhere/cifar.tar.gz", "ftp://host/x", "s3://bucket/x", "/dev/zero", "a\nb", "~nobody-here/x", "x" * 5000]
NO_ADDRESS = ["http://", "http://[::1", "https://127.0.0.1:port/x", "http://a b/c", "http://ü..x/", "http://a@/x", None]


@pytest.mark.parametrize(
    ("words", "source"),
    [("no such file or folder", name) for name in NOWHERE] + [("cannot be read", name) for name in NO_ADDRESS],
)
def test_a_source_that_is_not_there(tmp_path, words, source):
    assert words in refused(tmp_path / "raw", source)


@fuzz(60, data=st.data())
def test_any_damage_ends_in_one_line(tmp_path, data):
    """Archives damaged at random places, compressed or inside: either refused, or their files are the right ones."""
    inside = data.draw(st.booleans())
    content = damaged(data, tar(small_files()) if inside else GOOD)
    (tmp_path / "damaged.tar.gz").write_bytes(gz(content) if inside else content)
    raw = tmp_path / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    found = taken_or_named("damaged", fetch_dataset, "cifar100", raw, str(tmp_path / "damaged.tar.gz"))
    assert_is_small(found) if found else None
    assert found or not left_in(raw)


def silent(request):
    body(GOOD[:100], length=len(GOOD))(request)
    time.sleep(0.5)


def locked(request):
    """Asks for the user `me` and the password `p/w`."""
    if request.headers["Authorization"] == f"Basic {base64.b64encode(b'me:p/w').decode()}":
        body(GOOD)(request)
    else:
        request.send_error(401, "Unauthorized")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "the server answers 404"),
        (locked, "the server answers 401"),
        (body(GOOD[:-9], length=len(GOOD)), "ended 9 bytes before the end"),
        (silent, "timed out"),
        (lambda request: request.wfile.write(b"220 mail server\r\n"), "cannot be read"),
        (body(bytes(10**6)), "more than 100000 bytes"),
    ],
)
def test_an_answer_that_is_not_the_archive(tmp_path, server, monkeypatch, answer, words):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.1)
    monkeypatch.setattr(fetch, "SIZE_LIMIT", 10**5)
    server.answers |= {"/x?token=secret": answer} if answer else {}
    message = refused(tmp_path / "raw", f"{server.url}/x?token=secret".replace("//", "//me:secret@"))
    assert f"{server.url}/x: " in message and words in message and "secret" not in message


def test_a_redirection_is_followed_without_the_password_of_its_own_server(tmp_path, server):
    def redirect(request):
        request.send_response(302)
        request.send_header("Location", f"{server.url.replace('127.0.0.1', 'localhost')}{request.path[3:]}")
        request.end_headers()

    server.answers |= {"/to/open": redirect, "/open": body(GOOD), "/to/locked": redirect, "/locked": locked}
    address = server.url.replace("//", "//me:p%2Fw@")
    for number, path in enumerate(("/to/open", "/locked")):
        assert_is_small(fetch_dataset("cifar100", tmp_path / f"raw-{number}", address + path))
    assert "the server answers 401" in refused(tmp_path / "raw", f"{address}/to/locked")


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize(("module", "name"), [(fetch, "open"), (tarfile, "copyfileobj")])
def test_stopped_during_the_download_or_while_unpacking(tmp_path, server, monkeypatch, module, name, stopped_by):
    server.answers["/good"] = body(GOOD)
    stop = raising(type(stopped_by)(*stopped_by.args))
    half = type("Half", (io.FileIO,), {"write": lambda self, content: super(half, self).write(content[:10]) and stop()})
    with monkeypatch.context() as patched, pytest.raises((KeyboardInterrupt, OSError)) as error:
        patched.setattr(module, name, half if name == "open" else stop, raising=False)
        fetch_dataset("cifar100", tmp_path / "raw", f"{server.url}/good")
    assert error.type is KeyboardInterrupt or error.value.filename == str(tmp_path / "raw" / FOLDER)
    assert not left_in(tmp_path / "raw")
    assert_is_small(fetch_dataset("cifar100", tmp_path / "raw", f"{server.url}/good"))


def idx(values):
    """An array of bytes in MNIST's file format."""
    return bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


def test_mnist_from_each_kind_of_source(tmp_path, server, monkeypatch):
    """Files as MNIST's, of 20 training and 10 test images, in torchvision's tables; its first mirror leads nowhere."""
    files = {}
    for (name, _), count in zip(MNIST.resources, (20, 20, 10, 10), strict=True):
        values = np.full((count, 28, 28), 7) if "images" in name else np.arange(count) % 10
        files[name] = gz(idx(values.astype(np.uint8)))
    monkeypatch.setattr(MNIST, "resources", [(name, md5(content)) for name, content in files.items()])
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/", f"{server.url}/mnist/"])
    server.answers |= {f"/mnist/{name}": body(content) for name, content in files.items()}
    (tmp_path / "mnist.tar.gz").write_bytes(gz(tar(files, prefix="mnist/")))
    for layout in ("plain", "torchvision/MNIST/raw"):
        (tmp_path / layout).mkdir(parents=True)
        for name, content in files.items():
            (tmp_path / layout / name).write_bytes(content)
    local = [str(tmp_path / name) for name in ("plain", "torchvision", "mnist.tar.gz")]
    for number, source in enumerate([*local, f"{server.url}/mnist", None]):
        found = fetch_dataset("mnist", tmp_path / f"raw-{number}", source)
        assert found.train_images.shape == (20, 28, 28, 1) and found.test_images.shape == (10, 28, 28, 1)
        assert found.train_images.dtype == np.uint8 and found.train_labels.dtype == np.int64
        assert found.train_labels.tolist() == [*range(10)] * 2 and found.class_names[7] == "seven"
    fetch_dataset("mnist", tmp_path / "raw-4", "http://127.0.0.1:9/")  # kept, verified, and not fetched again
    name = min(files)
    (tmp_path / "plain" / name).write_bytes(files[name] + b"x")
    server.answers[f"/mnist/{name}"] = body(gz(b"something else"))
    assert f"{name} has md5" in refused(tmp_path / "raw", tmp_path / "plain", "mnist")
    assert "the file has md5" in refused(tmp_path / "raw", None, "mnist")
    assert (tmp_path / "plain" / name).exists()
