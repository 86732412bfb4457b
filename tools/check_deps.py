#!/usr/bin/env python3
"""Checks which folder includes which, and what each program links (DESIGN.md tells why).

    tools/check_deps.py includes             every #include "…" and the heavy <…> ones
    tools/check_deps.py links PROGRAM …      readelf -d of the gateway, the worker and the command line
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A folder may include itself and what stands behind it. The longest matching folder rules.
ALLOWED = {
    "shared/base": [],
    "shared/ipc": ["shared/base"],
    "shared/format": ["shared/base"],
    "shared/wire": ["shared/base", "shared/ipc", "proto"],
    "gateway": ["shared", "proto"],
    "gateway/text": ["shared/base", "shared/format"],
    "kernels": [],
    "kernels/reference": ["kernels", "shared/base"],
    "worker/parallel": ["kernels", "shared/base", "shared/ipc"],
    "worker/state": ["kernels", "shared/base", "shared/ipc", "shared/format"],
    "worker/weights": ["kernels", "shared/base", "shared/format", "worker/parallel"],
    "worker/layers": ["kernels", "shared/base", "shared/ipc", "shared/format", "worker/state",
                      "worker/weights", "worker/parallel"],
    "worker/models": ["kernels", "shared/base", "shared/ipc", "shared/format", "worker/layers",
                      "worker/state", "worker/weights", "worker/parallel"],
    "worker/engine": ["kernels", "shared/base", "shared/ipc", "worker/models", "worker/state",
                      "worker/parallel"],
    "worker/plan": ["kernels", "shared/base", "worker/engine", "worker/models", "worker/state",
                    "worker/weights", "worker/parallel"],
    "worker": ["kernels", "shared/base", "shared/ipc", "shared/format"],
    "tools/cli": ["shared", "proto", "gateway/text", "worker/plan"],
}
# Outside libraries that belong to some folders only.
RESTRICTED = [
    (re.compile(r"(torch|ATen|c10|caffe2)/"), ["kernels/reference", "worker"]),
    (re.compile(r"(grpc|grpcpp|google/protobuf)/|.*\.pb\.h$"),
     ["proto", "shared/wire", "gateway", "tools/cli"]),
    (re.compile(r"absl/"), ["shared", "gateway", "worker", "tools/cli", "kernels/reference"]),
]
# What no program of this name may need, directly.
FORBIDDEN_LIBRARIES = {
    "shardline-gateway": re.compile(r"lib(torch|c10|cudart|cupti)"),
    "shardline-worker": re.compile(r"lib(grpc|protobuf|protoc|absl_flags_private_grpc)"),
    "shardline": re.compile(r"lib(torch|c10|cudart|cupti)"),
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)
SOURCES = {".h", ".cc", ".cpp", ".inc", ".cu", ".cuh"}


def folder_of(path, folders):
    """The longest of `folders` that holds `path`; None when none does."""
    inside = [folder for folder in folders if path == folder or path.startswith(folder + "/")]
    return max(inside, key=len, default=None)


def is_allowed(source, included):
    rule = folder_of(source, ALLOWED)
    if rule is None:
        return True  # tests and data may look everywhere
    if folder_of(included, [rule]):
        return True
    return folder_of(included, ALLOWED[rule]) is not None


def is_generated(included):
    return included.endswith(".pb.h")  # RESTRICTED rules these


def check_includes():
    errors, count = [], 0
    for top in ("shared", "gateway", "kernels", "worker", "tools"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix not in SOURCES:
                continue
            count += 1
            source = path.relative_to(ROOT).as_posix()
            for kind, included in INCLUDE.findall(path.read_text(encoding="utf-8")):
                for pattern, folders in RESTRICTED:
                    if pattern.match(included) and not folder_of(source, folders):
                        errors.append(f"{source}: includes {included}, which only {', '.join(folders)} may")
                if kind == '"' and not is_generated(included) and not is_allowed(source, included):
                    rule = folder_of(source, ALLOWED)
                    allowed = ", ".join(ALLOWED[rule]) or "nothing else"
                    errors.append(f"{source}: includes {included}; {rule} may include itself and {allowed}")
    if count == 0:
        errors.append(f"no source files under {ROOT}")
    return errors, f"{count} source files include what they may"


def check_links(programs):
    errors = []
    for program in programs:
        name = Path(program).name
        forbidden = FORBIDDEN_LIBRARIES.get(name)
        if forbidden is None:
            errors.append(f"{program}: no rule for a program of this name")
            continue
        done = subprocess.run(["readelf", "-dW", program], capture_output=True, text=True, check=False)
        needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", done.stdout)
        if done.returncode != 0 or not needed:
            errors.append(f"{program}: readelf finds no dynamic section")
        errors += [f"{program}: must not need {library}" for library in needed if forbidden.match(library)]
    return errors, f"{len(programs)} programs link what they may"


def main(arguments):
    if arguments == ["includes"]:
        errors, done = check_includes()
    elif len(arguments) > 1 and arguments[0] == "links":
        errors, done = check_links(arguments[1:])
    else:
        sys.exit(__doc__)
    for error in errors:
        print(error, file=sys.stderr)
    if errors:
        sys.exit(1)
    print(done)


if __name__ == "__main__":
    main(sys.argv[1:])
