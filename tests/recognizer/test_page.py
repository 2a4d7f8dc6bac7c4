"""The page of `oneshot page`, in a real browser and by plain requests."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from urllib.parse import quote

import numpy as np
import pytest
from helpers import ROOT

from oneshot.recognizer import Gallery, Recognizer, cli

KNOWN, NEW = ROOT / "examples/known", ROOT / "examples/new"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
OWN = "http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def port():
    """Where the page is served meanwhile; Ctrl-C then ends it quietly."""
    command = [sys.executable, "-m", "oneshot", "page", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout and server.stderr
        address = server.stdout.readline()
        port = int(address.partition("127.0.0.1:")[2].partition("/")[0])
        yield port
        with socket.create_connection(("127.0.0.1", port)) as unfinished:
            head = f"POST /embed?name=x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: {OWN.format(port=port)}\r\n"
            unfinished.sendall(f"{head}Content-Length: 9\r\n\r\nabc".encode())
            assert answer(port, "/")[0] == 200
            server.send_signal(signal.SIGINT)
            assert (server.wait(60), server.stdout.read(), server.stderr.read()) == (0, "", "")


def answer(port, path, body=None, **headers):
    """Status, text and headers of what the server answers; a POST comes from its own page unless `headers` differ."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Origin": OWN} | headers if body is not None else headers
    sent = {name: value.format(port=port) for name, value in headers.items()}
    connection.request("GET" if body is None else "POST", path, body, sent)
    response = connection.getresponse()
    return response.status, response.read().decode(), response.headers


def test_vectors_and_verdicts_are_those_of_the_recognizer(port):
    pictures, recognizer = [KNOWN / "wolf.png", NEW / "wolf.png", NEW / "worm.png"], Recognizer()
    texts = [json.loads(answer(port, "/embed?name=x", path.read_bytes())[1])["vector"] for path in pictures]
    vectors = np.frombuffer(bytes.fromhex("".join(texts)), np.float32).reshape(3, -1)
    np.testing.assert_allclose(vectors, recognizer.embed(pictures), atol=1e-6)
    found = json.loads(answer(port, "/verify", json.dumps(texts[:2]).encode())[1])
    verdict = recognizer.verify(*pictures[:2])
    assert found["told"] == cli.told(verdict) and found["different"][0] == found["alike"][0] == 1
    assert {key: found[key] for key in asdict(verdict)} == pytest.approx(asdict(verdict), abs=1e-6)
    asked = {"pictures": texts[:1], "enrolled": texts[1:], "names": ["wolf", "worm"]}
    (match,) = json.loads(answer(port, "/classify", json.dumps(asked).encode())[1])
    assert match["nearest"] == "wolf" and match["rows"] == [0, 1]
    assert match["score"] == pytest.approx(match["cosines"][0]) == pytest.approx(verdict.similarity)
    assert answer(port, "/verify", b"odd")[:2] == (400, "JSONDecodeError: Expecting value: line 1 column 1 (char 0)")


def test_what_no_picture_is_gets_the_words_of_the_command_line_and_its_own_name(port, run, tmp_path):
    for name, content in (("two\nlines.png", b"no picture"), ("große.png", bytes(2**26 + 2)), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        told = run("verify", tmp_path / name, NEW / "wolf.png", model="meta")[2].replace(f"{tmp_path}/", "")
        status, text, _ = answer(port, f"/embed?name={quote(name)}", content)
        assert status == 400 and f"error: {text}\n" == told


def test_nothing_is_kept_or_loaded_from_elsewhere(port):
    status, text, headers = answer(port, "/")
    assert status == 200 and "<h1>oneshot</h1>" in text and headers["Cache-Control"] == "no-store"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy and "*" not in policy


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (None, {"Host": "localhost:{port}"}, 200),
        (None, {"Host": "example.org:{port}"}, 403),  # a name that points here by now
        (None, {"Host": "127.0.0.1:1"}, 403),
        (b"", {"Origin": "http://example.org"}, 403),
        (b"", {"Origin": "null"}, 403),
        (b"", {"Origin": "http://localhost:{port}"}, 403),
        (b"", {"Origin": "http://example.org:{port}", "Host": "example.org:{port}"}, 403),
    ],
)
def test_other_sites_are_refused(port, body, headers, status):
    assert answer(port, "/" if body is None else "/embed?name=x", body, **headers)[0] == status


