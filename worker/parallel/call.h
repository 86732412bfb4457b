// The calls of a process group by name, and the checks of their arguments that every back end
// makes.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/view.h"
#include "shared/base/status.h"

namespace shardline {

enum class GroupCall : uint8_t { kNone, kAllReduce, kAllGather, kBroadcast, kBarrier };

constexpr std::string_view NameOf(GroupCall call) {
  switch (call) {
    case GroupCall::kNone:
      return "nothing";
    case GroupCall::kAllReduce:
      return "AllReduce";
    case GroupCall::kAllGather:
      return "AllGather";
    case GroupCall::kBroadcast:
      return "Broadcast";
    case GroupCall::kBarrier:
      return "Barrier";
  }
  return "?";
}

// Errors: Internal, for they are this program's mistakes.
absl::Status CheckAllReduce(const View& data);
absl::Status CheckAllGather(const View& in, const View& out, int size);
absl::Status CheckBroadcast(int root, int size);

}  // namespace shardline
