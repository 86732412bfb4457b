"""Tiny models for the tests: the golden checkpoints, some with a longer context, a tokenizer or fewer tokens."""

import array
import json
import math
import pathlib
import shutil
import struct

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
TYPES = {"F32": "f", "I32": "i"}


def read_safetensors(path):
    """name -> (type, shape, bytes)"""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"],
                   data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
            for name, entry in header.items()}


def write_safetensors(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def reference(name):
    """The golden's cases: dictionaries of prompt, output, and lists of rows of log-probabilities."""
    tensors = read_safetensors(GOLDEN / name / "reference.safetensors")

    def numbers(key):
        dtype, shape, data = tensors[key]
        flat = array.array(TYPES[dtype], data).tolist()
        if len(shape) == 1:
            return flat
        return [flat[row * shape[1]:(row + 1) * shape[1]] for row in range(shape[0])]

    count = sum(name.startswith("prompt.") for name in tensors)
    return [{key: numbers(f"{key}.{i}") for key in ("prompt", "logprobs", "output", "output_logprobs")}
            for i in range(count)]


def checkpoint(name):
    """The path that --model takes."""
    folder = GOLDEN / name
    return folder / "model.gguf" if (folder / "model.gguf").exists() else folder


def copy_of(name, folder, **config_changes):
    """A copy of a golden checkpoint in `folder` with some keys of its configuration changed."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (GOLDEN / name).iterdir():
        if file.name != "reference.safetensors":
            shutil.copy(file, folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(config_changes)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class Gguf:
    """A GGUF file: its metadata as bytes, and name -> (type, shape innermost first, bytes)."""
    SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of values, by type
    STRING, ARRAY = 8, 9
    BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34), 30: (1, 2)}  # elements and bytes of a block
    ALIGNMENT = 32

    def __init__(self, data):
        self._data, self._at = data, 0
        self._take("<4sI")
        count, values = self._take("<QQ")
        begin = self._at
        for _ in range(values):
            self._string()
            self._value(*self._take("<I"))
        self.metadata, self.values = data[begin:self._at], values
        entries = []
        for _ in range(count):
            name, (dimensions,) = self._string(), self._take("<I")
            entries.append((name, self._take(f"<{dimensions}Q"), *self._take("<IQ")))
        start = -(-self._at // self.ALIGNMENT) * self.ALIGNMENT
        self.tensors = {}
        for name, shape, kind, offset in entries:
            elements, size = self.BLOCKS[kind]
            end = start + offset + math.prod(shape) // elements * size
            self.tensors[name] = (kind, shape, data[start + offset:end])

    def _take(self, layout):
        self._at += struct.calcsize(layout)
        return struct.unpack_from(layout, self._data, self._at - struct.calcsize(layout))

    def _string(self):
        (size,) = self._take("<Q")
        self._at += size
        return self._data[self._at - size:self._at].decode()

    def _value(self, kind):
        if kind == self.STRING:
            self._string()
        elif kind == self.ARRAY:
            kind, count = self._take("<IQ")
            for _ in range(count):
                self._value(kind)
        else:
            self._at += self.SIZES[kind]

    def write(self, path):
        entries, body = b"", b""
        for name, (kind, shape, data) in self.tensors.items():
            entries += struct.pack(f"<Q{len(name)}sI{len(shape)}QIQ", len(name), name.encode(), len(shape), *shape, kind, len(body))
            body += data + bytes(-len(data) % self.ALIGNMENT)
        head = struct.pack("<4sIQQ", b"GGUF", 3, len(self.tensors), self.values) + self.metadata + entries
        path.write_bytes(head + bytes(-len(head) % self.ALIGNMENT) + body)


def with_joined_attention(name, path):
    """A golden GGUF file with queries, keys and values in one tensor, as converters store them on demand."""
    file = Gguf((GOLDEN / name / "model.gguf").read_bytes())
    for first in [tensor for tensor in file.tensors if ".attn_q." in tensor]:
        parts = [file.tensors.pop(first.replace("attn_q", part)) for part in ("attn_q", "attn_k", "attn_v")]
        kinds, shapes, data = zip(*parts)
        assert len(set(kinds)) == 1, kinds
        file.tensors[first.replace("attn_q", "attn_qkv")] = (
            kinds[0], (*shapes[0][:-1], sum(shape[-1] for shape in shapes)), b"".join(data))
    file.write(path)
    return path


def with_known_logits(folder, vocabulary=64, **config_changes):
    """The first `vocabulary` tokens alone, so that `top` shows the whole distribution, and an output row of
    zeros for token 0: its logit is 0, so the logits of all tokens follow from their log-probabilities."""
    folder = copy_of("llama", folder, vocab_size=vocabulary, **config_changes)
    tensors = read_safetensors(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        dtype, shape, data = tensors[name]
        row = len(data) // shape[0]
        data = data[:vocabulary * row]
        if name == "lm_head.weight":
            data = bytes(row) + data[row:]
        tensors[name] = (dtype, [vocabulary, shape[1]], data)
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


SPECIALS = ["<s>", "</s>", "<|user|>", "<|end|>"]
CHAT_TEMPLATE = ("{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<|user|>{% else %}{{ m.role }}:{% endif %}"
                 "{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}bot:{% endif %}")
MERGES = ["t h", "th e", "a n", "an d"]


def byte_letters():
    """The letters by which byte-level BPE writes bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, spare = {}, 256
    for byte in range(256):
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(spare)
            spare += 1
    return letters


def with_tokenizer(folder, adds_bos=False, **config_changes):
    """A golden checkpoint with a byte-level tokenizer of every byte, four merges, specials and a chat template.
    `adds_bos`: its own rule puts <s> before a text."""
    vocabulary = 256 + len(MERGES) + len(SPECIALS)
    folder = copy_of("llama", folder, vocab_size=vocabulary, **config_changes)
    tensors = read_safetensors(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        dtype, shape, data = tensors[name]
        row = len(data) // shape[0]
        # The rows again, in another order of halves, so that no two tokens have the same logits.
        turned = b"".join(data[i * row + row // 2:(i + 1) * row] + data[i * row:i * row + row // 2]
                          for i in range(shape[0]))
        third = b"".join(data[((i * 7 + 3) % shape[0]) * row:((i * 7 + 3) % shape[0]) * row + row // 2] +
                         data[i * row:i * row + row // 2] for i in range(vocabulary - 2 * shape[0]))
        tensors[name] = (dtype, [vocabulary, shape[1]], data + turned + third)
    write_safetensors(folder / "model.safetensors", tensors)

    letters = byte_letters()
    write_tokenizer(folder, [letters[byte] for byte in range(256)] + [merge.replace(" ", "") for merge in MERGES],
                    MERGES, adds_bos)
    return folder


def write_tokenizer(folder, tokens, merges, adds_bos=False):
    """A byte-level tokenizer of `tokens` (in its letters) and, behind them, SPECIALS."""
    specials = [{"id": len(tokens) + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True} for i, text in enumerate(SPECIALS)]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": specials, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None if not adds_bos else {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [len(tokens)], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False, "chat_template": CHAT_TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast"}))


def that_says(text, folder, **config_changes):
    """A model that says `text`, divided into tokens as logit_bias chooses: every part text[a:b] is a token, its layers
    add nothing, a token that ends at b makes those that begin at b likely, and a bias of 100 for the tokens of one
    division picks them. The prompt is <s>; behind the end comes </s>. Returns (a, b) -> token id."""
    letters = byte_letters()
    parts = {text[a:b]: (a, b) for a in range(len(text)) for b in range(a + 1, len(text) + 1)}
    assert len(parts) == len(text) * (len(text) + 1) // 2, "each part of the text must occur once"
    tokens = ["".join(letters[byte] for byte in part) for part in parts]
    specials = len(tokens)
    folder = copy_of("llama", folder, vocab_size=specials + len(SPECIALS), eos_token_id=specials + 1, **config_changes)
    tensors = read_safetensors(folder / "model.safetensors")
    width = tensors["model.embed_tokens.weight"][1][1]
    assert len(text) < width

    def rows(positions, scale):
        """A row of `scale` at each position; None: a row of zeros."""
        return b"".join(struct.pack(f"<{width}f", *(scale * (at == i) for i in range(width))) for at in positions)

    shape = [specials + len(SPECIALS), width]
    begins = [a for a, _ in parts.values()] + [None, len(text), None, None]
    ends = [b for _, b in parts.values()] + [0, None, None, None]
    for name, (dtype, old, data) in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensors[name] = (dtype, old, bytes(len(data)))
    tensors["model.norm.weight"] = ("F32", [width], struct.pack(f"<{width}f", *[1] * width))
    tensors["model.embed_tokens.weight"] = ("F32", shape, rows(ends, 1))
    tensors["lm_head.weight"] = ("F32", shape, rows(begins, 20))  # the norm makes 160 of it
    write_safetensors(folder / "model.safetensors", tensors)
    write_tokenizer(folder, tokens, [])
    return {part: i for i, part in enumerate(parts.values())}
