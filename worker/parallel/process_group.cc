// The group of one rank.
#include "worker/parallel/process_group.h"

#include <cstring>
#include <mutex>

#include "worker/parallel/call.h"

namespace shardline {
namespace {

class OneRank final : public ProcessGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  absl::Status AllReduce(const View& data) override {
    SL_RETURN_IF_ERROR(CheckAllReduce(data));
    return ended();
  }
  absl::Status AllGather(const View& in, const View& out) override {
    SL_RETURN_IF_ERROR(CheckAllGather(in, out, 1));
    if (in.data != out.data && in.bytes() > 0) std::memmove(out.data, in.data, in.bytes());
    return ended();
  }
  absl::Status Broadcast(const View&, int root) override {
    SL_RETURN_IF_ERROR(CheckBroadcast(root, 1));
    return ended();
  }
  absl::Status Barrier() override { return ended(); }
  void SetLimit(std::chrono::nanoseconds) override {}
  void Abort(std::string_view reason) override {
    std::lock_guard lock(mutex_);
    if (ended_.ok()) ended_ = Unavailable(reason);
  }

 private:
  absl::Status ended() {
    std::lock_guard lock(mutex_);
    return ended_;
  }

  std::mutex mutex_;
  absl::Status ended_;
};

}  // namespace

std::unique_ptr<ProcessGroup> SingleProcess() { return std::make_unique<OneRank>(); }

}  // namespace shardline
