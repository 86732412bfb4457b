// A group of GPUs, over NCCL. Each rank is also in a group of processes on the CPU (ShmGroup, or
// GlooGroup between hosts): it carries NCCL's id, and what NCCL cannot tell, namely which rank died
// or why the group ended.
//
// Views are of device memory. A call queues its work on the rank's stream and returns when the
// device has done it, so that a rank that is missing ends calls as in the other groups. NCCL's
// communicator is non-blocking: nothing in it waits, this side polls its state, the stream and the
// CPU group until the limit, and then aborts it.
//
// NCCL's own sum depends on ranks, size and topology in its order, and rounds bf16 and f16 at every
// step. With `rank_order` an all-reduce is therefore made of gathers and the device's own sum: the
// bits of the other groups, at the bytes of a ring from 64 KiB up.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "kernels/view.h"
#include "shared/base/clock.h"
#include "worker/parallel/call.h"
#include "worker/parallel/nccl_api.h"
#include "worker/parallel/process_group.h"

namespace shardline {

// What a group needs of a device. Everything queued on the stream runs in order.
class DeviceStream {
 public:
  virtual ~DeviceStream() = default;
  virtual NcclStream handle() const = 0;
  virtual absl::StatusOr<void*> Allocate(size_t bytes) = 0;
  virtual void Free(void* memory) = 0;  // after what is queued
  // Queues Ops::sum.
  virtual absl::Status Sum(const std::vector<const void*>& parts, const View& out) = 0;
  // Whether everything queued is done. Does not wait.
  virtual absl::StatusOr<bool> Idle() = 0;
};

struct NcclGroupOptions {
  bool rank_order = true;  // AllReduce as ProcessGroup promises it; otherwise NCCL's own sum
  std::chrono::nanoseconds limit = std::chrono::seconds(30);  // of joining, and of one call
};

class NcclGroup final : public ProcessGroup {
 public:
  static constexpr int64_t kOneShotBytes = 64 << 10;
  static constexpr int64_t kPieceBytes = int64_t{32} << 20;  // of one exchange of slices

  // All ranks of `host` make theirs at the same time. `host` and `stream` outlive the group.
  // Errors: Unavailable, DeadlineExceeded, and host's.
  static absl::StatusOr<std::unique_ptr<NcclGroup>> Create(const NcclApi& api, ProcessGroup& host,
                                                           DeviceStream& stream,
                                                           const NcclGroupOptions& options);
  ~NcclGroup() override;

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  absl::Status AllReduce(const View& data) override;
  absl::Status AllGather(const View& in, const View& out) override;
  absl::Status Broadcast(const View& data, int root) override;
  absl::Status Barrier() override;
  void SetLimit(std::chrono::nanoseconds limit) override { options_.limit = limit; }
  void Abort(std::string_view reason) override { host_.Abort(reason); }
  absl::Status ended() const override { return host_.ended(); }

 private:
  struct Span {  // of bytes
    int64_t begin, size;
  };

  NcclGroup(const NcclApi& api, ProcessGroup& host, DeviceStream& stream,
            const NcclGroupOptions& options)
      : api_(api), host_(host), stream_(stream), options_(options) {}
  absl::Status Join();

  absl::Status StartCall(GroupCall call);
  absl::Status OneShot(const View& data);
  absl::Status TwoShot(const View& piece);
  absl::Status Exchange(const std::vector<Span>& to, const std::byte* out,
                        const std::vector<Span>& from, std::byte* in);
  Span Slice(int64_t bytes, int rank) const;

  absl::Status Queued(NcclResult result);  // waits until the communicator has taken it
  absl::Status Finish();                   // and until the device has done it
  template <typename Done>
  absl::Status Poll(const Done& done);
  absl::Status Broken(NcclResult result);
  absl::Status Fail(const absl::Status& why);  // ends the group; the reason that came first

  const NcclApi& api_;
  ProcessGroup& host_;
  DeviceStream& stream_;
  NcclGroupOptions options_;
  NcclComm comm_ = nullptr;
  std::byte* scratch_ = nullptr;
  GroupCall call_ = GroupCall::kNone;
  Clock::time_point deadline_;
};

}  // namespace shardline
