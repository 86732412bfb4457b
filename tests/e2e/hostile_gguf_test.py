"""GGUF files with one lie each."""

import struct

import models
from harness import run
from hostile import (ARRAY, BOOL, F32, F64, I32, I64, STRING, U8, U32, U64, Gguf, HostileTest, text)

BASE = Gguf(models.GOLDEN / "gguf_f32" / "model.gguf")
VOCABULARY = BASE.copy().with_vocabulary()
HUGE = 1 << 63


def case(change, *words, base=BASE, name="lie.gguf"):
    """A case whose file is the base with change(gguf) made: bytes, or None for the changed fields."""
    def make(folder):
        gguf = base.copy()
        data = change(gguf)
        path = folder / name
        path.write_bytes(data if isinstance(data, bytes) else gguf.bytes())
        return path
    return make, words


def setting(key, kind, value, *words, base=BASE):
    return case(lambda gguf: gguf.set(key, kind, value), *(words or (key,)), base=base)


def vocabulary(key, kind, value, *words):
    return setting(f"tokenizer.ggml.{key}", kind, value, *words, base=VOCABULARY)


def attribute(name, value, *words):
    return case(lambda gguf: setattr(gguf, name, value), *words)


def nested(depth):
    """A value of type array whose only element is an array, and so on."""
    return struct.pack("<IQ", ARRAY, 1) * depth + struct.pack("<IQ", U8, 0)


