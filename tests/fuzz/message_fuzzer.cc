// libFuzzer: a record's payload, decoded as a message of every kind.
#include <cstdlib>

#include "tests/shared/ipc/message_samples.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (!shardline::DecodesFaithfully(std::as_bytes(std::span(data, size)))) std::abort();
  return 0;
}
