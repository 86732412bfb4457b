#!/usr/bin/env python3
"""Writes tests/gateway/text/testdata/families: for each model family tiny files with the kind and the settings that its
publisher ships (the real special tokens, ids moved to a small vocabulary), and what the reference libraries make of them:
transformers of a directory, sentencepiece and tiktoken of their own files, llama.cpp of a GGUF file.

    pip install -r tools/requirements-families.txt
    python tools/make_family_fixtures.py

A family is one entry of FAMILIES. Chat templates are those of the template tests. Running it again gives the same files.
"""
import base64
import collections
import dataclasses
import datetime
import json
import pathlib
import re
import shutil
import tempfile
import types

import gguf
import numpy
import sentencepiece
import tiktoken
import transformers
from cyllama.llama import llama_cpp
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_proto
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

OUT = pathlib.Path("tests/gateway/text/testdata/families")
TEMPLATES = pathlib.Path("tests/gateway/text/jinja/testdata/templates")
NOW = datetime.datetime(2026, 11, 26, 12)  # what strftime_now() formats; families_test.cc has the same
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # tokenizer.ggml.token_type, and SentencePiece's own

CORPUS = """Hello world! Hello there, the weather in the world is 2024 and it's what you say: don't. I'm here, we're there.
The user said hello to the assistant. You are a helpful assistant; be brief. What is the weather in Paris today? It is sunny.
function get_weather(place) {  return 12345;  }  system user model assistant tool name arguments description
日本語 日本 Zürich über"""
TEXTS = ["Hello world", " Hello  world\n\n   x = 2024;\t\n", "It's 12345 o'clock, DON'T! (x);", "Zürich 日本語 🙂\r\n", "a\u0301e ▁ \u00a0 b", "\n",
         "{bos}Hello", "a{eos} b\n\n{eos}\n c {eos}", "<s>x</s>"]


def user(text):
    return {"role": "user", "content": text}


