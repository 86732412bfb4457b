#include "gateway/traceparent.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

TEST(Traceparent, TakesWhatTheStandardAllows) {
  const auto plain = ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->trace_id, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(plain->parent_id, "b7ad6b7169203331");
  EXPECT_TRUE(
      ParseTraceparent("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").has_value());
}

TEST(Traceparent, LeavesOutWhatItDoesNot) {
  for (const char* header : {"", "00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
                             "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
                             "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
                             "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                             "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                             "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                             "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
                             "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
                             "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}) {
    EXPECT_FALSE(ParseTraceparent(header).has_value()) << header;
  }
}

}  // namespace
}  // namespace shardline
