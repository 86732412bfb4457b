#!/usr/bin/env python3
"""Compares `shardline tokenize` with the `tokenizers` and `sentencepiece` libraries: over every code point, a corpus and
random texts, for vocabularies of realistic size trained on text of this machine.

    pip install -r tools/requirements-text.txt
    tools/compare_tokenizers.py --shardline build/release/bin/shardline [--only NAME …] [--keep DIR]

Prints a line for each vocabulary and exits with 1 when any text differs. Too slow for the tests: run it by hand.
"""
import argparse
import io
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import gguf
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors, trainers
from tokenizers import pre_tokenizers as pre

import make_tokenizer_fixtures as fixtures
from make_tokenizer_fixtures import BYTE, CONTROL, CORPUS, NORMAL, UNKNOWN, USER_DEFINED, chain, split

VOCABULARY = 32000
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]


def training_text(megabytes):
    """Documentation and sources: English, code, some of other languages."""
    random.seed(1)
    files = [x for pattern in ("usr/share/**/*.txt", "usr/share/doc/**/*", "usr/lib/python3*/*.py", "usr/share/perl/**/*.p[lm]")
             for x in pathlib.Path("/").glob(pattern) if x.is_file() and x.suffix not in (".gz", ".png")]
    random.shuffle(files)
    text = [*CORPUS] * 3
    size = 0
    for file in files:
        data = file.read_bytes()[:200_000]
        try:
            text.append(data.decode())
        except UnicodeDecodeError:
            continue
        size += len(data)
        if size > megabytes << 20:
            break
    return [line for part in text for line in part.splitlines(keepends=True)]


def code_point_lines():
    """Every code point among letters, digits and spaces, 64 a line."""
    for first in range(0, 0x110000, 64):
        block = [chr(c) for c in range(first, first + 64) if not 0xD800 <= c < 0xE000]
        if block:
            yield "".join(f"a{c}1 {c}{c}" for c in block)


def cluster_lines():
    """Every code point beside characters that a charsmap replaces, in grapheme clusters of a few bytes."""
    for first in range(1, 0x110000, 64):
        block = [chr(c) for c in range(first, first + 64) if not 0xD800 <= c < 0xE000 and c < 0x110000]
        if block:
            yield "".join(f"ª{c}x Ⅰ{c}y {c}ªz \u200d{c}½ ©\u200d{c}ª|" for c in block)


def random_lines(count):
    random.seed(2)
    alphabet = ("aeiouthnsrTHE'sdmlv0123456789      \n\n\t\r.,!?-_/\\\"'()[]<>|=+*&^%$#@~`éßñüÀÉ漢字かな한국어АБвгд"
                "\u0301\u0308\u0323\u200d\u200b\u00a0\u3000\u2028½²ªº①ﬁｆＡ👍🏽🇩🇪\u2581\u1100\u1161\u0600\u00a9\u00ae\u094d\u0915")
    for _ in range(count):
        yield "".join(random.choice(alphabet) for _ in range(random.randint(1, 60)))


class Shardline:
    def __init__(self, binary):
        self.binary = binary

    def ids(self, file, lines, special=False, parse=True):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        run = subprocess.run([self.binary, "tokenize", "--lines", "--tokenizer", str(file), f"--add-special-tokens={str(special).lower()}",
                              f"--parse-special-tokens={str(parse).lower()}"], input=text.encode(), stdout=subprocess.PIPE, check=True)
        return [json.loads(line)["ids"] for line in run.stdout.splitlines()]


def byte_level_models(text, wanted):
    """(name, tokenizer, tokenizer.ggml.pre or None); one vocabulary a pre-tokenizer."""
    published = {
        "falcon.json": pre.Sequence([pre.Punctuation("contiguous"), pre.ByteLevel(add_prefix_space=False), pre.Digits(False),
                                     split("[0-9][0-9][0-9]")]),
        "deepseek-v3.json": chain(split(r"\p{N}{1,3}"), split(fixtures.CJK_V3), split(fixtures.V3_WORDS)),
        "cl100k.json": chain(split(fixtures.CL100K)),
        "cl100k_removed.json": chain(split(fixtures.CL100K, "removed", True)),
        "gpt-neox.json": pre.ByteLevel(add_prefix_space=False, trim_offsets=True),
    }
    cases = [(name, parts, name) for name, parts in fixtures.GGUF_PRE.items()] + [(n, p, None) for n, p in published.items()]
    for name, parts, ggml in cases:
        if not wanted(f"bpe {name}"):
            continue
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = parts
        t.decoder = decoders.ByteLevel()
        t.train_from_iterator(text, trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False))
        if name == "gpt-neox.json":
            t.normalizer = normalizers.NFC()
        yield name, t, ggml