def test_other_machines_do_not_reach_it(port):
    with socket.socket() as caller, pytest.raises(OSError):
        caller.connect(("127.0.0.2", port))  # it would, were the page served at all addresses


@pytest.mark.parametrize("number", [None, 70000, -1])  # None: one that is taken
def test_a_port_that_cannot_be_had_is_named(run, number):
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = number or other.getsockname()[1]
        code, _, err = run("page", "--no-browser", f"--port={number}")
    assert code == 2 and err.startswith(f"error: --port: found {number} (") and err.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "oneshot.recognizer.page", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run("page") == (2, "", "error: oneshot page needs the extra `page`: pip install 'oneshot[page]'\n")


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
def test_in_a_browser(port, tmp_path):
    """Two pictures are compared; some are remembered, others named; a broken one is told; a camera takes a still."""
    playwright = pytest.importorskip("playwright.sync_api")
    recognizer, of = Recognizer(), ["wolf", "turtle", "tulip"]
    told = cli.told(recognizer.verify(KNOWN / "wolf.png", NEW / "wolf.png"))
    gallery = Gallery.of(of, recognizer.embed([KNOWN / f"{one}.png" for one in of]), recognizer.name)
    queries = [NEW / f"{one}.png" for one in ("turtle", "tulip", "woman", "wolf")]
    matches = recognizer.classify(queries, gallery)
    odd = tmp_path / "<img src=x onerror=alert(1)>.png"
    odd.write_bytes(b"no picture")
    with playwright.sync_playwright() as program:
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and not os.geteuid() else []
        browser = program.chromium.launch(executable_path=CHROMIUM, args=[*root, *CAMERA])
        page, requests, errors = browser.new_page(viewport={"width": 360, "height": 800}), [], []
        page.set_default_timeout(120_000)
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(f"http://127.0.0.1:{port}/")

        compare, remember, name = (page.get_by_role("region", name=words) for words in ("Same", "Remember", "What"))
        compare.get_by_label("First picture").set_input_files(KNOWN / "wolf.png")
        drop = """async (area, bytes) => {
            const data = new DataTransfer()
            data.items.add(new File([new Uint8Array(bytes)], "wolf.png"))
            area.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}))
        }"""
        compare.locator("label").nth(1).evaluate(drop, list((NEW / "wolf.png").read_bytes()))
        compare.get_by_role("img", name="This pair").get_by_text("this pair 0.").wait_for()
        assert compare.locator("#verdict > p").all_text_contents()[:2] == told.split("\n")

        remember.get_by_label("Pictures").set_input_files([KNOWN / "wolf.png", KNOWN / "turtle.png"])
        remember.get_by_label("Name").fill("my tulip")
        remember.get_by_label("Pictures").set_input_files(KNOWN / "tulip.png")
        remember.get_by_role("listitem").nth(2).wait_for()
        assert remember.locator("b").all_inner_texts() == ["wolf", "turtle", "my tulip"]
        name.get_by_label("Pictures").set_input_files(queries)
        name.get_by_role("listitem").nth(3).wait_for()
        expected = [match.name or "unknown" for match in matches]
        assert [text.removeprefix("my ") for text in name.locator("b, i").all_inner_texts()] == expected
        nearest = name.locator("figure:first-of-type img").evaluate_all("pictures => pictures.map(one => one.alt)")
        assert nearest == [f"{match.nearest}.png" for match in matches]
        remember.get_by_role("button", name="Remove wolf").click()
        remember.get_by_text("wolf").wait_for(state="detached")
        assert remember.locator("b").all_inner_texts() == ["turtle", "my tulip"]

        name.get_by_label("Pictures").set_input_files(odd)
        name.get_by_text(f"{odd.name}: not a picture that can be read (none of PNG").wait_for()
        compare.get_by_role("button", name="Camera").first.focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Take picture").click()
        compare.get_by_role("img", name="camera.png").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 360  # nothing sticks out of a narrow window
        browser.close()
    own = (f"http://127.0.0.1:{port}/", "blob:", "data:")
    assert not errors and len(requests) > 10 and all(url.startswith(own) for url in requests)
