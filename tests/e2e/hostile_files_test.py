"""Model folders with one lie each: safetensors, their index, config.json and the files beside it."""

import json
import os
import struct

import models
from harness import run
from hostile import HostileTest

HUGE = 1 << 63
DEEP = 100000


def folder_case(change, *words, base=None):
    """A case whose folder is a copy of a golden checkpoint with change(folder) made."""
    def make(folder):
        path = (base or (lambda to: models.copy_of("llama", to)))(folder / "tiny")
        change(path)
        return path
    return make, words


def header_of(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + size]), data[8 + size:]


def write(path, header, body, size=None):
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data) if size is None else size) + data + body)


def header(change, *words, file="model.safetensors"):
    """change(header) makes a lie; returns other bytes for the header, or None."""
    def lie(folder):
        path = folder / "model.safetensors"
        entries, body = header_of(path)
        write(path, change(entries) or entries, body)
    return folder_case(lie, file, *words)


def length(size, *words):
    def lie(folder):
        path = folder / "model.safetensors"
        entries, body = header_of(path)
        write(path, entries, body, size)
    return folder_case(lie, "model.safetensors", *words)


NORM = "model.norm.weight"


def entry(member, value):
    return header(lambda entries: entries[NORM].update({member: value}), NORM)


class Safetensors(HostileTest):
    def test_length(self):
        self.all_refused({str(size): length(size) for size in (
            0, 1, 7, 1 << 16, 1 << 32, 10 ** 8 + 1, 1 << 60, HUGE - 1, HUGE, 2 * HUGE - 1, 2 * HUGE - 9)})

    def test_header(self):
        def twice(entries):
            text = json.dumps(entries)
            return f'{text[:-1]}, "{NORM}": {json.dumps(entries[NORM])}}}'.encode()

        self.all_refused({
            "empty": header(lambda entries: b"{}"), "a list": header(lambda entries: b"[]"), "no JSON": header(lambda entries: b"{nonsense"),
            "no UTF-8": header(lambda entries: b'{"\xff": 1}'), "cut": header(lambda entries: json.dumps(entries).encode()[:-1]),
            "deep lists": header(lambda entries: b'{"a":' + b"[" * DEEP), "deep objects": header(lambda entries: b'{"a":' * DEEP),
            "a name twice": header(twice, NORM), "an empty name": header(lambda entries: entries.update({"": entries.pop(NORM)})),
            "metadata of numbers": header(lambda entries: entries.update({"__metadata__": {"a": 1}}), "__metadata__"),
            "deep metadata": header(lambda entries: json.dumps(entries).encode()[:-1] + b', "__metadata__":' + b'{"a":' * DEEP),
            "a tensor that is a number": header(lambda entries: entries.update({NORM: 3}), NORM),
            "no dtype": header(lambda entries: entries[NORM].pop("dtype") and None, NORM),
            "no offsets": header(lambda entries: entries[NORM].pop("data_offsets") and None, NORM),
            "renamed": header(lambda entries: entries.update({"a\nb\x1b[2J": entries.pop(NORM)}), NORM, file="tiny"),
        })

    def test_entries(self):
        begin = 236288  # of the last tensor
        offsets = {str(value)[:40]: entry("data_offsets", value) for value in (
            [-8, 128], [begin + 128, begin], [begin - 4, begin + 124], [begin + 4, begin + 132],
            [begin, begin + 256], [HUGE, HUGE + 128], [2 * HUGE - 128, 2 * HUGE], [begin, 1 << 70], [begin], [], [begin, begin + 128, 0],
            [str(begin), str(begin + 128)], [begin + 0.5, begin + 128.5], {"a": 1}, "0", None, [[begin, begin + 128]])}
        self.all_refused({
            **offsets, "another tensor's place": header(lambda entries: entries[NORM].update(data_offsets=[0, 128]), "overlap"),
            "shape [32, 2]": header(lambda entries: entries[NORM].update(shape=[32, 2]), NORM, file="tiny"),
            "1e400": header(lambda entries: json.dumps(entries).replace(f"[{begin}", "[1e400").encode()),
            "F99": entry("dtype", "F99"), "dtype 3": entry("dtype", 3), "dtype of 1 MB": entry("dtype", "F" * 1000000),
            "another width": entry("dtype", "F32"), "not a type that computes": entry("dtype", "I32"),
            **{f"shape {str(shape)[:40]}": entry("shape", shape) for shape in (
                [-64], [63], [0], [HUGE], [1 << 32, 1 << 32], [1 << 62, 4], [64.5], ["64"], "64", None, [], [1] * 17, [1 << 70])},
        })

    def test_files(self):
        def cut(size):
            return folder_case(lambda folder: os.truncate(folder / "model.safetensors", size), "model.safetensors")

        def special(make):
            def lie(folder):
                (folder / "model.safetensors").unlink()
                make(folder / "model.safetensors")
            return folder_case(lie, "model.safetensors")

        self.all_refused({
            **{f"{size} bytes": cut(size) for size in (0, 7, 8, 9, 100, 2000, 200000)},
            "longer": folder_case(lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes() + b"x"), "model.safetensors"),
            "a pipe": special(os.mkfifo), "a folder": special(os.mkdir), "zeros": special(lambda path: path.symlink_to("/dev/zero")),
            "gone": folder_case(lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
            "a circle": folder_case(lambda folder: ((folder / "model.safetensors").unlink(), (folder / "model.safetensors").symlink_to("model.safetensors"))),
        })


