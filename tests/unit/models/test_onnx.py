"""The onnx embedder: its guarantees, what it refuses, and how it gets a model."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

try:
    import huggingface_hub  # noqa: F401
    import onnxruntime  # noqa: F401
    import tokenizers  # noqa: F401
except ImportError:
    if os.environ.get("CI") == "true":
        raise
    pytest.skip("needs the extra onnx", allow_module_level=True)

import palimp
from palimp.clock import ManualClock
from palimp.errors import Unavailable, Unconfigured
from palimp.models import onnx
from palimp.models.onnx import OnnxEmbedder

from .tiny_onnx import (
    FLOAT,
    INT64,
    NUMBERS,
    WORDS,
    folder,
    no_token_vectors,
    rounded_token_vectors,
    table,
    token_vectors,
)

TEXTS = [
    "the cat slept",
    "a dog chased the cat far too far",
    "far",
    "the dog",
    "a question : the text",
    "too far too far too far too far too far",
]


@pytest.fixture
def embedder(tmp_path: Path) -> OnnxEmbedder:
    return OnnxEmbedder(str(folder(tmp_path / "tiny")))


def vectors(text: str, *, markers: bool = True) -> Any:
    """The table's rows for the words of a text, as the model gives them."""
    words = ["[CLS]", *text.split(), "[SEP]"] if markers else text.split()
    return table()[[WORDS.index(word) for word in words]]


def unit(row: Any) -> Any:
    return row / np.linalg.norm(row)


# What it gives


def test_describes_itself(embedder: OnnxEmbedder) -> None:
    assert re.fullmatch(r"onnx:tiny#[0-9a-f]{8}/8", embedder.name)
    assert embedder.dimensions == 8
    assert embedder.local is False
    assert embedder.egress == "none"
    assert embedder.of(embedder.name) is embedder
    assert embedder.of("onnx:tiny#00000000/8") is None


@pytest.mark.parametrize(
    ("pooling", "by_hand"),
    [
        ({"pooling_mode_mean_tokens": True}, lambda rows: rows.mean(axis=0)),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, lambda rows: rows[0]),
        ({"pooling_mode_max_tokens": True}, lambda rows: rows.max(axis=0)),
        ({"pooling_mode": "max", "word_embedding_dimension": 8}, lambda rows: rows.max(axis=0)),
    ],
    ids=["mean", "cls", "max", "one word"],
)
def test_tokens_become_one_as_the_folder_says(tmp_path: Path, pooling: Any, by_hand: Any) -> None:
    rows = OnnxEmbedder(str(folder(tmp_path / "tiny", pooling=pooling))).embed(TEXTS[:4])
    assert rows.dtype == np.float32
    for row, text in zip(rows, TEXTS, strict=False):
        assert row == pytest.approx(unit(by_hand(vectors(text))), abs=1e-6)


def test_no_texts_give_no_rows_and_one_text_has_to_be_in_a_list(embedder: OnnxEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 8)
    with pytest.raises(TypeError, match="put a single text into a list"):
        embedder.embed("the cat")


def test_a_long_text_is_cut_where_the_folder_says(embedder: OnnxEmbedder) -> None:
    # 12 tokens, two of which are markers.
    long = "the cat slept far far far far a dog the chased chased chased"
    rows = embedder.embed([long, " ".join(long.split()[:10]), " ".join(long.split()[:9])])
    assert rows[0] == pytest.approx(rows[1], abs=1e-6)
    assert rows[0] != pytest.approx(rows[2], abs=1e-6)


@pytest.mark.parametrize("text", ["", " \t\n", "\ud800", "zebra", "🙂", "\x00\u200b"])
def test_a_text_without_a_known_word_is_zero_and_disturbs_none(
    embedder: OnnxEmbedder, text: str
) -> None:
    rows = embedder.embed(["the cat", text, "a dog"])
    assert not rows[1].any()
    assert np.array_equal(rows[[0, 2]], embedder.embed(["the cat", "a dog"]))


