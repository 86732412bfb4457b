#!/usr/bin/env python3
"""Keeps the tables of model families true: README.md's from the worker's registry, DESIGN.md's from the sources.

    tools/families.py WORKER           compares; exit code 1 and a line for each table that is stale or file too long
    tools/families.py WORKER --write   writes the tables
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOST_LINES = 150
REASONS = {  # file -> why it is longer
    "gemma3.cc": "two generations of keys, a rope and a window of its own for every sixth layer",
    "mpt.cc": "keys, names and defaults of two classes and three generations",
}


def lines_of_families():
    """File name -> names of its families, lines."""
    found = {}
    for file in sorted((ROOT / "worker" / "models").glob("*.cc")):
        text = file.read_text()
        names = re.findall(r'static const Family kFamily\{\s*\.name = "([^"]+)"', text)
        if names:
            found[file.name] = names, text.count("\n")
    return found


def lines_table():
    rows = ["| file | families | lines |", "|---|---|---|"]
    for file, (names, lines) in lines_of_families().items():
        reason = f" ({REASONS[file]})" if file in REASONS else ""
        rows.append(f"| `{file}` | {', '.join(f'`{name}`' for name in names)} | {lines}{reason} |")
    return "\n".join(rows) + "\n"


def with_table(text, mark, table):
    begin, end = f"<!-- {mark}: tools/dev families writes this -->\n", f"<!-- end of {mark} -->\n"
    before, rest = text.split(begin)
    return before + begin + table + end + rest.split(end)[1]


def main():
    worker = sys.argv[1]
    registry = subprocess.run([worker, "--print-families"], capture_output=True, text=True, check=True).stdout
    wrong = []
    for name, mark, table in (("README.md", "families", registry), ("DESIGN.md", "lines of families", lines_table())):
        file = ROOT / name
        text = file.read_text()
        fresh = with_table(text, mark, table)
        if "--write" in sys.argv[2:]:
            file.write_text(fresh)
        elif fresh != text:
            wrong.append(f"{name}: the table of {mark} is stale: run tools/dev families")
    for file, (_, lines) in lines_of_families().items():
        if lines > MOST_LINES and file not in REASONS:
            wrong.append(f"worker/models/{file}: {lines} lines, more than {MOST_LINES}: share what other families have "
                         "too, or give the reason in tools/families.py")
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