def write_byte_level(path, t, ggml):
    if ggml is None:
        path.write_text(t.to_str())
        return
    data = json.loads(t.to_str())["model"]
    tokens = sorted(data["vocab"], key=data["vocab"].get)
    if ggml in ("llama-bpe", "tekken"):
        data["ignore_merges"] = True
    fixtures.write_gguf(path, "gpt2", tokens, [NORMAL] * len(tokens), tokenizer_pre=ggml, token_merges=[" ".join(m) for m in data["merges"]])


def ignoring_merges(t):
    data = json.loads(t.to_str())
    data["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(data))


def sentencepiece_model(text, kind, **options):
    out = io.BytesIO()
    sentences = (line.strip("\n")[:2000] for line in text)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(x for x in sentences if x), model_writer=out, vocab_size=VOCABULARY // 2, model_type=kind, minloglevel=2,
        unk_id=0, bos_id=1, eos_id=2, pad_id=3 if kind == "unigram" else -1, max_sentence_length=2048, num_threads=2,
        input_sentence_size=60000, shuffle_input_sentence=True, hard_vocab_limit=False, **options)
    return out.getvalue()


def unigram_models(text):
    """(name, tokenizers.Tokenizer, SentencePiece model) of Unigram vocabularies with a real charsmap."""
    for fallback in (False, True):
        model = sentencepiece_model(text, "unigram", normalization_rule_name="nmt_nfkc", byte_fallback=fallback, user_defined_symbols=["<tool>"])
        spm = sentencepiece.SentencePieceProcessor(model_proto=model)
        vocabulary = [(spm.id_to_piece(i), spm.get_score(i)) for i in range(spm.vocab_size())]
        yield model, spm, vocabulary, fallback


def unigram_tokenizers(vocabulary, charsmap, fallback):
    def make(normalizer, pre_tokenizer):
        t = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=fallback))
        if normalizer is not None:
            t.normalizer = normalizer
        if pre_tokenizer is not None:
            t.pre_tokenizer = pre_tokenizer
        t.decoder = decoders.Metaspace()
        t.add_special_tokens([AddedToken(x, normalized=False) for x in SPECIAL])
        return t
    tail = "_bytes" if fallback else ""
    precompiled = normalizers.Precompiled(charsmap)
    yield "t5" + tail, make(precompiled, pre.Metaspace())
    yield "t5_new" + tail, make(normalizers.Sequence([precompiled, normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), "▁")]),
                                pre.Metaspace(prepend_scheme="always"))
    yield "xlmr" + tail, make(precompiled, pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()]))
    yield "albert" + tail, make(normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
                                                      normalizers.StripAccents(), normalizers.Lowercase(), precompiled]), pre.Metaspace())
    yield "nfkc" + tail, make(normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]), pre.Metaspace())
    yield "helium" + tail, make(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None)


