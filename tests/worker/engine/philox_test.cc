// Known answers of Random123 for Philox 4x32-10, and the mapping of a token to its draw.
#include "worker/engine/philox.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

TEST(Philox, KnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformUsesSeedOutputAndIndex) {
  EXPECT_EQ(UniformForToken(0, 0, 0), (0x6627e8d5 + 0.5) / 4294967296.0);
  const uint32_t x = Philox4x32({3, 7, 0, 0}, {0x89abcdef, 0x01234567})[0];
  EXPECT_EQ(UniformForToken(0x0123456789abcdef, 3, 7), (x + 0.5) / 4294967296.0);
  EXPECT_NE(UniformForToken(1, 0, 1), UniformForToken(1, 1, 0));
}

}  // namespace
}  // namespace shardline