class Index(HostileTest):
    NAME = "model.safetensors.index.json"

    def index(self, change, *words):
        def lie(folder):
            path = folder / self.NAME
            index = json.loads(path.read_text())
            data = change(index)
            path.write_bytes(data if isinstance(data, bytes) else json.dumps(index).encode())
        return folder_case(lie, *words, base=lambda to: models.copy_of("biases_linear", to))

    def test_index(self):
        shards = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]

        def mapped(value):
            return lambda index: index["weight_map"].update({NORM: value})

        def copy_shard(index):
            index["weight_map"][NORM] = shards[0] if index["weight_map"][NORM] != shards[0] else shards[1]

        def doubled(folder):
            name = json.loads((folder / self.NAME).read_text())["weight_map"][NORM]
            other = folder / next(shard for shard in shards if shard != name)
            tensors = models.read_safetensors(other)
            tensors[NORM] = models.read_safetensors(folder / name)[NORM]
            models.write_safetensors(other, tensors)

        self.all_refused({
            **{repr(name)[:30]: self.index(mapped(name), self.NAME) for name in (
                "../x.safetensors", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "a\\b", 3, None, ["a"], {"a": "b"})},
            "a shard that is gone": self.index(mapped("gone.safetensors"), "gone.safetensors"),
            "the wrong shard": self.index(copy_shard, NORM), "a tensor that is nowhere": self.index(lambda index: index["weight_map"].update({"nowhere": shards[0]}), "nowhere"),
            "a tensor not named": self.index(lambda index: index["weight_map"].pop(NORM) and None, NORM),
            "a shard named like no file": self.index(mapped("x" * 5000)),
            "a tensor in two shards": folder_case(doubled, NORM, base=lambda to: models.copy_of("biases_linear", to)),
            "no map": self.index(lambda index: index.pop("weight_map") and None, "weight_map"), "a list": self.index(lambda index: b"[]", self.NAME),
            "no JSON": self.index(lambda index: b"{", self.NAME), "empty": self.index(lambda index: b"", self.NAME),
            "deep": self.index(lambda index: b'{"weight_map":' * DEEP, self.NAME),
            "a map that is a text": self.index(lambda index: index.update(weight_map="x"), "weight_map"),
            "a name twice": self.index(lambda index: json.dumps(index).replace('"weight_map": {', '"weight_map": {"' + NORM + '": "a",').encode(), self.NAME),
            "5000 files": self.index(lambda index: index["weight_map"].update({f"t{i}": f"f{i}" for i in range(5000)})),
        })


