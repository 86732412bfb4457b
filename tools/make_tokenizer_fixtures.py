#!/usr/bin/env python3
"""Writes tests/gateway/text/tokenizer/testdata: small tokenizers and the ids that the `tokenizers`
library gives for a corpus chosen to be nasty.

    pip install -r tools/requirements-text.txt
    tools/make_tokenizer_fixtures.py [--smollm2 models/SmolLM2-135M-Instruct.Q4_1.gguf]

The tests need only what is written here. The oracle of a GGUF vocabulary is a `tokenizers` pipeline put
together by hand: loaders of GGUF files in other libraries drop the file's pre-tokenizer.
"""
import argparse
import io
import json
import pathlib
import random
import re
import tempfile
import unicodedata

import gguf
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors, trainers
from tokenizers import pre_tokenizers as pre

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/gateway/text/tokenizer/testdata"
SPACES = " \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"

CORPUS = [
    "", " ", "  ", "\n", "a", "é", "Hello, world!", " Hello", "Hello ", "  two  spaces  ",
    "The quick brown fox jumps over the lazy dog. It's 12345.67, isn't it? They'll've DON'T WE'RE I'M he'd",
    "naïve café — déjà vu; über Straße; İstanbul ı ǅ ſ'ſ don’t",
    "".join(f"x{c}y{c}{c}" for c in SPACES), SPACES, "x" + SPACES, SPACES + "x",
    "\u200b\u200c\u200d\ufeff\u2060\u180e", "line\r\nline\r\n\r\n  indented\r\n\ttab\n\n\n end\r\r",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️ 1️⃣ 🏴\U000e0067\U000e0062\U000e007f", "e\u0301\u0323 a\u0308\u0304 \u0301x z\u0335\u0337\u0338",
    "漢字かな交じり文、日本語。한국어 조선말 中文，测试：“引号”！", "ｆｕｌｌ　ｗｉｄｔｈ１２３ ﬁ ﬂ ™ ㎏ ① ½ ² Ⅷ",
    "العربية ١٢٣ שלום עולם فارسی ۱۲۳", "न्यूज़ १२३ தமிழ் ௧௨ ไทย ๑๒๓ မြန်မာ ၁၂ ខ្មែរ", "Ελληνικά Русский Հայերեն ქართული",
    "0 1 12 123 1234 12345 123456 1,234.5 1e-9 0x1F 3.14.15 ½¾ ⅓ ٣٣٣٣ 五 Ⅻ ⓫",
    "def f(x):\n    return x ** 2  # comment\n\n\nclass A:\n\tpass\n", '{"key": [1, 2.5, null], "ü": "\\n"}',
    "a_b __init__ camelCase HTTPServer snake_case-kebab x=1+2*3/4;#$%^&*()[]{}|\\~`<>?@", "!!! ??? ... --- ___ '''\"\"\"",
    "https://example.com/path?q=1&r=%20#frag user@example.com", "\x00\x01\x02\x1b[31m\x7f\x80\x9f",
    "<s>", "</s>", "<s>text</s>", "a<unk>b", "<|im_start|>user\nhi<|im_end|>\n", "x<|im_start|>y", " <mask> ", "the<mask>\n\n end",
    "word single wordy unword -single- single", "  single  ", "\u2581\u2581a \u2581b\u2581", "<0x41><0xE2><0x96>", "<|im_start|", "|><|",
    "Ω≈ç√∫˜µ≤ 𝒳𝔘𝖆 𠀀🀀 \U00010d50\U00010d70 \ua7cb \U0001e5d0 \u1c89", "tool<tool>tool<TOOL> <Tool>", "AbC ΑΒΓ ΣΑΣ ÀÉÎ",
    "a" * 700, " " * 300 + "x", "\n" * 200, "ab" * 200, "é" * 150, "1" * 100, "!" * 100, "🙂" * 60, " a" * 150, "the " * 100,
    "aaaa" * 3 + "b" + "aaaa" * 5, "'" * 40, "\r\n" * 50, "hello" + "\u0301" * 40, "\u3000" * 30 + "。" * 30,
]

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
         r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = CASED % ("", "", "")
