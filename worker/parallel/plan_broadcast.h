// Rank 0's step plans on their way to the other ranks of the group: one broadcast of a page a step,
// and a second one for what a large plan leaves over. Every page is tagged with the group's epoch.
//
// A rank that waits for a plan hears from rank 0 even when there is nothing to do, within the limit
// that all waits of the group have.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "shared/base/status.h"
#include "shared/ipc/step_plan.h"
#include "worker/parallel/process_group.h"

namespace shardline {

class PlanBroadcast {
 public:
  static constexpr size_t kPageBytes = 4096;
  static constexpr uint64_t kMaxPlanBytes = uint64_t{256} << 20;

  // The group outlives this.
  PlanBroadcast(ProcessGroup& group, uint64_t epoch) : group_(group), epoch_(epoch) {}

  ProcessGroup& group() const { return group_; }

  // ---- rank 0. Errors: the group's; ResourceExhausted for a plan beyond kMaxPlanBytes.
  absl::Status Step(const StepPlan& plan);
  absl::Status Wait();  // there is nothing to do, but this rank is well
  absl::Status Stop();  // nothing follows

  // ---- the others
  enum class Order : uint32_t { kStep = 1, kWait = 2, kStop = 3 };
  // Fills `plan` for kStep. Errors: the group's; Internal for a page of another epoch, or what is
  // no plan.
  absl::StatusOr<Order> Next(StepPlan& plan);

 private:
  struct Header {
    uint64_t epoch;
    Order order;
    uint32_t reserved;
    uint64_t bytes;  // of the plan
  };
  static constexpr size_t kFirstBytes = kPageBytes - sizeof(Header);

  absl::Status Send(Order order);
  absl::Status Rest();

  ProcessGroup& group_;
  const uint64_t epoch_;
  alignas(64) std::array<std::byte, kPageBytes> page_{};
  std::vector<std::byte> plan_;  // encoded
};

}  // namespace shardline
