#!/usr/bin/env python3
"""Runs llama.cpp on a GGUF file in this process and prints what it measured as one line of JSON. tools/bench.py runs it
beside Shardline, with a Python that has llama.cpp.

    bench_peer.py --version       which package, which llama.cpp, and what it was built for
    bench_peer.py MODEL --threads N --concurrency N,... --decode-tokens N --prefill-tokens N --runs N

Two packages of PyPI serve: llama-cpp-python, which compiles llama.cpp for the machine's own instructions (some twenty
minutes on two cores), and cyllama, which brings it compiled (for AVX2). The first that is installed is taken.
"""

import argparse
import importlib.metadata
import json
import random
import statistics
import sys
import time

PROMPT_TOKENS = 16  # before decoding


class LlamaCppPython:
    """Through llama.cpp's C interface, greedy; room for `sequences` of `tokens`."""
    package = "llama-cpp-python"

    def __init__(self):
        import llama_cpp  # pylint: disable=import-outside-toplevel
        self._api = llama_cpp
        self._quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._quiet, None)

    def version(self):
        return " ".join(self._api.llama_print_system_info().decode().split())

    def load(self, path, threads, sequences, tokens):
        api = self._api
        model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
        if not model:
            sys.exit(f"bench_peer.py: {path}: llama.cpp cannot load it")
        params = api.llama_context_default_params()
        params.n_ctx = sequences * tokens
        params.n_batch = params.n_ubatch = tokens
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        self._context = api.llama_init_from_model(model, params)
        if not self._context:
            sys.exit("bench_peer.py: llama.cpp makes no context")
        self._batch, self._greedy = api.llama_batch_init(tokens, 0, 1), api.llama_sampler_init_greedy()
        self.vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))

    def clear(self):
        self._api.llama_memory_clear(self._api.llama_get_memory(self._context), True)

    def step(self, rows):
        """Rows of (sequence, first position, tokens); the token that follows each."""
        batch, wanted, at = self._batch, [], 0
        for sequence, first, tokens in rows:
            for offset, token in enumerate(tokens):
                batch.token[at], batch.pos[at] = token, first + offset
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
                batch.logits[at] = offset == len(tokens) - 1
                at += 1
            wanted.append(at - 1)
        batch.n_tokens = at
        if self._api.llama_decode(self._context, batch) != 0:
            sys.exit("bench_peer.py: llama_decode failed")
        return [self._api.llama_sampler_sample(self._greedy, self._context, row) for row in wanted]


class Cyllama:
    """The same through cyllama's classes."""
    package = "cyllama"

    def __init__(self):
        from cyllama.llama import llama_cpp  # pylint: disable=import-outside-toplevel
        self._api = llama_cpp
        llama_cpp.disable_logging()

    def version(self):
        return f"ggml {self._api.ggml_version()}, {self._api.ggml_commit()}, compiled for AVX2"

    def load(self, path, threads, sequences, tokens):
        api = self._api
        self._model = api.LlamaModel(path, api.LlamaModelParams())
        params = api.LlamaContextParams()
        params.n_ctx = sequences * tokens
        params.n_batch = params.n_ubatch = tokens
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        self._context = api.LlamaContext(self._model, params)
        self._batch = api.LlamaBatch(n_tokens=tokens, embd=0, n_seq_max=1)
        self._greedy = api.LlamaSampler(api.LlamaSamplerChainParams())
        self._greedy.add_greedy()
        self.vocabulary = self._model.get_vocab().n_vocab

    def clear(self):
        self._context.kv_cache_clear()

    def step(self, rows):
        self._batch.clear()
        wanted, at = [], 0
        for sequence, first, tokens in rows:
            for offset, token in enumerate(tokens):
                self._batch.add(token, first + offset, [sequence], offset == len(tokens) - 1)
            at += len(tokens)
            wanted.append(at - 1)
        self._context.decode(self._batch)
        return [self._greedy.sample(self._context, row) for row in wanted]


def installed():
    for kind in (LlamaCppPython, Cyllama):
        try:
            importlib.metadata.version(kind.package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return kind()
    return sys.exit("bench_peer.py: this Python has neither llama-cpp-python nor cyllama")


def decode_speed(model, sequences, steps, generator):
    """Tokens per second of all sequences together, behind short prompts."""
    model.clear()
    tokens = []
    for sequence in range(sequences):
        prompt = [generator.randrange(model.vocabulary) for _ in range(PROMPT_TOKENS)]
        tokens += model.step([(sequence, 0, prompt)])
    start = time.perf_counter()
    for position in range(PROMPT_TOKENS, PROMPT_TOKENS + steps):
        tokens = model.step([(sequence, position, [token]) for sequence, token in enumerate(tokens)])
    return sequences * steps / (time.perf_counter() - start)


def prefill_speed(model, count, generator):
    """Prompt tokens per second, up to the first token of the answer."""
    model.clear()
    prompt = [generator.randrange(model.vocabulary) for _ in range(count)]
    start = time.perf_counter()
    model.step([(0, 0, prompt)])
    return count / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--concurrency", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8])
    parser.add_argument("--decode-tokens", type=int, default=64)
    parser.add_argument("--prefill-tokens", type=int, default=512)
    parser.add_argument("--runs", type=int, default=4)
    flags = parser.parse_args()
    model = installed()
    if flags.version:
        print(f"{model.package} {importlib.metadata.version(model.package)} ({model.version()})")
        return
    if flags.model is None:
        parser.error("a model must be named")
    generator = random.Random(1)
    tokens = max(flags.prefill_tokens, PROMPT_TOKENS + flags.decode_tokens)
    model.load(flags.model, flags.threads, max(flags.concurrency), tokens)
    decode_speed(model, 1, 4, generator)  # brings the file into memory
    found = {f"decode {n}": decode_speed(model, n, flags.decode_tokens, generator) for n in flags.concurrency}
    prefill_speed(model, flags.prefill_tokens, generator)
    found["prefill"] = statistics.median(prefill_speed(model, flags.prefill_tokens, generator) for _ in range(flags.runs))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