GPT4O = CASED % ("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "{1,3}")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
          r"|\s+(?!\S)|\s")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CJK_LLM = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
CJK_V3 = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
V3_WORDS = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern, behavior="isolated", invert=False):
    return pre.Split(Regex(pattern), behavior, invert)


def chain(*parts):
    return pre.Sequence([*parts, pre.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level(size, pre_tokenizer, model=None, **trainer):
    t = Tokenizer(model or models.BPE())
    t.pre_tokenizer = pre_tokenizer
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS * 2, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False, **trainer))
    return t


def characters(size, pre_tokenizer, normalizer=None, special=("<unk>", "<s>", "</s>"), limit=2000, trainer=None, **model):
    t = Tokenizer(models.BPE(unk_token="<unk>", **model))
    t.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        t.normalizer = normalizer
    special = list(special) + [f"<0x{b:02X}>" for b in range(256)] * bool(model.get("byte_fallback"))
    t.train_from_iterator(CORPUS * 2, trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, limit_alphabet=limit, show_progress=False, **(trainer or {})))
    return t


def only_special(t, names):
    """Training marks byte tokens as special added tokens; real files do not."""
    data = json.loads(t.to_str())
    data["added_tokens"] = [x for x in data["added_tokens"] if x["content"] in names]
    return Tokenizer.from_str(json.dumps(data))


def template(t, single):
    ids = [(x, t.token_to_id(x)) for x in ("<s>", "</s>")]
    return processors.TemplateProcessing(single=single, pair=f"{single} $B:1", special_tokens=ids)


def flagged():
    for flags in range(16):
        yield {"single_word": bool(flags & 1), "lstrip": bool(flags & 2), "rstrip": bool(flags & 4), "normalized": bool(flags & 8)}


