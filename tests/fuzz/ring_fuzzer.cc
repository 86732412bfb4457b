// libFuzzer: shared memory as a hostile peer may leave it, read by the channel's ring.
#include <cstdlib>

#include "tests/shared/ipc/ring_fixture.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (!shardline::SurvivesHostileMemory(bytes)) std::abort();
  if (!shardline::SurvivesHostileMoves(bytes)) std::abort();
  return 0;
}
