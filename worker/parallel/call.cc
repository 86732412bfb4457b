#include "worker/parallel/call.h"

namespace shardline {

absl::Status CheckAllReduce(const View& data) {
  if (data.type == DType::kF32 || data.type == DType::kBF16 || data.type == DType::kF16) {
    return absl::OkStatus();
  }
  return Internal("AllReduce of ", NameOf(data.type), "; it adds f32, bf16 and f16");
}

absl::Status CheckAllGather(const View& in, const View& out, int size) {
  if (in.bytes() * static_cast<size_t>(size) == out.bytes()) return absl::OkStatus();
  return Internal("AllGather of ", size, " ranks: ", in.bytes(), " bytes in, ", out.bytes(),
                  " out");
}

absl::Status CheckBroadcast(int root, int size) {
  if (root >= 0 && root < size) return absl::OkStatus();
  return Internal("Broadcast from rank ", root, " of ", size);
}

}  // namespace shardline