def json_fixtures():
    t = byte_level(500, pre.ByteLevel(add_prefix_space=False))
    t.add_special_tokens(["<|im_start|>", "<|im_end|>", "<s>", "</s>"])
    yield "gpt2", t
    t = byte_level(450, pre.ByteLevel(add_prefix_space=True))
    t.add_special_tokens(["<s>", "</s>"])
    t.normalizer = normalizers.NFC()
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))
    yield "roberta", t
    for name, pattern in (("llama3", LLAMA3), ("cl100k", CL100K), ("gpt4o", GPT4O)):
        t = byte_level(480, chain(split(pattern)))
        t.add_special_tokens(["<s>", "</s>", "<|im_start|>", "<|im_end|>"])
        t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template(t, "<s> $A")])
        data = json.loads(t.to_str())
        data["model"]["ignore_merges"] = name == "llama3"
        data["model"]["merges"] = [" ".join(m) if name == "cl100k" else m for m in data["model"]["merges"]]
        yield name, Tokenizer.from_str(json.dumps(data))
    t = byte_level(450, pre.ByteLevel(add_prefix_space=False, use_regex=False))
    t.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=False), pre.Punctuation("contiguous"),
                                    pre.Split("e", "merged_with_next"), pre.ByteLevel(add_prefix_space=False)])
    contents = ["<tool>", "single", "<mask>", "the", "  ", "\n\n", "é", "漢字", "a b", "</s>", "un", "<s>", "🇩🇪", "don", "x", "AbC"]
    for content, flags in zip(contents, flagged()):
        token = AddedToken(content, **flags)
        (t.add_special_tokens if content[0] == "<" else t.add_tokens)([token])
    t.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.NFKC()])
    yield "added", t

    norm = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    spm_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t = characters(900, pre.Metaspace(), byte_fallback=True, fuse_unk=True, limit=80)
    t = only_special(t, ("<unk>", "<s>", "</s>"))
    t.pre_tokenizer, t.normalizer, t.decoder = None, norm, spm_decoder
    t.post_processor = template(t, "<s> $A")
    yield "llama2", t
    for scheme, cut in (("first", False), ("always", True), ("never", True)):
        t = characters(500, pre.Metaspace(prepend_scheme=scheme, split=cut), limit=100, fuse_unk=scheme == "first")
        t.decoder = decoders.Metaspace(prepend_scheme=scheme, split=cut)
        t.post_processor = template(t, "<s> $A </s>")
        t.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<tool>", rstrip=True)])
        yield f"metaspace_{scheme}", t
    t = characters(500, pre.Whitespace(), trainer={"end_of_word_suffix": "</w>"}, end_of_word_suffix="</w>")
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    yield "word_suffix", t
    t = characters(500, pre.Sequence([pre.WhitespaceSplit(), pre.Punctuation("removed")]),
                   trainer={"continuing_subword_prefix": "##"}, continuing_subword_prefix="##")
    t.normalizer = normalizers.NFKD()
    yield "subword_prefix", t
    t = byte_level(420, pre.ByteLevel(add_prefix_space=False, use_regex=False))
    t.pre_tokenizer = pre.Sequence([split(r"[[:alpha:]&&[^aeiou]]+|\h{2}", "merged_with_previous"), split(r"\b", "removed"),
                                    split(r"(?i)THE|(?m:x.y)", "contiguous"), split(r"\p{^L}|[\W_]", "isolated", True),
                                    pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.normalizer = normalizers.Replace(Regex(r"[\w-]{2}+\s|\u00e9"), "q")
    yield "syntax", t


def characters_in(ranges):
    """A class of the code points "41-5A 61-7A B5"."""
    return "[" + "".join("-".join(rf"\x{{{x}}}" for x in part.split("-")) for part in ranges.split()) + "]"


# The cased letters and the punctuation of DeepSeek LLM's pattern.
DEEPSEEK_LETTERS = characters_in(
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C 38E-3A1 3A3-3F5 3F7-481 "
    "48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 "
    "1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC "
    "1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 "
    "2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 "
    "FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943")
DEEPSEEK_SIGNS = characters_in("21-2F 3A-7E FF01-FF0F FF1A-FF5E 2018-201F 3000-3002")
DEEPSEEK_LLM = chain(split(r"[\r\n]"), split(rf"\s?{DEEPSEEK_LETTERS}+"), split(rf"\s?{DEEPSEEK_SIGNS}+"), split(r"\s+$"), split(CJK_LLM),
                     pre.Digits(False))
DEEPSEEK_CODER = chain(split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(CJK_LLM), pre.Digits(True))
GGUF_PRE = {
    "gpt-2": pre.ByteLevel(add_prefix_space=False),
    "smollm": pre.Sequence([pre.Digits(True), pre.ByteLevel(add_prefix_space=False)]),
    "llama-bpe": chain(split(LLAMA3)),
    "dbrx": chain(split(LLAMA3)),
    "qwen2": chain(split(QWEN2)),
    "qwen35": chain(split(QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]"))),
    "tekken": chain(split(TEKKEN)),
    "gpt-4o": chain(split(GPT4O)),
    "falcon": chain(split(r"[\p{P}\$\+<=>\^~\|`]+"), split(GPT2), split("[0-9][0-9][0-9]")),
    "deepseek-llm": DEEPSEEK_LLM,
    "deepseek-coder": DEEPSEEK_CODER,
    "deepseek-v3": chain(split(r"\p{N}{1,3}"), split(CJK_V3), split(V3_WORDS)),
    "default": chain(split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split("[0-9][0-9][0-9]")),
}
CONTROL, USER_DEFINED, NORMAL, UNKNOWN, BYTE = (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED, gguf.TokenType.NORMAL,
                                                gguf.TokenType.UNKNOWN, gguf.TokenType.BYTE)


def write_gguf(path, model, tokens, types, **values):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    for key, value in values.items():
        getattr(writer, f"add_{key}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def gguf_fixtures():
    for name, pre_tokenizer in GGUF_PRE.items():
        t = byte_level(400, pre_tokenizer)
        data = json.loads(t.to_str())["model"]
        tokens = sorted(data["vocab"], key=data["vocab"].get) + ["<|im_start|>", "<|im_end|>", "<tool>"]
        merges = [" ".join(m) for m in data["merges"]]
        bos, eos = len(tokens) - 3, len(tokens) - 2
        family = name in ("llama-bpe", "tekken")  # adds BOS and ignores merges
        write_gguf(OUT / f"pre_{name}.gguf", "gpt2", tokens, [NORMAL] * bos + [CONTROL, CONTROL, USER_DEFINED],
                   tokenizer_pre=name, token_merges=merges, bos_token_id=bos, eos_token_id=eos)
        data["ignore_merges"] = family
        data["vocab"] = {x: i for i, x in enumerate(tokens)}
        full = json.loads(t.to_str())
        full["model"] = data
        t = Tokenizer.from_str(json.dumps(full))
        t.add_special_tokens([AddedToken(x, normalized=False) for x in tokens[bos:bos + 2]])
        t.add_tokens([AddedToken("<tool>", normalized=False)])
        if family:
            t.post_processor = processors.TemplateProcessing(single=f"{tokens[bos]} $A", special_tokens=[(tokens[bos], bos)])
        yield f"pre_{name}", t
    for prefix in (True, False):
        t = characters(900, pre.Metaspace(prepend_scheme="always" if prefix else "never", split=False), byte_fallback=True,
                       fuse_unk=True, limit=80)
        data = json.loads(t.to_str())["model"]
        tokens = sorted(data["vocab"], key=data["vocab"].get) + ["<tool>", "  "]
        # SentencePiece scores: the earlier a merge, the higher; single characters come last.
        rank = {a + b: i for i, (a, b) in reversed(list(enumerate(data["merges"])))}
        scores = [-float(rank.get(x, 5000 + i)) for i, x in enumerate(tokens)]
        types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * (len(tokens) - 261) + [USER_DEFINED] * 2
        name = "spm" if prefix else "spm_no_prefix"
        write_gguf(OUT / f"{name}.gguf", "llama", tokens, types, token_scores=scores, unk_token_id=0, bos_token_id=1, eos_token_id=2,
                   add_space_prefix=prefix, add_eos_token=not prefix)
        # The twin: every way to cut a token in two is a merge, in the order of scores.
        order = sorted((x for x, y in zip(tokens, types) if y == NORMAL), key=lambda x: -scores[tokens.index(x)])
        data["merges"] = [[x[:i], x[i:]] for x in order for i in range(1, len(x))
                          if x[:i] in data["vocab"] and x[i:] in data["vocab"]]
        data["vocab"] = {x: i for i, x in enumerate(tokens)}
        full = json.loads(t.to_str())
        full.update(model=data, added_tokens=[], pre_tokenizer=None)
        t = Tokenizer.from_str(json.dumps(full))
        steps = [normalizers.Prepend("▁")] * prefix + [normalizers.Replace(" ", "▁")]
        t.normalizer = normalizers.Sequence(steps)
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] +
                                      [decoders.Strip(" ", 1, 0)] * prefix)
        t.add_special_tokens([AddedToken(x, normalized=False) for x in ("<unk>", "<s>", "</s>")])
        t.add_tokens([AddedToken(x, normalized=False) for x in ("<tool>", "  ")])
        t.post_processor = template(t, "<s> $A" if prefix else "<s> $A </s>")
        yield name, t


class Pieces:
    """The reference of GGUF vocabularies that no other loader reads: added tokens are cut out, `encode_text` does the rest."""

    def __init__(self, special, added, encode_text, decode, eos=None):
        self.special, self.added, self.encode_text, self.decode_ids, self.eos = special, added, encode_text, decode, eos
        self.encode_special_tokens = False

    def encode(self, text, add_special_tokens):
        tokens = self.added if self.encode_special_tokens else {**self.special, **self.added}
        ids = []
        parts = re.split("(" + "|".join(sorted(map(re.escape, tokens), key=len, reverse=True)) + ")", text) if tokens else [text]
        for part in parts:
            ids += [tokens[part]] if part in tokens else self.encode_text(part) if part else []
        return type("Encoding", (), {"ids": ids + [self.eos] * bool(add_special_tokens and self.eos is not None)})

    def decode(self, ids):
        return self.decode_ids([i for i in ids if i not in self.special.values()])


def sentencepiece_model(sentences, size, **options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_writer=out, vocab_size=size, minloglevel=2,
                                             pad_id=3, num_threads=1, hard_vocab_limit=False, **options)
    return out.getvalue()


def charsmap_of(model):
    """normalizer_spec.precompiled_charsmap, read from the file itself."""
    def fields(data):
        at = 0

        def varint():
            nonlocal at
            value = shift = 0
            while True:
                at += 1
                value |= (data[at - 1] & 127) << shift
                shift += 7
                if data[at - 1] < 128:
                    return value
        while at < len(data):
            key = varint()
            size = {0: 0, 1: 8, 2: 0, 5: 4}[key & 7]
            if key & 7 == 0:
                yield key >> 3, varint()
                continue
            size = size or varint()
            yield key >> 3, data[at:at + size]
            at += size
    return next(dict(fields(value))[2] for number, value in fields(model) if number == 3)


def small_rules():
    """A few of NFKC's replacements and SentencePiece's own, as the trainer reads them."""
    rules = {c: unicodedata.normalize("NFKC", c) for c in "ªº½²™㎏①ﬁﬂⅧ１２３ｆｕｌｗｉｄｔｈ\u3000\xa0\u2003"}
    rules |= {c: " " for c in "\t\n\r\u2581\u2028\u200b\u200d"} | {c: "" for c in "\x01\x02\x1b\x7f"}
    rules |= {unicodedata.normalize("NFD", c): c for c in "éäñ"} | {"e\u0301\u0323": "q", "''": '"', "ab": "ba"}
    return "".join(" ".join(f"{ord(c):X}" for c in old) + "\t" + " ".join(f"{ord(c):X}" for c in new) + "\n" for old, new in rules.items())


def unigram_fixtures():
    """JSON and GGUF files of one Unigram vocabulary each, with and without byte fallback."""
    sentences = [line for text in CORPUS * 4 for line in text.splitlines() if line]
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write(small_rules())
        rules.flush()
        common = {"normalization_rule_tsv": rules.name, "user_defined_symbols": ["<tool>"], "character_coverage": 0.98}
        plain = sentencepiece_model(sentences, 500, **common)
        fallback = sentencepiece_model(sentences, 700, byte_fallback=True, **common)
        untrimmed = sentencepiece_model(sentences, 400, remove_extra_whitespaces=False, add_dummy_prefix=False, **common)
    special = {"<unk>": 0, "<s>": 1, "</s>": 2, "<pad>": 3}
    for name, model, keep in (("t5", plain, False), ("t5_bytes", fallback, False), ("t5_spaces", untrimmed, True)):
        spm = sentencepiece.SentencePieceProcessor(model_proto=model)
        vocabulary = [(spm.id_to_piece(i), spm.get_score(i)) for i in range(spm.vocab_size())]
        tool = spm.piece_to_id("<tool>")
        types = [UNKNOWN if spm.is_unknown(i) else CONTROL if spm.is_control(i) else BYTE if spm.is_byte(i) else USER_DEFINED if i == tool else NORMAL
                 for i in range(len(vocabulary))]
        write_gguf(OUT / f"{name}.gguf", "t5", [x for x, _ in vocabulary], types, token_scores=[y for _, y in vocabulary], unk_token_id=0,
                   bos_token_id=1, eos_token_id=2, add_space_prefix=not keep, remove_extra_whitespaces=not keep,
                   precompiled_charsmap=charsmap_of(model))
        # SentencePiece adds up floats, others doubles: its normalisation, but the library's sums. The library finds
        # byte tokens by their names in text, too.
        sums = Tokenizer(models.Unigram([(chr(0x10FFF0 + i) if x in special else x, y) for i, (x, y) in enumerate(vocabulary)], unk_id=0,
                                        byte_fallback=name == "t5_bytes"))
        yield name, Pieces(special, {"<tool>": tool}, lambda text, spm=spm, sums=sums: spm.encode(text) if "<0x" in text else sums.encode(spm.normalize(text)).ids,
                           lambda ids, spm=spm: decode_pieces([spm.id_to_piece(i) for i in ids], strip=not keep), eos=2)
        if name == "t5_spaces":
            continue
        t = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=name == "t5_bytes"))
        if name == "t5":
            t.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap_of(model)), normalizers.Replace(Regex(" {2,}"), "▁")])
            t.pre_tokenizer, t.decoder = pre.Metaspace(), decoders.Metaspace()
        else:
            t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
            t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        t.add_special_tokens([AddedToken(x, normalized=False) for x in special])
        t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("new")])
        t.post_processor = template(t, "$A </s>")
        yield "unigram" + name[2:], t