def bpe_spm_tokenizers(text):
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.pre_tokenizer = pre.Metaspace()
    special = SPECIAL + [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator(text, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, limit_alphabet=1500, show_progress=False))
    t = fixtures.only_special(t, SPECIAL)
    for name, normalizer, cut in (("llama2", normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
                                  ("gemma", normalizers.Replace(" ", "▁"), pre.Split(" ", "merged_with_previous")),
                                  ("metaspace", None, pre.Metaspace(prepend_scheme="first"))):
        copy = Tokenizer.from_str(t.to_str())
        data = json.loads(copy.to_str())
        data["normalizer"] = data["pre_tokenizer"] = None
        copy = Tokenizer.from_str(json.dumps(data))
        if normalizer is not None:
            copy.normalizer = normalizer
        if cut is not None:
            copy.pre_tokenizer = cut
        yield name, copy


def write_scored(path, kind, spm, vocabulary, **values):
    types = []
    for i in range(len(vocabulary)):
        types.append(UNKNOWN if spm.is_unknown(i) else CONTROL if spm.is_control(i) else BYTE if spm.is_byte(i) else
                     USER_DEFINED if vocabulary[i][0] == "<tool>" else NORMAL)
    fixtures.write_gguf(path, kind, [x for x, _ in vocabulary], types, token_scores=[y for _, y in vocabulary], **values)


class Comparison:
    def __init__(self, shardline, lines):
        self.shardline, self.lines, self.failed = shardline, lines, False

    def run(self, name, path, encode):
        """`encode` gives the expected ids of a text, or None where the reference has no say."""
        counts = []
        for kind, lines in self.lines.items():
            got = self.shardline.ids(path, lines)
            wrong = [(line, ids) for line, ids in zip(lines, got) if (want := encode(line)) is not None and want != ids]
            counts.append(f"{kind} {len(wrong)}/{len(lines)}")
            if wrong and kind == "code points":
                wrong = self.narrow(path, encode, [x for x, _ in wrong])
                counts[-1] += f" ({len(wrong)} code points)"
            for line, ids in wrong[:3]:
                print(f"    {line!a}\n      want {encode(line)}\n      got  {ids}")
            self.failed |= bool(wrong)
        print(f"{name}: {', '.join(counts)}", flush=True)

    def narrow(self, path, encode, lines):
        single = sorted({f"a{c}1 {c}{c}" for line in lines for c in line})
        return [(x, ids) for x, ids in zip(single, self.shardline.ids(path, single)) if encode(x) != ids]


def rwkv_vocabulary(text):
    """Bytes, then frequent byte strings: their ids and a greedy encoder."""
    counts = {}
    random.seed(3)
    for line in random.sample(text, min(len(text), 20000)):
        data = line.encode()
        for size in (2, 3, 4, 6, 9):
            for at in range(0, len(data) - size, 2):
                piece = data[at:at + size]
                counts[piece] = counts.get(piece, 0) + 1
    tokens = [bytes([b]) for b in range(256)] + sorted(counts, key=lambda x: (-counts[x], x))[:VOCABULARY]
    ids = {x: i + 1 for i, x in enumerate(tokens)}

    def encode(line):
        data, at, out = line.encode(), 0, []
        while at < len(data):
            size = next(n for n in range(9, 0, -1) if data[at:at + n] in ids and at + n <= len(data))
            out.append(ids[data[at:at + size]])
            at += size
        return out
    return tokens, encode


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shardline", required=True)
    parser.add_argument("--only", nargs="*", help="groups (bpe, spm, unigram, rwkv) or vocabularies ('bpe qwen2')")
    parser.add_argument("--keep", help="write the vocabularies here")
    parser.add_argument("--megabytes", type=int, default=8)
    options = parser.parse_args()
    text = training_text(options.megabytes)
    lines = {"code points": list(code_point_lines()), "corpus": CORPUS, "random": list(random_lines(4000)), "text": random.Random(4).sample(text, 3000)}
    compare = Comparison(Shardline(options.shardline), lines)
    folder = pathlib.Path(options.keep or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)

    def wanted(name):
        return not options.only or any(name.startswith(x) or x.startswith(name) for x in options.only)

    def reference(t):
        return lambda line: t.encode(line, add_special_tokens=False).ids

    if wanted("bpe"):
        for name, t, ggml in byte_level_models(text, wanted):
            path = folder / (f"bpe_{name}.gguf" if ggml else f"bpe_{name}")
            write_byte_level(path, t, ggml)
            compare.run(f"bpe {name}", path, reference(ignoring_merges(t) if ggml in ("llama-bpe", "tekken") else t))
    if wanted("spm"):
        for name, t in bpe_spm_tokenizers(text):
            path = folder / f"spm_{name}.json"
            path.write_text(t.to_str())
            compare.run(f"spm {name}", path, reference(t))
    if wanted("unigram"):
        lines["clusters"] = list(cluster_lines())
        for model, spm, vocabulary, fallback in unigram_models(text):
            charsmap = fixtures.charsmap_of(model)
            for name, t in unigram_tokenizers(vocabulary, charsmap, fallback):
                path = folder / f"unigram_{name}.json"
                path.write_text(t.to_str())
                compare.run(f"unigram {name}", path, reference(t))
            path = folder / f"t5{'_bytes' * fallback}.gguf"
            write_scored(path, "t5", spm, vocabulary, precompiled_charsmap=charsmap, unk_token_id=0, bos_token_id=1, eos_token_id=2,
                         add_space_prefix=True, remove_extra_whitespaces=True)
            # SentencePiece adds up scores as floats, so long repetitions end in other ties: its normalisation, but
            # the library's sums. Added tokens are cut out of a text before SentencePiece would see it.
            plain = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=fallback))
            compare.run(path.name, path, lambda line: None if any(x in line for x in [*SPECIAL, "<tool>"]) else
                        spm.encode(line) if "<0x" in line else plain.encode(spm.normalize(line)).ids)
            agree = sum(plain.encode(spm.normalize(line)).ids == spm.encode(line) for line in lines["text"])
            print(f"    (SentencePiece itself: the same ids for {agree} of {len(lines['text'])} texts)")
    if wanted("rwkv"):
        tokens, encode = rwkv_vocabulary(text)
        path = folder / "rwkv.gguf"
        fixtures.write_gguf(path, "rwkv", ["<s>"] + [repr(x)[2:-1] for x in tokens], [CONTROL] + [NORMAL] * len(tokens))
        compare.run("rwkv.gguf", path, lambda line: None if "<s>" in line else encode(line))
    sys.exit(1 if compare.failed else 0)


if __name__ == "__main__":
    main()
