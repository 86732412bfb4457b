#!/usr/bin/env python3
"""Measures Shardline beside llama.cpp on one GGUF file, in turn and several times (what else a machine does changes by
the minute), with the machine's read bandwidth between the runs. Medians are compared.

Ours is measured through the whole server (gateway, gRPC, a client), llama.cpp as a library without any. Without
llama.cpp (--peer-python) ours is measured alone. With --tensor-parallel 1,2 ours is measured at each of these numbers of
ranks, which share --threads.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"
PEER = ROOT / "tools" / "bench_peer.py"
START_SECONDS, RUN_SECONDS = 120, 1800


def run(*command):
    """Standard output of a program that must do well."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        sys.exit(f"tools/bench.py: no end in {RUN_SECONDS} s: {shlex.join(words)}")
    if done.returncode != 0:
        sys.exit(f"tools/bench.py: exit code {done.returncode}: {shlex.join(words)}\n{done.stderr[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def gateway(command):
    """Runs a gateway; its address."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            # The gateway itself gives up a worker that does not get ready.
            match = re.match(r"ready listen=(\S+)", process.stdout.readline())
            if not match:
                log.seek(0)
                sys.exit(f"tools/bench.py: the gateway ended: {log.read().decode(errors='replace')[-500:]}")
            yield match[1]
        finally:
            process.terminate()
            try:
                process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def ours(address, flags):
    """Tokens per second by load, through `shardline bench`."""
    def bench(*arguments):
        result, = json.loads(run(BUILD / "bin" / "shardline", "bench", "--target", address, "--json", *arguments))["results"]
        if result["failed"] > 0 or result["completed"] == 0:
            sys.exit(f"tools/bench.py: requests failed: {result['errors']}")
        return result

    found = {}
    for count in flags.concurrency:
        result = bench("--concurrency", count, "--requests", 2 * count, "--prompt-tokens", 16, "--output-tokens",
                       flags.decode_tokens)
        found[f"decode {count}"] = count / result["inter_token_latency_seconds"]["mean"]
    result = bench("--requests", flags.runs, "--prompt-tokens", flags.prefill_tokens, "--output-tokens", 1)
    found["prefill"] = flags.prefill_tokens / result["time_to_first_token_seconds"]["p50"]
    return found


def weight_bytes(model):
    """Bytes that one decode step reads: of the weights as the worker holds them, and as the file does. A separate
    embedding table is not read as a whole."""
    file = json.loads(run(BUILD / "bin" / "shardline", "inspect", "--json", model))
    names = {tensor["name"] for tensor in file["tensors"]}
    read = [tensor for tensor in file["tensors"] if tensor["name"] != "token_embd.weight" or "output.weight" not in names]
    arithmetic = re.search(r"^arithmetic +(\w+)", run(BUILD / "bin" / "shardline", "inspect", "--spec", model), re.MULTILINE)[1]
    size = 4 if arithmetic == "f32" else 2
    return arithmetic, size * sum(tensor["parameters"] for tensor in read), sum(tensor["bytes"] for tensor in read)


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]))


def report(flags, found, bandwidth, sizes):
    """Speeds, and for decoding what part of the bandwidth the weights' bytes make: 100 % is the roofline. What stands to
    the right is compared with the first column."""
    first, *others = found
    rows = [["tokens/s", first, "% bandwidth"] + [cell for side in others for cell in (side, "% bandwidth", f"{first} : {side}")]]
    for load in found[first][0]:
        row = [f"prefill, {flags.prefill_tokens} tokens" if load == "prefill" else f"{load.replace(' ', ', ')} at once"]
        speeds = {side: statistics.median(one[load] for one in rounds) for side, rounds in found.items()}
        for side, speed in speeds.items():
            steps = None if load == "prefill" else speed / int(load.split()[1])
            row += [f"{speed:.1f}", "-" if steps is None else f"{100 * steps * sizes[side] / bandwidth / 1e9:.0f}"]
            row += [] if side == first else [f"{speeds[first] / speed:.2f}"]
        rows.append(row)
    table(rows)


def tell(number, side, found):
    speeds = ", ".join(f"{load} {speed:.1f}" for load, speed in found[side][-1].items())
    print(f"round {number + 1}, {side}: {speeds}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="tools/dev bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=os.environ.get("SHARDLINE_MODELS", "models") + "/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--peer-python", default=".venv-bench/bin/python", help="a Python with llama-cpp-python or cyllama")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser.add_argument("--tensor-parallel", type=numbers, default=[1], help="ranks; several numbers, such as 1,2, are compared")
    parser.add_argument("--concurrency", type=numbers, default=[1, 8])
    parser.add_argument("--decode-tokens", type=int, default=64)
    parser.add_argument("--prefill-tokens", type=int, default=512)
    parser.add_argument("--runs", type=int, default=4, help="prompts in each round")
    flags = parser.parse_args()
    least = min(flags.threads, flags.rounds, flags.runs, flags.prefill_tokens, *flags.tensor_parallel, *flags.concurrency)
    if least < 1 or flags.decode_tokens < 2:
        parser.error("numbers must be at least 1, --decode-tokens 2")

    servers = {"ours" if ranks == 1 else f"ours, {ranks} ranks": [
        str(BUILD / "bin" / "shardline-gateway"), f"--model={flags.model}", f"--threads={max(1, flags.threads // ranks)}",
        f"--tensor-parallel={ranks}", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"]
        for ranks in dict.fromkeys(flags.tensor_parallel)}
    peer = [flags.peer_python, str(PEER), flags.model, f"--threads={flags.threads}",
            f"--concurrency={','.join(map(str, flags.concurrency))}", f"--decode-tokens={flags.decode_tokens}",
            f"--prefill-tokens={flags.prefill_tokens}", f"--runs={flags.runs}"]
    arithmetic, held, stored = weight_bytes(flags.model)
    print(f"ours: {run(BUILD / 'bin' / 'shardline', '--version').strip()}, {arithmetic}, {held / 1e6:.0f} MB of weights")
    print(*(f"  {shlex.join(server)}" for server in servers.values()), sep="\n")
    with_peer = pathlib.Path(flags.peer_python).exists()
    if with_peer:
        print(f"peer: {run(flags.peer_python, PEER, '--version').strip()}, {stored / 1e6:.0f} MB of weights\n  {shlex.join(peer)}")
    else:
        print("peer: not installed; ours alone. To install llama.cpp (compiled here, which takes some twenty minutes on two cores;\n"
              "cyllama in place of llama-cpp-python brings it compiled, for AVX2):\n"
              "  python3 -m venv .venv-bench && .venv-bench/bin/pip install llama-cpp-python")
    print(f"{flags.threads} threads; {os.cpu_count()} processors; load average before: {os.getloadavg()[0]:.1f}", flush=True)

    found = {side: [] for side in [*servers, *(["llama.cpp"] if with_peer else [])]}
    probes = []
    probe = lambda: probes.append(float(run(BUILD / "tests" / "read_bandwidth", flags.threads)))
    with contextlib.ExitStack() as running:
        addresses = {side: running.enter_context(gateway(server)) for side, server in servers.items()}
        for number in range(flags.rounds):
            for side in found:
                probe()
                found[side].append(ours(addresses[side], flags) if side in addresses else json.loads(run(*peer)))
                tell(number, side, found)
    probe()
    bandwidth = statistics.median(probes)
    print(f"read bandwidth: {' '.join(f'{one:.1f}' for one in probes)}; median {bandwidth:.1f} GB/s")
    print(f"load average behind: {os.getloadavg()[0]:.1f} (ours and the peer make up to {flags.threads} of it; with more, other work "
          "was measured too)\n")
    report(flags, found, bandwidth, {side: held if side in servers else stored for side in found})


if __name__ == "__main__":
    main()