def decode_pieces(pieces, strip):
    data = b"".join(bytes([int(x[3:5], 16)]) if re.fullmatch("<0x[0-9A-F]{2}>", x) else x.replace("▁", " ").encode() for x in pieces)
    return data[1 if strip and data[:1] == b" " else 0:].decode(errors="replace")


def rwkv_fixture():
    """A World vocabulary in small: all bytes, then byte strings of the corpus, some of them cut inside characters."""
    counts = {}
    for data in (text.encode() for text in CORPUS):
        for size in (2, 3, 5, 8):
            for at in range(len(data) - size + 1):
                counts[data[at:at + size]] = counts.get(data[at:at + size], 0) + 1
    tokens = [b"<s>"] + [bytes([b]) for b in range(256)] + sorted(counts, key=lambda x: (-counts[x], x))[:300] + [b"<tool>"]
    ids = {x: i for i, x in enumerate(tokens)}
    write_gguf(OUT / "rwkv.gguf", "rwkv", [repr(x)[2:-1] for x in tokens] + ["[PAD]"],
               [CONTROL] + [NORMAL] * (len(tokens) - 2) + [USER_DEFINED, gguf.TokenType.UNUSED], eos_token_id=0, bos_token_id=0)

    def encode(text):
        data, at, out = text.encode(), 0, []
        while at < len(data):
            size = next(n for n in range(8, 0, -1) if 0 < ids.get(data[at:at + n], 0) < len(tokens) - 1)
            out.append(ids[data[at:at + size]])
            at += len(data[at:at + size])
        return out
    return "rwkv", Pieces({"<s>": 0}, {"<tool>": ids[b"<tool>"]}, encode,
                          lambda x: b"".join(tokens[i] for i in x).decode(errors="replace"))