class Config(HostileTest):
    def config(self, value, *words):
        """A configuration with these changes, or these bytes."""
        def lie(folder):
            path = folder / "config.json"
            if callable(value):
                path.write_bytes(value(path.read_bytes()))
            else:
                path.write_text(json.dumps({**json.loads(path.read_text()), **value}))
        return folder_case(lie, "config.json", *words)

    def test_text(self):
        self.all_refused({
            "empty": self.config(lambda text: b""), "a list": self.config(lambda text: b"[]"), "a number": self.config(lambda text: b"3"),
            "cut": self.config(lambda text: text[:-5]), "no UTF-8": self.config(lambda text: b'{"\xff":1,' + text[1:]),
            "UTF-16": self.config(lambda text: text.decode().encode("utf-16")),
            "deep lists": self.config(lambda text: b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"," + text[1:]),
            "deep objects": self.config(lambda text: b'{"a":' * DEEP + b"1" + b"}" * DEEP),
            "deep and open": self.config(lambda text: b"[" * 10 ** 6), "1e400": self.config(lambda text: b'{"a":1e400,' + text[1:]),
            "100 MB of spaces": self.config(lambda text: text + b" " * 10 ** 8),
            "2 * 10^6 values": self.config(lambda text: b'{"a":[' + b"1," * 2200000 + b"1]," + text[1:]),
        })
        odd = {
            "10^5 keys": self.config(lambda text: b"{" + b"".join(b'"k%d":1,' % i for i in range(100000)) + text[1:]),
            "a byte order mark": self.config(lambda text: b"\xef\xbb\xbf" + text),
        }
        self.all_served({name: (make, ()) for name, (make, _) in odd.items()})  # not worth a warning

    def test_integers(self):
        for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                    "num_key_value_heads", "max_position_embeddings", "head_dim"):
            self.all_refused({f"{key} {str(value)[:30]}": self.config({key: value}, key) for value in (
                "64", 64.5, True, -1, 0, 1 << 31, HUGE, 2 * HUGE, 1e300, [64], {"a": 64})})
            if key not in ("num_key_value_heads", "max_position_embeddings", "head_dim"):
                self.all_refused({f"{key} null": self.config({key: None}, key)})

    def test_the_rest(self):
        def rope(**values):
            return self.config({"rope_scaling": values}, "rope")

        self.all_refused({
            **{f"{key} {value}": self.config({key: value}, key) for key in ("rms_norm_eps", "rope_theta")
               for value in ("1", True, [1], -1.0, 1e39)},
            "rope_theta 0": self.config({"rope_theta": 0}, "rope_theta"),
            **{f"{key} {value!r}": self.config({key: value}, key) for key in ("attention_bias", "mlp_bias", "tie_word_embeddings")
               for value in ("yes", 1, [])},
            "hidden_act 3": self.config({"hidden_act": 3}, "hidden_act"), "hidden_act": self.config({"hidden_act": "tanh"}, "hidden_act"),
            "heads that do not divide": self.config({"num_key_value_heads": 3}, "3"), "more heads than width": self.config({"num_attention_heads": 100}),
            "no architecture": self.config({"architectures": []}, "architectures"), "architectures": self.config({"architectures": "LlamaForCausalLM"}, "architectures"),
            "an endless architecture": self.config({"architectures": ["x" * 1000000]}, "architectures"),
            "lines": self.config({"architectures": ["a\nb\x1b[2J"]}, "architectures"),
            "quantised": self.config({"quantization_config": {"bits": 4}}, "quantization_config"),
            **{f"quantised by {method!r}": self.config({"quantization_config": {"quant_method": method}}, "quantization_config.quant_method")
               for method in ("gptq", "a\nb", 8)},
            "blocks of nothing": self.config({"quantization_config": {"quant_method": "fp8", "weight_block_size": [0, 128]}}, "weight_block_size"),
            "rope of no type": rope(rope_type="spiral", factor=2.0), "of another kind": rope(rope_type=3), "rope that is a list": self.config({"rope_parameters": {"rope_type": []}}, "rope"),
            "an unknown key": rope(rope_type="linear", factor=2.0, twist=1), "no factor": rope(rope_type="linear"),
            **{f"factor {factor}": rope(rope_type="linear", factor=factor) for factor in (0, -1, "2", 1e39, None)},
            "yarn of 0 positions": rope(rope_type="yarn", factor=2.0, original_max_position_embeddings=0),
            "yarn's negative factor": rope(rope_type="yarn", factor=-2.0),
            "llama3 without factors": rope(rope_type="llama3", factor=2.0),
            "longrope too short": self.config({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0] * 8, "factor": 2.0}}, "short_factor"),
            "longrope of texts": rope(rope_type="longrope", short_factor=["1"] * 8, long_factor=[1.0] * 8, factor=2.0),
            "longrope of zeros": self.config({"rope_scaling": {"rope_type": "longrope", "short_factor": [0.0] * 8, "long_factor": [1.0] * 8, "factor": 2.0}}, "short_factor"),
            "eos ids of texts": self.config({"eos_token_id": ["a"]}, "eos_token_id"), "an id below 0": self.config({"eos_token_id": -1}, "eos_token_id"),
            "2^40": self.config({"eos_token_id": 1 << 40}, "eos_token_id"), "10^5 ids": self.config({"eos_token_id": list(range(100000))}, "eos_token_id"),
        })

    def test_special_files(self):
        def special(make):
            def lie(folder):
                (folder / "config.json").unlink()
                make(folder / "config.json")
            return folder_case(lie, "config.json")

        self.all_refused({"a pipe": special(os.mkfifo), "a folder": special(os.mkdir), "zeros": special(lambda path: path.symlink_to("/dev/zero")),
                          "a circle": special(lambda path: path.symlink_to("config.json"))})

    def test_generation_config(self):
        def generation(data):
            return lambda folder: (folder / "generation_config.json").write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())

        self.all_served({f"{key} {value!r}": folder_case(generation({key: value}), key) for key, value in (
            ("temperature", -1), ("temperature", "hot"), ("top_p", 0), ("top_p", 2), ("top_k", -1), ("top_k", 1 << 40),
            ("repetition_penalty", 0), ("min_p", [1]), ("typical_p", {"a": "\n"}), ("temperature", "x" * 100000))})
        self.all_refused({name: folder_case(generation(data), "generation_config.json") for name, data in (
            ("empty", b""), ("a list", b"[]"), ("deep", b'{"a":' * DEEP), ("eos", {"eos_token_id": "x"}), ("1e400", b'{"temperature":1e400}'))})


if __name__ == "__main__":
    run()