CONVERSATIONS = {
    "turns": {"messages": [user("Hello"), {"role": "assistant", "content": " Hi there.\n"}, user("What is the weather? ")],
              "date_string": "26 Jul 2024"},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, user("Hello")], "date_string": "26 Jul 2024"},
    "tools": {"messages": [{"role": "system", "content": "Be brief."}, user("Weather in Paris?")], "date_string": "26 Jul 2024",
              "tools": [{"type": "function", "function": {
                  "name": "get_weather", "description": "The weather at a place.",
                  "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}}]},
}

# ---- vocabularies


def learn(words, count):
    """Byte-pair merges, ties in the order of text: the same on every machine."""
    words, merges = collections.Counter(words), []
    parts = {word: list(word) for word in words}
    while len(merges) < count:
        pairs = collections.Counter()
        for word, times in words.items():
            for pair in zip(parts[word], parts[word][1:]):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, symbols in parts.items():
            at = 0
            while at + 1 < len(symbols):
                if (symbols[at], symbols[at + 1]) == best:
                    symbols[at:at + 2] = ["".join(best)]
                at += 1
    return merges


def byte_merges():
    words = [w for w, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(CORPUS)]
    merges = [tuple(m) for m in learn(words, 90)]
    for pair in ("1 2", "12 3", "123 4", "3 4", "2 0", "20 2", "202 4", "Ċ Ċ", "Ġ Ġ", "ĠĠ ĠĠ", "' s", ") ;", "č Ċ", ". Ċ", "Â ł", "' T"):
        if tuple(pair.split()) not in merges:
            merges.append(tuple(pair.split()))
    return merges


def pieces():
    """SentencePiece tokens and scores: merges, the best first, then characters."""
    words = re.findall("▁?[^▁]+|▁", "▁" + CORPUS.replace("\n", "▁").replace(" ", "▁"))
    merged = dict.fromkeys("".join(m) for m in learn(words, 90))
    merged |= dict.fromkeys(["▁▁", "▁▁▁▁", "20", "2024", "▁="])
    characters = dict.fromkeys(c for c in CORPUS + "▁,.;=()<>|/[]" if c not in " \n" and c not in merged)
    return [(x, -float(i)) for i, x in enumerate([*merged, *characters])]


BYTE_MERGES, PIECES = byte_merges(), pieces()
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE_TOKENS = list(dict.fromkeys([*ALPHABET, *("".join(m) for m in BYTE_MERGES)]))
BYTE_NAMES = [f"<0x{b:02X}>" for b in range(256)]

# ---- parts of tokenizer.json


def split(*patterns):
    return [pre_tokenizers.Split(Regex(x), "isolated") for x in patterns] + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


GPT2 = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
DIGITS = [pre_tokenizers.Digits(individual_digits=True), *GPT2]
CL100K = split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = split(r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
              r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
              r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = split(r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
               r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
               r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [pre_tokenizers.Split(Regex(x), "isolated") for x in
            (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+")] + [
                pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
DEEPSEEK3 = split(r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
                  r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                  r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
FALCON = [pre_tokenizers.Punctuation("contiguous"), *GPT2, pre_tokenizers.Digits(individual_digits=False),
          pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]
PREFIX = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
NO_PREFIX = normalizers.Replace(" ", "▁")
FIRST = [pre_tokenizers.Metaspace(prepend_scheme="first", split=False)]
BLANKS = [("  ", "user"), ("    ", "user"), ("\t\t", "user")]  # GPT-NeoX's and CodeGen's own tokens for runs of blanks

NEOX = ["<|endoftext|>", "<|padding|>"]
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN = [*CHATML, "<|fim_pad|>", ("<tool_call>", "user"), ("</tool_call>", "user")]
LLAMA = ["<unk>", "<s>", "</s>"]
INST = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]
GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
FILL_ENDS = {"<|fim_pad|>", "<fim_pad>", "<reponame>"}
STARCODER = ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>", "<reponame>"]
GRANITE = ["<|end_of_text|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"]
DEEPSEEK_ENDS = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"]
GLM = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
ROLES = ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]


@dataclasses.dataclass
class Family:
    models: str                # whose settings these are
    kind: str                  # bytes, bpe or unigram
    front: list = dataclasses.field(default_factory=list)  # special tokens with the lowest ids
    back: list = dataclasses.field(default_factory=list)   # ... and the highest; (token, flags): user, rstrip
    pre: list = None
    normalizer: object = None
    post: str = None           # TemplateProcessing's single; None: a ByteLevel that does nothing
    bos: str = None            # in the tokenizer's settings
    eos: str = None
    config: dict = dataclasses.field(default_factory=dict)      # more of tokenizer_config.json
    config_eos: object = None      # eos_token_id of config.json: names
    generation_eos: object = None  # ... and of generation_config.json
    template: str = None
    form: str = "string"       # of the template: string, list, file
    files: str = "json"        # json, sentencepiece or tiktoken
    ignore_merges: bool = False
    prefix: bool = True        # SentencePiece's dummy prefix
    gguf: dict = None          # keys of the GGUF file; None: llama.cpp does not have the family
    unk: str = "<unk>"
    added: list = dataclasses.field(default_factory=list)  # in added_tokens_decoder alone, not in the vocabulary file


def spm(models_, **more):
    return Family(**{"models": models_, "kind": "bpe", "front": LLAMA, "normalizer": PREFIX, "post": "<s> $A", "bos": "<s>", "eos": "</s>",
                     "config": {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False}, "config_eos": "</s>",
                     "generation_eos": "</s>", "gguf": {"add_bos_token": True, "add_eos_token": False}, **more})


def gpt2(models_, **more):
    return Family(**{"models": models_, "kind": "bytes", "pre": GPT2, "bos": "<|endoftext|>", "eos": "<|endoftext|>", "config_eos": "<|endoftext|>", **more})


FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
QWEN_CONFIG = {"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False, "add_prefix_space": False, "unk_token": None}
FAMILIES = {
    "llama1": spm("Llama 1", files="sentencepiece"),
    "llama2": spm("Llama 2 chat, Vicuna, TinyLlama", template="llama2", config={
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": False}),
    "codellama": spm("CodeLlama Instruct", template="llama2", back=["▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"], config={
        "tokenizer_class": "CodeLlamaTokenizer", "add_bos_token": True, "add_eos_token": False}),
    "llama3": gpt2("Llama 3.1 to 3.3 Instruct", pre=CL100K, ignore_merges=True, post="<|begin_of_text|> $A", bos="<|begin_of_text|>", eos="<|eot_id|>",
                   back=["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>", "<|end_header_id|>",
                         "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"], config=FAST,
                   config_eos=["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"], generation_eos=["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
                   template="llama3.1_tools", gguf={"pre": "llama-bpe"}),
    "mistral_v01": spm("Mistral 7B Instruct v0.1, v0.2", template="mistral_v1"),
    "mistral_v03": spm("Mistral 7B Instruct v0.3", template="mistral_v3_tools", normalizer=None, pre=FIRST, front=[*LLAMA, *INST], form="list"),
    "mistral_nemo": gpt2("Mistral Nemo, Ministral", pre=TEKKEN, ignore_merges=True, front=[*LLAMA, *INST], post="<s> $A", bos="<s>", eos="</s>",
                         config={**FAST, "add_bos_token": True, "add_eos_token": False}, config_eos="</s>", generation_eos="</s>",
                         template="mistral_nemo_tools", gguf={"pre": "tekken", "add_bos_token": True, "add_eos_token": False}),
    "mixtral": spm("Mixtral 8x7B, 8x22B Instruct", template="mixtral_strict"),
    "gemma": spm("Gemma 1 it", normalizer=NO_PREFIX, pre=[pre_tokenizers.Split(" ", "merged_with_previous")], front=GEMMA, post="<bos> $A", bos="<bos>",
                 eos="<eos>", config={"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False}, config_eos="<eos>",
                 generation_eos="<eos>", prefix=False, template="gemma", gguf={"add_space_prefix": False}),
    "phi": gpt2("Phi-1, Phi-1.5, Phi-2", back=["<|endoftext|>", *BLANKS], config={"tokenizer_class": "CodeGenTokenizer", "add_prefix_space": False},
                generation_eos="<|endoftext|>", gguf={"pre": "gpt-2"}),
    "phi3": spm("Phi-3, Phi-3.5", back=["<|endoftext|>", ("<|assistant|>", "rstrip"), ("<|end|>", "rstrip"), ("<|user|>", "rstrip"), ("<|system|>", "rstrip")],
                eos="<|endoftext|>", config={"tokenizer_class": "LlamaTokenizer", "add_bos_token": False, "add_eos_token": False},
                config_eos="<|endoftext|>", generation_eos=["<|endoftext|>", "<|assistant|>", "<|end|>"], template="phi3",
                gguf={"name": "Phi3", "add_bos_token": False, "add_eos_token": False}),
    "phi4": gpt2("Phi-4", pre=CL100K, back=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"], eos="<|im_end|>", config={
        "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}, config_eos="<|im_end|>", generation_eos="<|im_end|>", template="phi4",
        gguf={"pre": "dbrx"}),
    "phi4_mini": gpt2("Phi-4-mini", pre=O200K, back=["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>", "<|system|>", "<|tool|>", "<|/tool|>"],
                      config={"tokenizer_class": "GPT2Tokenizer", "add_bos_token": False, "add_eos_token": False},
                      generation_eos=["<|end|>", "<|endoftext|>"], template="phi4_mini", gguf={"pre": "gpt-4o", "add_bos_token": False}),
    "qwen2": gpt2("Qwen2, Qwen2.5, Qwen1.5-MoE, Qwen2-MoE", pre=QWEN2, normalizer=normalizers.NFC(), back=QWEN, bos=None, eos="<|im_end|>",
                  config=QWEN_CONFIG, config_eos="<|im_end|>", generation_eos=["<|im_end|>", "<|endoftext|>"], template="qwen2.5_tools",
                  gguf={"pre": "qwen2", "add_bos_token": False, "bos_token_id": "<|endoftext|>"}),
    "qwen3": gpt2("Qwen3, Qwen3-MoE", pre=QWEN2, normalizer=normalizers.NFC(), back=[*QWEN, ("<think>", "user"), ("</think>", "user")], bos=None,
                  eos="<|im_end|>", config=QWEN_CONFIG, config_eos="<|im_end|>", generation_eos=["<|im_end|>", "<|endoftext|>"],
                  template="qwen3_reasoning", gguf={"pre": "qwen2", "add_bos_token": False, "bos_token_id": "<|endoftext|>"}),
    "deepseek_llm": gpt2("DeepSeek LLM, DeepSeek MoE, V2 chat", pre=DEEPSEEK, back=DEEPSEEK_ENDS, bos=DEEPSEEK_ENDS[0], eos=DEEPSEEK_ENDS[1], config={
        "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": False, "legacy": True}, config_eos=DEEPSEEK_ENDS[1],
        generation_eos=DEEPSEEK_ENDS[1], template="deepseek_v2", gguf={"pre": "deepseek-llm", "add_bos_token": True, "add_eos_token": False}),
    "deepseek_coder": gpt2("DeepSeek Coder Instruct", pre=DEEPSEEK, back=[*DEEPSEEK_ENDS, "<|EOT|>"], bos=DEEPSEEK_ENDS[0], eos="<|EOT|>", config={
        "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": False}, config_eos="<|EOT|>", generation_eos="<|EOT|>",
        template="deepseek_coder", gguf={"pre": "deepseek-coder", "add_bos_token": True, "add_eos_token": False}),
    "deepseek_v3": gpt2("DeepSeek V3, R1", pre=DEEPSEEK3, front=DEEPSEEK_ENDS, back=["<｜User｜>", "<｜Assistant｜>", ("<think>", "user"), ("</think>", "user")],
                        bos=DEEPSEEK_ENDS[0], eos=DEEPSEEK_ENDS[1], config={
                            "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": False}, config_eos=DEEPSEEK_ENDS[1],
                        generation_eos=DEEPSEEK_ENDS[1], template="deepseek_r1", gguf={"pre": "deepseek-v3", "add_bos_token": True}),
    "falcon": gpt2("Falcon 7B, 40B, 180B, 11B", pre=FALCON, front=[">>TITLE<<", ">>ABSTRACT<<", "<|endoftext|>"], bos=None, config=FAST,
                   generation_eos="<|endoftext|>", template="falcon", gguf={"pre": "falcon", "bos_token_id": "<|endoftext|>"}),
    "falcon_rw": gpt2("Falcon rw 1B", back=["<|endoftext|>"], config=FAST, generation_eos="<|endoftext|>"),
    "falcon_mamba": gpt2("Falcon Mamba Instruct", pre=FALCON, front=["<|begin_of_text|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                         bos="<|begin_of_text|>", config=FAST, generation_eos=["<|endoftext|>", "<|im_end|>"], template="chatml", form="file",
                         gguf={"pre": "falcon"}),
    "stablelm": gpt2("StableLM 3B, Zephyr", normalizer=normalizers.NFC(), front=NEOX, back=BLANKS, config={"tokenizer_class": "GPTNeoXTokenizer"},
                     generation_eos="<|endoftext|>", template="zephyr", gguf={"pre": "olmo"}),
    "stablelm2": gpt2("StableLM 2 1.6B, 12B chat", pre=QWEN2, back=CHATML, config={"tokenizer_class": "GPT2Tokenizer"}, generation_eos=["<|im_end|>", "<|endoftext|>"],
                      template="yi_stablelm", gguf={"pre": "stablelm2"}),
    "yi": spm("Yi chat", front=["<unk>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizer=NO_PREFIX, post="$A",
              bos="<|startoftext|>", eos="<|im_end|>", prefix=False, config={"tokenizer_class": "LlamaTokenizer", "add_bos_token": False, "add_eos_token": False},
              config_eos="<|endoftext|>", generation_eos="<|im_end|>", template="chatml",
              gguf={"add_bos_token": False, "add_eos_token": False, "add_space_prefix": False}),
    "starcoder": gpt2("StarCoder, StarCoder2", pre=DIGITS, front=STARCODER, config={"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False},
                      generation_eos="<|endoftext|>", gguf={"pre": "starcoder"}),
    "santacoder": gpt2("SantaCoder", pre=DIGITS, back=["<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"], config=FAST),
    "mamba": gpt2("Mamba, MPT", front=NEOX, back=BLANKS, normalizer=normalizers.NFC(), config={"tokenizer_class": "GPTNeoXTokenizer"},
                  config_eos=None, gguf={"pre": "mpt"}),
    "olmo": gpt2("OLMo", normalizer=normalizers.NFC(), front=["|||IP_ADDRESS|||", "<|padding|>"], back=[*BLANKS, "<|endoftext|>"], bos=None,
                 config={"tokenizer_class": "GPTNeoXTokenizer", "add_bos_token": False, "add_eos_token": False}, template="olmo",
                 gguf={"pre": "olmo", "add_bos_token": False}),
    "olmo2": gpt2("OLMo 2 Instruct", pre=CL100K, back=CHATML, config={"tokenizer_class": "GPT2Tokenizer"}, generation_eos="<|endoftext|>",
                  template="olmo2", gguf={"pre": "dbrx"}),
    "chatglm": Family("ChatGLM2, ChatGLM3, CodeGeeX2", "bpe", files="sentencepiece", front=LLAMA, eos=None, config={"tokenizer_class": "ChatGLMTokenizer"},
                      config_eos="</s>", template="chatglm3_tools"),
    "glm4_first": gpt2("GLM-4 in its first layout", files="tiktoken", pre=CL100K, back=GLM, bos=None, config={"tokenizer_class": "ChatGLM4Tokenizer"},
                       config_eos=["<|endoftext|>", "<|user|>", "<|observation|>"], generation_eos=["<|endoftext|>", "<|user|>", "<|observation|>"],
                       template="glm4_first", gguf={"pre": "chatglm-bpe", "eot_token_id": "<|user|>", "add_bos_token": False}),
    "glm4": gpt2("GLM-4 in transformers' layout, GLM-4-0414, GLM-Z1", pre=CL100K, ignore_merges=True, back=GLM, post="[gMASK] <sop> $A", bos=None, config=FAST,
                 config_eos=["<|endoftext|>", "<|user|>", "<|observation|>"], generation_eos=["<|endoftext|>", "<|user|>", "<|observation|>"],
                 template="glm4", form="file", gguf={"pre": "glm4", "eot_token_id": "<|user|>", "bos_token_id": "[gMASK]", "add_bos_token": False}),
    "granite": gpt2("Granite 3 Instruct, Granite MoE", pre=DIGITS, front=GRANITE, back=["<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"],
                    bos="<|end_of_text|>", eos="<|end_of_text|>", config={"tokenizer_class": "GPT2Tokenizer", "add_bos_token": False, "add_prefix_space": False},
                    config_eos="<|end_of_text|>", generation_eos="<|end_of_text|>", template="granite", gguf={"pre": "refact", "add_bos_token": False}),
    "helium": Family("Helium 1", "unigram", front=LLAMA, post="<s> $A", normalizer=PREFIX, bos="<s>", eos="</s>", config=FAST, config_eos="</s>",
                     generation_eos="</s>"),
    "persimmon": Family("Persimmon", "unigram", files="sentencepiece", front=["<unk>", "<s>", "</s>", ("|ENDOFTEXT|", "user")], bos="|ENDOFTEXT|", eos="|ENDOFTEXT|",
                        config={"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False}, config_eos="|ENDOFTEXT|"),
    "replit": Family("Replit Code", "unigram", files="sentencepiece", front=[("<|unk|>", "unk"), "<|endoftext|>", "<|pad|>"], unk="<|unk|>", prefix=False,
                     bos="<|endoftext|>", eos="<|endoftext|>", config={"tokenizer_class": "ReplitLMTokenizer"}),
}
for name, base, more in (
        ("gemma2", "gemma", {"models": "Gemma 2 it", "generation_eos": ["<eos>", "<end_of_turn>"]}),
        ("gemma3", "gemma", {"models": "Gemma 3 it", "generation_eos": ["<eos>", "<end_of_turn>"], "config_eos": ["<eos>", "<end_of_turn>"],
                             "template": "gemma3", "gguf": {"add_space_prefix": False, "add_bos_token": True, "eot_token_id": "<end_of_turn>"}})):
    FAMILIES[name] = dataclasses.replace(FAMILIES[base], **more)

# ---- files


def content(token):
    return token if isinstance(token, str) else token[0]


def flags(token):
    return () if isinstance(token, str) else token[1:]


def tokens_of(family):
    """(token, type, score) in the order of ids; the last two as GGUF and SentencePiece files have them."""
    def specials(entries):
        for token in entries:
            kind = UNKNOWN if content(token) == "<unk>" and family.kind != "bytes" or "unk" in flags(token) else USER if "user" in flags(token) else CONTROL
            yield content(token), kind, 0.0
    if family.kind == "bytes":
        middle = [(x, NORMAL, 0.0) for x in BYTE_TOKENS]
    else:
        scale = 1.0 if family.kind == "bpe" else 0.0625  # Unigram's are logarithms
        middle = [(x, BYTE, 0.0) for x in BYTE_NAMES] + [(x, NORMAL, score * scale - 1) for x, score in PIECES]
    return [*specials(family.front), *middle, *specials(family.back)]


def added_of(family, ids):
    for token in [*family.front, *family.back, *family.added]:
        yield ids[content(token)], AddedToken(content(token), special="user" not in flags(token), normalized="user" in flags(token) and family.kind == "bytes",
                                              rstrip="rstrip" in flags(token))


def tokenizer_json(family):
    tokens = tokens_of(family)
    ids = {x: i for i, (x, _, _) in enumerate(tokens)}
    if family.kind == "bytes":
        vocabulary = {x: i for i, (x, kind, _) in enumerate(tokens) if kind == NORMAL or content(x) in map(content, family.front)}
        t = Tokenizer(models.BPE(vocabulary, BYTE_MERGES, ignore_merges=family.ignore_merges))
        t.decoder = decoders.ByteLevel()
        t.post_processor = processors.ByteLevel(trim_offsets=False)
    elif family.kind == "bpe":
        cuts = [(x[:i], x[i:]) for x, _ in PIECES for i in range(1, len(x)) if x[:i] in ids and x[i:] in ids]
        t = Tokenizer(models.BPE({x: i for x, i in ids.items() if x not in map(content, family.back)}, cuts, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    else:
        t = Tokenizer(models.Unigram([(x, score) for x, _, score in tokens], unk_id=0, byte_fallback=True))
    if family.kind != "bytes":
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] +
                                      [decoders.Strip(" ", 1, 0)] * (family.normalizer is not NO_PREFIX))
    if family.normalizer is not None:
        t.normalizer = family.normalizer
    if family.pre is not None:
        t.pre_tokenizer = pre_tokenizers.Sequence(family.pre) if len(family.pre) > 1 else family.pre[0]
    for _, token in sorted(added_of(family, ids), key=lambda x: x[0]):
        (t.add_special_tokens if token.special else t.add_tokens)([token])
    if family.post is not None:
        around = processors.TemplateProcessing(single=family.post, special_tokens=[(x, ids[x]) for x in family.post.split() if x != "$A"])
        t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), around]) if family.kind == "bytes" else around
    return t.to_str()


def sentencepiece_model(family):
    model = sentencepiece_proto.ModelProto()
    for token, kind, score in tokens_of(family):
        model.pieces.add(piece=token, type=kind, score=score)
    trainer = model.trainer_spec
    trainer.model_type = trainer.BPE if family.kind == "bpe" else trainer.UNIGRAM
    trainer.vocab_size, trainer.byte_fallback, trainer.unk_piece = len(model.pieces), True, family.unk
    ids = {x.piece: i for i, x in enumerate(model.pieces)}
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = ids[family.unk], ids.get("<s>", -1), ids.get("</s>", -1), -1
    normalizer = model.normalizer_spec
    normalizer.name, normalizer.add_dummy_prefix, normalizer.remove_extra_whitespaces, normalizer.escape_whitespaces = "identity", family.prefix, False, True
    return model.SerializeToString(deterministic=True)


def token_bytes():
    decode = {c: b for b, c in enumerate_bytes()}
    return [bytes(decode[c] for c in token) for token in BYTE_TOKENS]


def enumerate_bytes():
    """GPT-2's alphabet: printable bytes stand for themselves, the others follow from U+0100."""
    other = 256
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255:
            yield byte, chr(byte)
        else:
            yield byte, chr(other)
            other += 1


def tiktoken_model():
    return "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(token_bytes()))


def template_of(family):
    return (TEMPLATES / f"{family.template}.jinja").read_text("utf-8")


def write_directory(path, family):
    tokens = tokens_of(family)
    ids = {x: i for i, (x, _, _) in enumerate(tokens)}

    def id_of(names):
        return None if names is None else ids[names] if isinstance(names, str) else [ids[x] for x in names]
    path.mkdir(parents=True)
    if family.files == "json":
        (path / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer_json(family)), ensure_ascii=False, separators=(",", ":")), "utf-8")
    elif family.files == "sentencepiece":
        name = "spiece.model" if family.config["tokenizer_class"] == "ReplitLMTokenizer" else "tokenizer.model"
        (path / name).write_bytes(sentencepiece_model(family))
    else:
        (path / "tokenizer.model").write_text(tiktoken_model())
    settings = {"bos_token": family.bos, "eos_token": family.eos, **family.config}
    if family.kind == "bpe" and family.bos == "<s>":  # written as an object there
        settings["bos_token"] = {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    if family.files != "sentencepiece":
        settings["added_tokens_decoder"] = {str(i): {"content": t.content, "lstrip": False, "normalized": t.normalized, "rstrip": t.rstrip, "single_word": False,
                                                     "special": t.special} for i, t in added_of(family, ids)}
    if "ReplitLMTokenizer" in family.config.values():  # all that it has of them
        (path / "special_tokens_map.json").write_text(json.dumps({"bos_token": settings.pop("bos_token"), "eos_token": settings.pop("eos_token"), "unk_token": family.unk}))
    if family.template and family.form == "file":
        (path / "chat_template.jinja").write_text(template_of(family), "utf-8")
    elif family.template:
        settings["chat_template"] = template_of(family)
        if family.form == "list":
            settings["chat_template"] = [{"name": "default", "template": template_of(family)}, {"name": "rag", "template": "{{ raise_exception('rag') }}"}]
    (path / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False, indent=1), "utf-8")
    config = {"vocab_size": len(tokens) + 64}
    if family.config_eos is not None:
        config["eos_token_id"] = id_of(family.config_eos)
    (path / "config.json").write_text(json.dumps(config))
    if family.generation_eos is not None:
        (path / "generation_config.json").write_text(json.dumps({"eos_token_id": id_of(family.generation_eos), "transformers_version": "4.46.0"}))


def fill_gguf(writer, family):
    tokens = tokens_of(family)
    ids = {x: i for i, (x, _, _) in enumerate(tokens)}
    values = dict(family.gguf)
    writer.add_name(values.pop("name", family.models))
    writer.add_tokenizer_model("gpt2" if family.kind == "bytes" else "llama")
    writer.add_tokenizer_pre(values.pop("pre", "default"))
    writer.add_token_list([x for x, _, _ in tokens])
    writer.add_token_types([kind for _, kind, _ in tokens])
    if family.kind == "bytes":
        writer.add_token_merges([" ".join(m) for m in BYTE_MERGES])
    else:
        writer.add_token_scores([score for _, _, score in tokens])
        writer.add_unk_token_id(ids["<unk>"])
    for key, name in (("bos_token_id", family.bos), ("eos_token_id", family.eos)):
        if name is not None:
            values.setdefault(key, name)
    for key, value in values.items():
        getattr(writer, f"add_{key}")(ids[value] if isinstance(value, str) else value)
    if family.template:
        writer.add_chat_template(template_of(family))


def write_gguf(path, family):
    writer = gguf.GGUFWriter(path, "llama")
    fill_gguf(writer, family)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


# ---- the references


class Directory:
    """transformers, with the file's own tokenizer: its classes for single models would build another."""

    def __init__(self, path, family):
        self.t = transformers.TokenizersBackend.from_pretrained(path)
        self.bos, self.eos = self.t.bos_token, self.t.eos_token
        # The classes of these models put this in the place of what tokenizer.json has. Later releases of transformers
        # do not when they load one, and leave DeepSeek's without the BOS that it was published with.
        if family.config.get("tokenizer_class", "").removesuffix("Fast") in ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"):
            for flag in ("add_bos_token", "add_eos_token"):
                if flag in family.config:
                    setattr(self.t, flag, family.config[flag])
        self.encode = lambda text, special: self.t.encode(text, add_special_tokens=special)
        ends = {self.t.eos_token_id} - {None}
        for file in ("config.json", "generation_config.json"):
            if (path / file).exists():
                value = json.loads((path / file).read_text()).get("eos_token_id")
                ends |= set(value if isinstance(value, list) else [] if value is None else [value])
        self.ends = sorted(ends)
        if family.template:  # what transformers would render, whichever way it is shipped
            assert self.t.get_chat_template() == template_of(family)

    def render(self, _, variables):
        return self.t.apply_chat_template(variables["messages"], tokenize=False, add_generation_prompt=True,
                                          **{k: v for k, v in variables.items() if k != "messages"})


class Pieces(Directory):
    """A vocabulary file of another library; special tokens are cut out, as transformers' own class of the model does."""

    def __init__(self, path, family, encode_text, special, before):
        with tempfile.TemporaryDirectory() as twin:  # settings and template, read by transformers beside a tokenizer.json
            twin = pathlib.Path(twin) / "twin"
            shutil.copytree(path, twin)
            for file in twin.glob("*.model"):
                file.unlink()
            t = Tokenizer(models.BPE({x: i for i, (x, _, _) in enumerate(tokens_of(family))}, []))
            (twin / "tokenizer.json").write_text(t.to_str())
            super().__init__(twin, family)
        pattern = re.compile("|".join(re.escape(x) for x in sorted(special, key=len, reverse=True)))

        def encode(text, add):
            ids, at = list(before) if add else [], 0
            for match in pattern.finditer(text):
                ids += encode_text(text[at:match.start()]) if match.start() > at else []
                ids.append(special[match.group()])
                at = match.end()
            return ids + (encode_text(text[at:]) if at < len(text) else [])
        self.encode = encode


def directory_reference(path, family):
    ids = {x: i for i, (x, _, _) in enumerate(tokens_of(family))}
    special = {content(x): ids[content(x)] for x in [*family.front, *family.back]}
    if family.files == "tiktoken":
        encoding = tiktoken.Encoding("x", pat_str=json.loads(CL100K[0].__getstate__())["pattern"]["Regex"],
                                     mergeable_ranks={x: i for i, x in enumerate(token_bytes())}, special_tokens={})
        return Pieces(path, family, encoding.encode_ordinary, special, [ids["[gMASK]"], ids["<sop>"]])
    if family.files == "sentencepiece":
        model = sentencepiece.SentencePieceProcessor(model_file=str(next(path.glob("*.model"))))
        before = [ids[family.bos]] if family.config.get("add_bos_token") else []
        if "ChatGLMTokenizer" in family.config.values():  # numbered on behind the file's tokens
            special |= {x: len(ids) + i for i, x in enumerate(["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", *ROLES])}
            before = [special["[gMASK]"], special["sop"]]
        return Pieces(path, family, model.encode, special, before)
    return Directory(path, family)


class LlamaCpp:
    """A model of one empty layer around the vocabulary: the library's Python package reads nothing smaller."""

    def __init__(self, family, directory):
        count = len(tokens_of(family))
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            writer = gguf.GGUFWriter(file.name, "llama")
            fill_gguf(writer, family)
            for key, value in (("block_count", 1), ("context_length", 64), ("embedding_length", 32), ("feed_forward_length", 32), ("head_count", 1),
                               ("layer_norm_rms_eps", 1e-5), ("rope_dimension_count", 32)):
                getattr(writer, f"add_{key}")(value)
            shapes = {"token_embd": (count, 32), "output": (count, 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
            shapes |= {f"blk.0.{x}": (32, 32) for x in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")}
            for name, shape in shapes.items():
                writer.add_tensor(f"{name}.weight", numpy.zeros(shape, numpy.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            self.model = llama_cpp.LlamaModel(file.name, llama_cpp.LlamaModelParams())
        self.vocabulary = self.model.get_vocab()
        texts = [x for x, _, _ in tokens_of(family)]
        bos, eos = self.vocabulary.token_bos(), self.vocabulary.token_eos()
        named = {"bos": family.gguf.get("bos_token_id", family.bos), "eos": family.gguf.get("eos_token_id", family.eos)}
        self.bos = texts[bos] if named["bos"] else None  # else the library takes any: number 11
        self.eos = texts[eos] if named["eos"] else None
        self.encode = lambda text, special: self.vocabulary.tokenize(text, special, True)
        if family.gguf.get("pre") == "glm4":  # its tokenizer.json has ignore_merges, which the library does not know of it
            self.encode = lambda text, special: directory.encode(text, False)
        # What ends the filling of a gap in code ends an answer in llama.cpp alone: the same model's directory goes on.
        self.ends = [i for i in range(count) if self.vocabulary.is_eog(i) and texts[i] not in FILL_ENDS]
        self.directory = directory

    def render(self, source, variables):
        t = self.directory.t
        return t.apply_chat_template(variables["messages"], tokenize=False, add_generation_prompt=True, chat_template=source, bos_token=self.bos or "",
                                     eos_token=self.eos or "", **{k: v for k, v in variables.items() if k != "messages"})


def expected(reference, family, source):
    texts = []
    for text in TEXTS:
        text = text.format(bos=reference.bos or "", eos=reference.eos or "") if "{bos}" in text or "{eos}" in text else text
        plain, special = reference.encode(text, False), reference.encode(text, True)
        lead = len(reference.encode("a", True)) - len(reference.encode("a", False))
        if 0 < lead and special[lead:2 * lead] == special[:lead]:
            special = special[lead:]  # the libraries double a BOS that the text starts with
        texts.append([text, plain, None if special == plain else special])
    chats = []
    for name, variables in CONVERSATIONS.items():
        if not family.template or name == "tools" and "tools" not in source:
            continue
        try:
            text = reference.render(source, variables)
            chats.append([name, text, reference.encode(text, False)])
        except Exception as error:  # the template refuses the conversation
            chats.append([name, None, str(error)])
    return {"ends": reference.ends, "texts": texts, "chats": chats}


def main():
    llama_cpp.disable_logging()
    transformers.logging.set_verbosity_error()
    transformers.utils.chat_template_utils.datetime = types.SimpleNamespace(now=lambda: NOW)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    rows = []
    for name, family in FAMILIES.items():
        write_directory(OUT / name, family)
        source = template_of(family) if family.template else ""
        reference = directory_reference(OUT / name, family)
        row = {"family": name, "models": family.models, "directory": expected(reference, family, source)}
        if family.gguf is not None:
            write_gguf(OUT / f"{name}.gguf", family)
            row["gguf"] = expected(LlamaCpp(family, reference), family, source)
        rows.append(row)
        print(name)
    with (OUT / "expected.json").open("w", encoding="utf-8") as file:
        json.dump({"conversations": CONVERSATIONS, "families": rows}, file, ensure_ascii=False, indent=None, separators=(",", ":"))


if __name__ == "__main__":
    main()
