#include "worker/parallel/plan_broadcast.h"

#include <algorithm>
#include <cstring>

#include "shared/ipc/message.h"

namespace shardline {
namespace {

View Bytes(std::byte* data, size_t bytes) {
  return View::Contiguous(data, DType::kU8, {static_cast<int64_t>(bytes)});
}

}  // namespace

absl::Status PlanBroadcast::Step(const StepPlan& plan) {
  Encode(plan, plan_);
  if (plan_.size() > kMaxPlanBytes) {
    return ResourceExhausted("a step's plan takes ", plan_.size(), " bytes, at most ",
                             kMaxPlanBytes, " are sent: lower --max-batch-tokens");
  }
  return Send(Order::kStep);
}

absl::Status PlanBroadcast::Wait() {
  plan_.clear();
  return Send(Order::kWait);
}

absl::Status PlanBroadcast::Stop() {
  plan_.clear();
  return Send(Order::kStop);
}

absl::Status PlanBroadcast::Send(Order order) {
  const Header header{epoch_, order, 0, plan_.size()};
  std::memcpy(page_.data(), &header, sizeof(header));
  const size_t first = std::min(plan_.size(), kFirstBytes);
  if (first > 0) std::memcpy(page_.data() + sizeof(header), plan_.data(), first);
  SL_RETURN_IF_ERROR(group_.Broadcast(Bytes(page_.data(), page_.size()), 0));
  return Rest();
}

// What of the plan is beyond the page.
absl::Status PlanBroadcast::Rest() {
  if (plan_.size() <= kFirstBytes) return absl::OkStatus();
  return group_.Broadcast(Bytes(plan_.data() + kFirstBytes, plan_.size() - kFirstBytes), 0);
}

absl::StatusOr<PlanBroadcast::Order> PlanBroadcast::Next(StepPlan& plan) {
  SL_RETURN_IF_ERROR(group_.Broadcast(Bytes(page_.data(), page_.size()), 0));
  Header header;
  std::memcpy(&header, page_.data(), sizeof(header));
  if (header.epoch != epoch_) {
    return Internal("a plan of epoch ", header.epoch, " came to a rank of epoch ", epoch_);
  }
  if (header.order < Order::kStep || header.order > Order::kStop || header.bytes > kMaxPlanBytes ||
      (header.order != Order::kStep && header.bytes > 0)) {
    return Internal("rank 0 sent order ", static_cast<uint32_t>(header.order), " of ", header.bytes,
                    " bytes");
  }
  plan_.resize(header.bytes);
  const size_t first = std::min(plan_.size(), kFirstBytes);
  if (first > 0) std::memcpy(plan_.data(), page_.data() + sizeof(header), first);
  SL_RETURN_IF_ERROR(Rest());
  if (header.order == Order::kStep) {
    auto decoded = Decode<StepPlan>(plan_);
    if (!decoded.ok()) return Internal(Message(decoded.status()));
    plan = *std::move(decoded);
  }
  return header.order;
}

}  // namespace shardline
