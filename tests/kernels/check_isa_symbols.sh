#!/bin/sh
# Code for one instruction set must not be found by the linker for another: every symbol that objects may share
# (weak or unique) has to be in its instruction set's namespace.
# usage: check_isa_symbols.sh NM NAMESPACE OBJECT...
nm="$1"
namespace="$2"
shift 2
[ $# -gt 0 ] || { echo "no objects given"; exit 1; }
shared=$("$nm" -C --defined-only "$@" | grep -E '^[0-9a-f]+ [WVu] ' | grep -v 'DW\.ref\.__gxx_personality_v0')
[ -n "$shared" ] || { echo "no shared symbols at all: is $nm reading the right files?"; exit 1; }
if outside=$(echo "$shared" | grep -v "shardline::${namespace}::"); then
  echo "outside of shardline::${namespace}:"
  echo "$outside"
  exit 1
fi
