#!/usr/bin/env python3
"""Runs the built fuzzers for so many seconds each and prints what each covered of the files that it is there to
reach. A finding stops the run: its input stays in the build folder, and the command that replays it is printed.
Usage: tools/fuzz.py BUILD SECONDS [FUZZER ...]; `tools/dev fuzz` builds first."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOAL = 90  # per cent of lines


def llvm(name):
    found = shutil.which(f"{name}-14") or shutil.which(name)
    if not found:
        sys.exit(f"tools/fuzz.py: needs {name}: apt-get install llvm-14")
    return found


def fuzz(program, seconds, seeds):
    """Runs it on a copy of the seeds and what earlier runs found; the number of runs."""
    work = program.parent / f"{program.name}.work"
    corpus = work / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        shutil.copy(seed, corpus / f"seed-{number}")
    for old in work.glob("*.profraw"):
        old.unlink()
    # -fork would share the work, but profiles of killed children are lost.
    largest = max((os.path.getsize(seed) for seed in seeds), default=4096)
    flags = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=3000", f"-max_len={2 * largest + 4096}",
             f"-artifact_prefix={work}/", "-print_final_stats=1", "-seed=1"]
    done = subprocess.run([program, *flags, corpus], stderr=subprocess.PIPE, text=True, errors="replace",
                          env={**os.environ, "LLVM_PROFILE_FILE": str(work / "%p.profraw"),
                               "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})
    if done.returncode != 0:
        print(done.stderr[-6000:])
        found = re.findall(r"Test unit written to (\S+)", done.stderr)
        sys.exit(f"tools/fuzz.py: {program.name} found something: {program} {' '.join(found)}")
    return int(re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)[1])


def covered(program, files):
    """(covered, all) lines of the files."""
    work = program.parent / f"{program.name}.work"
    profile = work / "profdata"
    subprocess.run([llvm("llvm-profdata"), "merge", "-sparse", *work.glob("*.profraw"), "-o", profile], check=True)
    report = subprocess.run([llvm("llvm-cov"), "export", "-summary-only", f"-instr-profile={profile}", program],
                            check=True, stdout=subprocess.PIPE)
    wanted = {(ROOT / file).resolve() for file in files}
    lines = [file["summary"]["lines"] for file in json.loads(report.stdout)["data"][0]["files"]
             if pathlib.Path(file["filename"]).resolve() in wanted]
    return sum(line["covered"] for line in lines), sum(line["count"] for line in lines)


def main():
    build, seconds, only = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3:]
    rows = []
    for listing in sorted(build.glob("fuzz/*.txt")):
        program = listing.with_suffix("")
        if only and program.name not in only:
            continue
        seeds, files = [[part for part in line.split(";") if part] for line in listing.read_text().splitlines()]
        print(f"== {program.name}: {seconds} s", flush=True)
        runs = fuzz(program, seconds, seeds)
        rows.append((program.name, runs, *covered(program, files)))
    print(f"{'fuzzer':24} {'runs':>10} {'lines covered':>14} {'of':>6} {'':>6}")
    for name, runs, hit, lines in rows:
        share = 100 * hit / max(1, lines)
        print(f"{name:24} {runs:10} {hit:14} {lines:6} {share:5.1f} %{'' if share >= GOAL else '  below the goal'}")


if __name__ == "__main__":
    main()
