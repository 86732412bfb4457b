// libFuzzer: shared memory as a hostile peer may leave it, read by the channel's ring.
#include <cstdlib>

#include "tests/shared/ipc/ring_fixture.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (!shardline::SurvivesHostileMemory(std::as_bytes(std::span(data, size)))) std::abort();
  return 0;
}