def test_markup_in_a_text_is_text(embedder: OnnxEmbedder) -> None:
    row = embedder.embed(["cat [PAD] dog"])[0]
    # The word between the brackets is unknown; the marker would have another vector.
    rows = vectors("cat [ [UNK] ] dog")
    assert row == pytest.approx(unit(rows.mean(axis=0)), abs=1e-6)


def test_a_vector_does_not_depend_on_its_batch(embedder: OnnxEmbedder) -> None:
    texts = TEXTS * 40  # more than one run
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together - embedder.embed(texts[::-1])[::-1]).max() < 1e-5


def test_not_even_where_the_model_rounds_by_the_whole_batch(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(str(folder(tmp_path / "tiny", rounded_token_vectors(table()))))
    together = embedder.embed(TEXTS)
    assert np.array_equal(together, np.concatenate([embedder.embed([text]) for text in TEXTS]))


def test_questions_have_the_prompt_of_the_model(tmp_path: Path) -> None:
    prompts = {"query": "question : ", "passage": "text : "}
    plain = OnnxEmbedder(str(folder(tmp_path / "plain")))
    told = OnnxEmbedder(str(folder(tmp_path / "told", prompts=prompts)))
    assert np.array_equal(plain.embed(["far"]), plain.embed(["far"], query=True))
    assert np.allclose(told.embed(["far"]), plain.embed(["text : far"]), atol=1e-6)
    assert np.allclose(told.embed(["far"], query=True), plain.embed(["question : far"]), atol=1e-6)
    # The words of the prompt are not those of the text.
    assert not told.embed(["", "zebra"], query=True).any()


def test_letters_are_made_small_where_the_folder_says(tmp_path: Path) -> None:
    plain = OnnxEmbedder(str(folder(tmp_path / "plain")))
    small = OnnxEmbedder(str(folder(tmp_path / "small", sentence={"do_lower_case": True})))
    assert not plain.embed(["CAT"]).any()
    assert np.allclose(small.embed(["CAT"]), plain.embed(["cat"]), atol=1e-6)


def test_token_types_are_given_to_a_model_that_asks(tmp_path: Path) -> None:
    model = token_vectors(table(), {**NUMBERS, "token_type_ids": INT64})
    asking = OnnxEmbedder(str(folder(tmp_path / "asking", model)))
    plain = OnnxEmbedder(str(folder(tmp_path / "plain")))
    assert np.array_equal(asking.embed(TEXTS), plain.embed(TEXTS))


def test_threads_share_one_model_and_get_the_same_vectors(tmp_path: Path) -> None:
    path = str(folder(tmp_path / "tiny"))
    embedders = [OnnxEmbedder(path) for _ in range(8)]
    expected = OnnxEmbedder(path).embed(TEXTS)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda one=one: found.extend(one.embed(TEXTS) for _ in range(20)))
        for one in embedders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert all(np.array_equal(rows, expected) for rows in found)
    assert len({id(one._model()) for one in embedders}) == 1


def test_the_model_goes_with_its_last_embedder(tmp_path: Path) -> None:
    one, other = (OnnxEmbedder(str(folder(tmp_path / "tiny"))) for _ in range(2))
    model = weakref.ref(one._model())
    assert other._model() is model()
    del one
    gc.collect()
    assert model() is not None
    del other
    gc.collect()
    assert model() is None


def test_construction_imports_nothing_and_asks_nothing() -> None:
    code = (
        "import sys; from palimp.models.onnx import OnnxEmbedder; OnnxEmbedder('no/such');"
        "print({'onnxruntime', 'tokenizers', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_embeds_and_ends(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from palimp.models.onnx import OnnxEmbedder\n"
        "embedder = OnnxEmbedder(sys.argv[1])\n"
        "embedder.embed(['the cat'])\n"
        "child = os.fork()\n"
        "os.write(1, embedder.embed(['a dog']).tobytes().hex().encode() + b'\\n')\n"
        "if child:\n"
        "    os.waitpid(child, 0)\n"
    )
    path = str(folder(tmp_path / "tiny"))
    done = quiet_process(code, path)
    expected = OnnxEmbedder(path).embed(["a dog"]).tobytes().hex()
    assert done.splitlines() == [expected, expected]


