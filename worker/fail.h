// How this program tells why it ends.
#pragma once

#include <cstdio>

#include "shared/base/quoted.h"
#include "shared/base/status.h"

namespace shardline {

// One line on standard error; returns the exit code.
inline int Fail(int code, const absl::Status& status) {
  std::fprintf(stderr, "shardline-worker: %s\n", OneLine(Message(status)).c_str());
  return code;
}

}  // namespace shardline