def smollm2(path):
    fields = gguf.GGUFReader(path).fields

    def strings(key):
        field = fields[f"tokenizer.ggml.{key}"]
        return [bytes(field.parts[i]).decode() for i in field.data]

    types = fields["tokenizer.ggml.token_type"]
    tokens = strings("tokens")
    t = Tokenizer(models.BPE({x: i for i, x in enumerate(tokens)}, [tuple(m.split(" ")) for m in strings("merges")]))
    t.pre_tokenizer = pre.Sequence([pre.Digits(True), pre.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    control = [x for x, i in zip(tokens, types.data) if types.parts[i][0] == CONTROL]
    t.add_special_tokens([AddedToken(x, normalized=False) for x in control])
    return t


def fnv(hash_, ids):
    for i in (*ids, 0xFFFFFFFF):
        hash_ = ((hash_ ^ i) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return hash_


def sweep(t):
    """One number over every code point of the planes in use, among letters, digits and spaces."""
    hash_ = 0xCBF29CE484222325
    for first in (*range(0, 0x33480, 64), *range(0xE0000, 0xE0200, 64)):
        block = [chr(c) for c in range(first, first + 64) if not 0xD800 <= c < 0xE000]
        hash_ = fnv(hash_, t.encode("".join(f"a{c}1 {c}{c}" for c in block), add_special_tokens=False).ids)
    return f"{hash_:016x}"


def without_special(t):
    """What text that is not parsed for special tokens becomes. The library's Unigram would find them all the same."""
    data = json.loads(t.to_str())
    if data["model"]["type"] != "Unigram":
        t = Tokenizer.from_str(t.to_str())
        t.encode_special_tokens = True
        return t
    special = {x["content"] for x in data["added_tokens"] if x["special"]}
    data["model"]["vocab"] = [[chr(0x10FFF0 + i) if x in special else x, y] for i, (x, y) in enumerate(data["model"]["vocab"])]
    data["added_tokens"] = [x for x in data["added_tokens"] if not x["special"]]
    data["post_processor"] = None
    return Tokenizer.from_str(json.dumps(data))


def expected(t, name):
    bos = False
    if isinstance(t, Tokenizer):
        t = Tokenizer.from_str(t.to_str())  # added tokens are normalised when a file is loaded
        bos = t.encode("a").ids[:1] != t.encode("a", add_special_tokens=False).ids[:1]
        plain_t = without_special(t)
    rows, texts = [], []
    for text in CORPUS:
        ids = t.encode(text, add_special_tokens=True).ids
        if bos and len(ids) > 1 and ids[0] == ids[1]:
            ids = ids[1:]  # the library doubles a BOS that the text starts with
        plain = t.encode(text, add_special_tokens=False).ids
        if isinstance(t, Tokenizer):
            unparsed = plain_t.encode(text, add_special_tokens=False).ids
        else:
            t.encode_special_tokens = True
            unparsed = t.encode(text, add_special_tokens=False).ids
            t.encode_special_tokens = False
        rows.append([ids, None if plain == ids else plain, None if unparsed == plain else unparsed])
        decoded = t.decode(plain)
        # Added tokens like "é" are not in the byte alphabet, but the library decodes them as if they were.
        lost = name == "added" and "\ufffd" in decoded
        # Its Metaspace decoder drops every space of the first token, not only the first.
        first = t.id_to_token(plain[0]) if plain and isinstance(t, Tokenizer) else ""
        lost |= name.startswith(("metaspace", "unigram")) and "▁" in first[1:]
        # Bytes that are not UTF-8 together it takes for so many U+FFFD, ASCII included.
        lost |= name == "unigram_bytes" and "<0x41>" in text
        texts.append(None if lost else decoded)
    return {"name": name, "ids": rows, "decoded": texts, "sweep": sweep(t)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--smollm2", help="the default model: writes its expected ids too")
    parser.add_argument("--only", nargs="*", help="leave all files but these as they are (training breaks ties at random)")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    random.seed(0)
    (OUT / "corpus.json").write_text(json.dumps(CORPUS, ensure_ascii=True))
    generators = [json_fixtures(), gguf_fixtures(), unigram_fixtures(), [rwkv_fixture()]]
    if options.smollm2:
        generators.append([("smollm2", smollm2(options.smollm2))])
    kept = {path: path.read_bytes() for path in OUT.iterdir() if options.only and path.name.split(".")[0] not in options.only}
    for name, t in (x for generator in generators for x in generator):
        if isinstance(t, Tokenizer) and not (OUT / f"{name}.gguf").exists() and name != "smollm2":
            (OUT / f"{name}.json").write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")))
        (OUT / f"{name}.expected.json").write_text(json.dumps(expected(t, name), separators=(",", ":")))
    for path, data in kept.items():
        path.write_bytes(data)


if __name__ == "__main__":
    main()