def test_the_runtime_tells_its_maker_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from palimp.models.onnx import OnnxEmbedder\n"
        "OnnxEmbedder(sys.argv[1]).embed(['the cat'])\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], len(os.listdir('/proc/self/task')))\n"
    )
    if not Path("/proc/self/task").exists():
        pytest.skip("counts threads in /proc")
    # The thread that sends is started when the runtime is imported.
    assert quiet_process(code, str(folder(tmp_path / "tiny"))) == "1 1\n"


def quiet_process(code: str, *arguments: str) -> str:
    """Run a program in which nothing but it starts threads, and nothing of CI's is set."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**kept, "OPENBLAS_NUM_THREADS": "1"},
    )
    return done.stdout


def test_a_folder_of_memories_is_searched_with_it(tmp_path: Path) -> None:
    model = str(folder(tmp_path / "tiny"))
    with palimp.open(tmp_path / "m", embed_provider="onnx", embed_model=model) as mem:
        profile = mem.profile("alice")
        profile.remember("the cat slept")
        mem.maintain()
        (hit,) = profile.recall("slept cat")
        assert "vector" in hit.channels
        assert OnnxEmbedder(model).name in str(profile.embed_status())


# Its name


def test_the_name_changes_with_whatever_changes_a_vector(tmp_path: Path) -> None:
    other_weights = token_vectors(table() + 1)
    made = {
        "as it was": folder(tmp_path / "0" / "tiny"),
        "weights": folder(tmp_path / "1" / "tiny", other_weights),
        "pooling": folder(tmp_path / "2" / "tiny", pooling={"pooling_mode_max_tokens": True}),
        "length": folder(tmp_path / "3" / "tiny", sentence={"max_seq_length": 11}),
        "prompt": folder(tmp_path / "4" / "tiny", prompts={"query": "question : "}),
        "tokenizer": folder(tmp_path / "5" / "tiny"),
        "weights beside": folder(tmp_path / "6" / "tiny"),
    }
    made_of = made["tokenizer"] / "tokenizer.json"
    made_of.write_text(made_of.read_text("utf-8").replace('"cat"', '"cut"'), "utf-8")
    (made["weights beside"] / "onnx" / "model.onnx_data").write_bytes(b"1")
    names = {what: OnnxEmbedder(str(path)).name for what, path in made.items()}
    assert len(set(names.values())) == len(names), names


def test_the_name_stays_with_the_place_and_what_nobody_reads(tmp_path: Path) -> None:
    one = folder(tmp_path / "one" / "tiny")
    other = folder(tmp_path / "other" / "tiny")
    (other / "README.md").write_text("about the model")
    names = {OnnxEmbedder(place).name for place in (str(one), f"{one}/", str(other))}
    assert len(names) == 1


# What it refuses


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_text_that_gives_no_numbers_has_a_row_of_zeros(
    tmp_path: Path, number: float, caplog: pytest.LogCaptureFixture
) -> None:
    rows = table()
    rows[WORDS.index("bad")] = number
    embedder = OnnxEmbedder(str(folder(tmp_path / "tiny", token_vectors(rows))))
    found = embedder.embed(["the cat", "a dog slept", "the bad dog"])
    assert [bool(row.any()) for row in found] == [True, True, False]
    assert np.isfinite(found).all()
    embedder.embed(["bad"])
    assert len(caplog.messages) == 1
    assert "bad" not in caplog.text


def test_a_model_that_gives_no_numbers_at_all_is_refused(tmp_path: Path) -> None:
    rows = np.full_like(table(), np.nan)
    embedder = OnnxEmbedder(str(folder(tmp_path / "tiny", token_vectors(rows))))
    with pytest.raises(Unconfigured, match="for a plain text"):
        embedder.embed(["the cat"])


def test_a_run_that_fails_is_an_error_and_the_next_one_works(tmp_path: Path) -> None:
    # The last words of the tokenizer are not in the model.
    short = token_vectors(table()[: WORDS.index("the") + 1])
    embedder = OnnxEmbedder(str(folder(tmp_path / "tiny", short)))
    with pytest.raises(Unavailable, match=r"failed on 1 texts of up to 3 tokens: .*indices"):
        embedder.embed(["too"])
    assert embedder.embed(["the"]).any()


def _without(name: str) -> Any:
    def remove(path: Path) -> None:
        (path / name).unlink()

    return remove


def _with(name: str, content: bytes) -> Any:
    def write(path: Path) -> None:
        (path / name).write_bytes(content)

    return write


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (_without("modules.json"), {}, "no modules.json, which says how"),
        (_without("onnx/model.onnx"), {}, "no onnx file .*onnx/model.onnx and model.onnx"),
        (_without("tokenizer.json"), {}, "no tokenizer: tokenizer.json is missing"),
        (_without("1_Pooling/config.json"), {}, "asks for the pooling .none.: one of mean, cls"),
        (None, {"pooling": {"pooling_mode_lasttoken": True}}, "asks for the pooling lasttoken"),
        (
            None,
            {"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}},
            "the pooling cls_token and mean_tokens",
        ),
        (
            None,
            {"pooling": {"pooling_mode_mean_tokens": True, "include_prompt": False}},
            "leaves prompts out",
        ),
        (None, {"modules": ("Transformer", "Pooling", "Dense")}, "has the module Dense"),
        (None, {"modules": ("Transformer",)}, "has no module Pooling"),
        (None, {"sentence": {"max_seq_length": 0}}, "max_seq_length is 0"),
        (None, {"sentence": {"max_seq_length": "long"}}, "cannot be read: Expected `int"),
        (_with("modules.json", b"{"), {}, "modules.json cannot be read"),
        (_with("onnx/model.onnx", b"<html>"), {}, "tiny cannot be loaded .*export or fetch it"),
        (_with("onnx/model.onnx", b""), {}, "tiny cannot be loaded"),
        (_with("tokenizer.json", b"{}"), {}, "tiny cannot be loaded"),
        (None, {"model": no_token_vectors(table())}, "gives no vectors of tokens .*sentence_emb"),
        (
            None,
            {"model": token_vectors(table(), {**NUMBERS, "pixels": FLOAT})},
            "asks for the input pixels of tensor.float.",
        ),
    ],
)
def test_a_folder_that_will_not_do_is_refused(
    tmp_path: Path, change: Any, options: Any, said: str
) -> None:
    path = folder(tmp_path / "tiny", **options)
    if change is not None:
        change(path)
    with pytest.raises(Unconfigured, match=said) as caught:
        OnnxEmbedder(str(path)).embed(["the cat"])
    assert "tiny" in str(caught.value)


def test_a_repaired_folder_is_read_again(tmp_path: Path) -> None:
    path = folder(tmp_path / "tiny")
    embedder = OnnxEmbedder(str(path))
    kept = (path / "modules.json").rename(path / "kept")
    with pytest.raises(Unconfigured):
        _ = embedder.name
    kept.rename(path / "modules.json")
    assert embedder.name.startswith("onnx:tiny#")


def test_the_model_may_lie_beside_its_tokenizer(tmp_path: Path) -> None:
    assert OnnxEmbedder(str(folder(tmp_path / "tiny", at="model.onnx"))).dimensions == 8


@pytest.mark.parametrize("source", ["/no/such/folder", "name", "../one/two", "a/b/c", ""])
def test_what_is_neither_folder_nor_a_hubs_name_is_refused(source: str) -> None:
    with pytest.raises(Unconfigured, match=r"name a sentence-transformers folder|no modules"):
        _ = OnnxEmbedder(source).name


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_a_missing_extra_is_named(
    tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = f"needs {package}, which is not installed: pip install 'palimp.onnx.'"
    with pytest.raises(Unconfigured, match=said):
        OnnxEmbedder(str(folder(tmp_path / "tiny"))).embed(["the cat"])


def test_who_waits_for_a_model_to_be_fetched_does_not_wait_long(
    embedder: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "_LOAD_PATIENCE_SECONDS", 0.01)
    with onnx._loading, pytest.raises(Unavailable, match="being loaded by another thread"):
        embedder.embed(["the cat"])
    assert embedder.embed(["the cat"]).any()


# The hub


class Hub(BaseHTTPRequestHandler):
    """What the hub's client asks for, of one repository."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.asked.append(self.path)
        commit, names = "a" * 40, self.names()
        path, _, _ = self.path.partition("?")
        if path == "/api/models/some/tiny/revision/main":
            listed = [{"rfilename": name} for name in names]
            self.send(json.dumps({"id": "some/tiny", "sha": commit, "siblings": listed}).encode())
        elif path == f"/api/models/some/tiny/tree/{commit}":
            tree = [
                {"type": "file", "path": n, "oid": "b" * 40, "size": len(self.read(n))}
                for n in names
            ]
            self.send(json.dumps(tree).encode())
        elif path.startswith(f"/some/tiny/resolve/{commit}/"):
            data = self.read(path.split("/", 5)[5])
            self.send(
                data, ETag=f'"{hashlib.sha256(data).hexdigest()}"', **{"X-Repo-Commit": commit}
            )
        else:
            self.send(b"", 404, **{"X-Error-Code": "RepoNotFound"})

    def names(self) -> list[str]:
        return sorted(
            str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file()
        )

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    path = folder(tmp_path / "published")
    (path / "model.safetensors").write_bytes(b"of no use here")
    Hub.folder, Hub.asked = path, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(tmp_path: Path, port: int, *names: str) -> list[str]:
    """Name the models in a process of its own: the client reads its environment when imported."""
    code = (
        "import sys\n"
        "from palimp.errors import Error\n"
        "from palimp.models.onnx import OnnxEmbedder\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        print(OnnxEmbedder(name).name)\n"
        "    except Error as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_HOME": str(tmp_path / "cache"),
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "NO_PROXY": "*",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout.splitlines()


def test_a_model_is_fetched_once_and_then_the_hub_is_not_asked(
    tmp_path: Path, hub: ThreadingHTTPServer
) -> None:
    (fetched,) = ask(tmp_path, hub.server_port, "some/tiny")
    assert fetched.startswith("onnx:tiny#")
    assert fetched.partition("#")[2] == OnnxEmbedder(str(Hub.folder)).name.partition("#")[2]
    assert not [path for path in Hub.asked if "safetensors" in path]
    Hub.asked.clear()
    assert ask(tmp_path, hub.server_port, "some/tiny") == [fetched]
    assert Hub.asked == []


def test_what_was_fetched_in_part_is_completed(tmp_path: Path, hub: ThreadingHTTPServer) -> None:
    (fetched,) = ask(tmp_path, hub.server_port, "some/tiny")
    (model,) = (tmp_path / "cache").rglob("model.onnx")
    model.unlink()
    assert ask(tmp_path, hub.server_port, "some/tiny") == [fetched]


def test_a_hub_without_the_model_says_so(tmp_path: Path, hub: ThreadingHTTPServer) -> None:
    (said,) = ask(tmp_path, hub.server_port, "some/other")
    assert said.startswith("Unconfigured the hub has no model some/other")


def test_a_hub_that_does_not_answer_is_named_and_left_alone(
    tmp_path: Path, hub: ThreadingHTTPServer
) -> None:
    hub.shutdown()
    hub.server_close()
    (said,) = ask(tmp_path, hub.server_port, "some/tiny")
    assert said.startswith("Unavailable onnx model some/tiny is not on this machine and cannot be")
    assert "Connection refused" in said


def test_a_hub_is_asked_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetched(name: str) -> Any:
        asked.append(name)
        raise Unavailable(f"{name} cannot be fetched")

    monkeypatch.setattr(onnx, "_fetched", fetched)
    clock = ManualClock()
    embedder = OnnxEmbedder("some/tiny", clock)
    for seconds, tries in ((0, 1), (59, 1), (2, 2)):
        clock.advance(seconds)
        with pytest.raises(Unavailable):
            embedder.embed(["the cat"])
        assert len(asked) == tries
