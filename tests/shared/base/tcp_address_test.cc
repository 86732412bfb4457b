#include "shared/base/tcp_address.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

TEST(ParseTcpAddress, TakesNamesAndAddresses) {
  for (const auto& [text, host, port] : {std::tuple{"node-0:7777", "node-0", 7777},
                                         {"10.0.0.1:1", "10.0.0.1", 1},
                                         {"[fe80::1]:65535", "fe80::1", 65535}}) {
    const auto address = ParseTcpAddress(text, "--flag");
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->host, host);
    EXPECT_EQ(address->port, port);
  }
}

TEST(ParseTcpAddress, NamesTheFlagOfWhatIsNone) {
  for (const char* text : {"", "host", ":7777", "host:", "host:0", "host:65536", "host:-1",
                           "host:77x", "host:99999999999", "[]x:"}) {
    const auto address = ParseTcpAddress(text, "--flag");
    ASSERT_FALSE(address.ok()) << text;
    EXPECT_EQ(Message(address.status()),
              Cat("--flag ", text, ": must be HOST:PORT, the port from 1 to 65535"));
  }
}

}  // namespace
}  // namespace shardline