class Structure(HostileTest):
    def test_the_base_is_served(self):
        self.all_served({"plain": case(lambda gguf: None), "vocabulary": case(lambda gguf: None, base=VOCABULARY)})

    def test_header(self):
        self.all_refused({
            "magic": attribute("magic", b"GGUX", "GGUF"), "magic of another format": attribute("magic", b"GGML", "GGUF"),
            "version 0": attribute("version", 0, "version"), "version 1": attribute("version", 1, "version"),
            "version 99": attribute("version", 99, "version"), "big endian": attribute("version", 3 << 24, "endian"),
            "tensor count 2^63": attribute("tensor_count", HUGE, "tensors"),
            "tensor count 2^64-1": attribute("tensor_count", 2 * HUGE - 1, "tensors"),
            "a tensor too many": attribute("tensor_count", len(BASE.tensors) + 1, "tensor"),
            "metadata count 2^63": attribute("metadata_count", HUGE, "metadata"),
            "metadata count 2^64-1": attribute("metadata_count", 2 * HUGE - 1, "metadata"),
            "an entry too many": attribute("metadata_count", len(BASE.metadata) + 1),
            "empty": case(lambda gguf: b""), "magic alone": case(lambda gguf: b"GGUF"),
        })

    def test_truncated(self):
        whole, header = BASE.bytes(), len(BASE.header())
        cuts = {3, 4, 7, 8, 15, 16, 23, 24, 31, 32, 33, 100, header // 2, header - 1, header, header + 1,
                len(whole) - len(BASE.body), len(whole) - len(BASE.body) // 2, len(whole) - 1}
        self.all_refused({f"{cut} bytes": case(lambda gguf, cut=cut: whole[:cut]) for cut in sorted(cuts)})

    def test_values(self):
        key = "general.name"
        self.all_refused({
            "string of 2^63": setting(key, STRING, text("x", HUGE)), "string of 2^64-1": setting(key, STRING, text("x", 2 * HUGE - 1)),
            "string past the end": setting(key, STRING, text("x", 1 << 20)),
            "type 13": setting(key, 13, b""), "type 2^32-1": setting(key, (1 << 32) - 1, b""),
            "a boolean of 2": setting(key, BOOL, 2),
            "array of 2^63": setting(key, ARRAY, struct.pack("<IQ", U8, HUGE)),
            "array of 2^61 longs": setting(key, ARRAY, struct.pack("<IQ", U64, 1 << 61)),
            "array of 2^60 strings": setting(key, ARRAY, struct.pack("<IQ", STRING, 1 << 60)),
            "array past the end": setting(key, ARRAY, struct.pack("<IQ", U8, 1 << 20)),
            "array of type 77": setting(key, ARRAY, struct.pack("<IQ", 77, 1) + bytes(64)),
            "array of booleans of 7": setting(key, ARRAY, (BOOL, [0, 1, 7])),
            "string in an array of 2^63": setting(key, ARRAY, struct.pack("<IQ", STRING, 1) + text("x", HUGE)),
            "arrays 10^5 deep": setting(key, ARRAY, nested(100000)), "arrays 6 deep": setting(key, ARRAY, nested(6)),
            "a key twice": case(lambda gguf: gguf.twice.append(("general.architecture", [STRING, "llama"])), "general.architecture"),
            "an empty key": setting("", U8, 0, "empty key"),
            "a key of 2^63": case(lambda gguf: gguf.header()[:24] + text("x", HUGE) + gguf.bytes()[24:], "key"),
            "a key of 70000 bytes": setting("k" * 70000, U8, 0, "key"),
        })

    def test_tensors(self):
        norm = "output_norm.weight"

        def lie(*words, **fields):
            return case(lambda gguf: gguf.tensor(norm, **fields), *(words or (norm,)))

        end = len(BASE.body)
        self.all_refused({
            "a name twice": lie("blk.0.attn_norm.weight", name="blk.0.attn_norm.weight"), "an empty name": lie("empty name", name=""),
            "0 dimensions": lie(rank=0, dims=[]), "5 dimensions": lie(dims=[32, 1, 1, 1, 1]), "2^31 dimensions": lie(rank=1 << 31),
            "a dimension of 0": lie(dims=[0]), "of 2^63": lie(dims=[HUGE]), "of 2^64-1": lie(dims=[2 * HUGE - 1]),
            "a product past 2^64": lie(dims=[1 << 33, 1 << 33]), "past 2^63 bytes": lie(dims=[1 << 62]),
            "an exabyte": lie(dims=[1 << 58]), "longer than the file": lie(dims=[32768]),
            "another size": lie(dims=[31]), "another rank": lie(dims=[32, 2]),
            "type 4, which is gone": lie(type=4), "type 31": lie(type=31), "type 2^32-1": lie(type=(1 << 32) - 1),
            "a row that is no multiple of the block": lie(dims=[33], type=2), "a type that is not served": lie(type=9, dims=[32]),
            "an odd offset": lie(offset=1), "an offset off the alignment": lie(offset=16),
            "an offset past the end": lie(offset=(end + 63) // 32 * 32), "an offset that ends past the end": lie(offset=(end - 96) // 32 * 32),
            "an offset of 2^63": lie(offset=HUGE), "of 2^64-32": lie(offset=2 * HUGE - 32),
            "overlapping by all": lie("overlap", offset=0), "overlapping by a part": lie("overlap", offset=74240 - 32),
            "not the model's": lie(name="surplus.weight"),
            "gone": case(lambda gguf: gguf.tensors.pop(3), "missing"), "none at all": case(lambda gguf: gguf.tensors.clear(), "missing"),
        })

    def test_alignment(self):
        self.all_refused({f"{kind} {value}": setting("general.alignment", kind, value) for kind, value in (
            (U32, 0), (U32, 3), (U32, 1 << 31), (U64, HUGE), (U64, 2 * HUGE - 1), (I32, -32), (F32, 32.0), (STRING, "32"),
            (U32, 1 << 30 | 1))})


class Keys(HostileTest):
    INTEGERS = ("llama.block_count", "llama.context_length", "llama.embedding_length", "llama.feed_forward_length",
                "llama.attention.head_count", "llama.attention.head_count_kv", "llama.attention.key_length",
                "llama.attention.value_length", "llama.rope.dimension_count")

    def test_integers(self):
        for key in self.INTEGERS:
            short = key.removeprefix("llama.")
            self.all_refused({f"{key}: {kind} {value}": setting(key, kind, value, short) for kind, value in (
                (STRING, "4"), (F64, 4.5), (BOOL, 1), (I64, -1), (U32, 0), (U64, HUGE), (U64, 2 * HUGE - 1), (U32, 1 << 31),
                (ARRAY, (U32, [4, 4, 4])), (ARRAY, (STRING, ["4"])))})

    def test_numbers(self):
        for key, short in (("llama.attention.layer_norm_rms_epsilon", "layer_norm_rms_epsilon"), ("llama.rope.freq_base", "rope.freq_base")):
            self.all_refused({f"{key}: {kind} {value}": setting(key, kind, value, short) for kind, value in (
                (STRING, "1"), (F32, float("nan")), (F32, float("inf")), (F32, float("-inf")), (F64, 1e300), (F32, -1.0),
                (BOOL, 1), (ARRAY, (F32, [1.0])))})

    def test_the_rest(self):
        def rope(key, kind, value):
            return setting(f"llama.rope.{key}", kind, value, f"rope.{key}")

        self.all_refused({
            "architecture of another kind": setting("general.architecture", U32, 3), "an unknown one": setting("general.architecture", STRING, "unheard", "unheard"),
            "an endless one": setting("general.architecture", STRING, "x" * (1 << 20), "general.architecture"),
            "lines": setting("general.architecture", STRING, "a\nb\x1b[2J\x00c", "general.architecture"),
            "no layers": case(lambda gguf: gguf.metadata.pop("llama.block_count"), "block_count"),
            "no heads": case(lambda gguf: gguf.metadata.pop("llama.attention.head_count"), "head_count"),
            "heads that do not divide": setting("llama.attention.head_count_kv", U32, 3, "3"),
            "more layers than stored": setting("llama.block_count", U32, 3, "blk.2"), "fewer layers": setting("llama.block_count", U32, 1, "blk.1"),
            "a vocabulary of another size": setting("llama.vocab_size", U32, 95, "token_embd.weight"),
            "freq_base 0": rope("freq_base", F32, 0.0), "a scaling that nobody knows": rope("scaling.type", STRING, "spiral"),
            "a scaling of another kind": rope("scaling.type", U32, 1), "factor": rope("scaling.factor", F32, float("nan")),
            "factor below 0": rope("scaling.factor", F32, -2.0),
            "experts": setting("llama.expert_count", U32, 8, "expert_used_count"),
            "rope_freqs of another length": case(
                lambda gguf: gguf.tensors.append({"name": "rope_freqs.weight", "rank": None, "dims": [9], "type": 0, "offset": len(gguf.body)}) or
                setattr(gguf, "body", gguf.body + struct.pack("<9f", *[1.0] * 9)), "rope_freqs"),
            "a rope_freqs of 0": case(
                lambda gguf: gguf.tensors.append({"name": "rope_freqs.weight", "rank": None, "dims": [4], "type": 0, "offset": len(gguf.body)}) or
                setattr(gguf, "body", gguf.body + struct.pack("<4f", 1, 0, float("nan"), 1)), "rope_freqs"),
        })

    def test_a_context_that_is_stated_too_large(self):
        self.all_served({"2^30": setting("llama.context_length", U32, 1 << 30, "")})


class Vocabulary(HostileTest):
    def test_tokens(self):
        tokens = VOCABULARY.metadata["tokenizer.ggml.tokens"][1][1]
        kinds = VOCABULARY.metadata["tokenizer.ggml.token_type"][1][1]

        def changed(at, value):
            return (STRING, tokens[:at] + [value] + tokens[at + 1:])

        self.all_refused({
            "a token too many": case(
                lambda gguf: gguf.set("tokenizer.ggml.tokens", ARRAY, (STRING, tokens + ["more"])).set("tokenizer.ggml.token_type", ARRAY, (I32, kinds + [1])),
                "tokens", "96", base=VOCABULARY),
            "of another kind": vocabulary("tokens", ARRAY, (U32, list(range(96)))), "no list": vocabulary("tokens", STRING, "abc"),
            "none": vocabulary("tokens", ARRAY, (STRING, [])), "a twin": vocabulary("tokens", ARRAY, changed(5, tokens[6])),
            "no UTF-8": vocabulary("tokens", ARRAY, changed(5, text(b"\xff\xfe"))),
            "an endless one": vocabulary("tokens", ARRAY, changed(5, "x" * 100000)),
            "too few types": vocabulary("token_type", ARRAY, (I32, kinds[:-1])), "types of another kind": vocabulary("token_type", ARRAY, (F32, [1.0] * 96)),
            "a type out of range": vocabulary("token_type", ARRAY, (I32, [77] + kinds[1:])), "a type below 0": vocabulary("token_type", ARRAY, (I32, [-1] + kinds[1:])),
            "a type of 2^63": vocabulary("token_type", ARRAY, (U64, [HUGE] + kinds[1:])),
        })

    def test_the_rest(self):
        merges = models.MERGES
        no_scores = {"scores missing": vocabulary("model", STRING, "llama", "scores")}
        for name, kind, value in (("shorter", F32, [0.0] * 95), ("of another kind", STRING, ["0"] * 96),
                                  ("not a number", F32, [float("nan")] * 96)):
            no_scores[f"scores {name}"] = case(
                lambda gguf, kind=kind, value=value: gguf.set("tokenizer.ggml.model", STRING, "llama").set("tokenizer.ggml.scores", ARRAY, (kind, value)),
                "scores", base=VOCABULARY)
        ids = {f"{key} {kind} {value}": vocabulary(key, kind, value) for key in ("bos_token_id", "eos_token_id", "eot_token_id")
               for kind, value in ((U32, 96), (U64, HUGE), (I32, -7), (STRING, "1"), (F32, 1.0))}
        flags = {f"{key} {kind}": vocabulary(key, kind, value) for key in ("add_bos_token", "add_eos_token")
                 for kind, value in ((U32, 1), (STRING, "true"))}
        self.all_refused({
            "a model that nobody knows": vocabulary("model", STRING, "rune", "rune"), "of another kind": vocabulary("model", U32, 1),
            "a pre that nobody knows": vocabulary("pre", STRING, "rune", "rune"), "a pre of another kind": vocabulary("pre", U32, 1),
            "merges of another kind": vocabulary("merges", ARRAY, (U32, [1])), "no list": vocabulary("merges", STRING, "a b"),
            "a merge of one": vocabulary("merges", ARRAY, (STRING, merges + ["ab"])), "of nothing": vocabulary("merges", ARRAY, (STRING, merges + [""])),
            "of no token": vocabulary("merges", ARRAY, (STRING, merges + ["zz zz"])), "into no token": vocabulary("merges", ARRAY, (STRING, merges + ["z z"])),
            **no_scores, **ids, **flags,
        })

    def test_templates(self):
        for name, source in (("of another kind", None), ("unterminated", "{% if x %}"), ("deep", "{{ " + "(" * 100000 + ")" * 100000 + " }}"),
                             ("deep blocks", "{% if x %}" * 100000), ("no UTF-8", text(b"\xff{{ 1 }}"))):
            kind, value = (U32, 1) if source is None else (STRING, source)
            with self.subTest(name):
                self.all_served({name: case(lambda gguf: gguf.set("tokenizer.chat_template", kind, value), "chat_template", base=VOCABULARY)})


if __name__ == "__main__":
    run()
