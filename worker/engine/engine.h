// The worker's loop: receive → schedule → build plan → run → sample → emit. One thread; the model's
// kernels and the sampler use the pool's.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "shared/base/status.h"
#include "shared/base/trace.h"
#include "worker/engine/plan_builder.h"
#include "worker/engine/port.h"
#include "worker/engine/row_reader.h"
#include "worker/engine/scheduler.h"
#include "worker/models/model.h"
#include "worker/parallel/plan_broadcast.h"
#include "worker/state/state.h"

namespace shardline {

struct EngineOptions {
  uint64_t epoch = 0;
  SchedulerLimits limits;
  int64_t context_tokens =
      0;  // longest prompt + output: the model's, and no more than the blocks hold
  std::vector<uint32_t> eos_ids;
  bool kv_cache = true;  // false: what was computed for one token is not kept for the next
  ThreadPool* threads = nullptr;
  Trace* trace = nullptr;
  PlanBroadcast* followers = nullptr;  // the group's other ranks; null: there are none
  // They hear from this rank so often at least.
  std::chrono::nanoseconds follower_interval = std::chrono::seconds(1);
};

class Engine {
 public:
  // `blocks_per_group` as `state` was created with. All references outlive the engine.
  Engine(EngineOptions options, const std::vector<int32_t>& blocks_per_group, Model& model,
         StateStorage& state, Port& port);

  // Until Shutdown (OK) or until the port fails.
  absl::Status Run();
  // One round of the loop; waits for messages at most `wait`, and only if nothing can run.
  absl::Status Round(std::chrono::nanoseconds wait);

  bool shut_down() const { return shut_down_; }
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  absl::Status Receive(std::chrono::nanoseconds wait);
  absl::Status Handle(Submit submit);
  absl::Status Handle(const Cancel& cancel);
  absl::Status Handle(const Pause& pause);
  absl::Status Handle(const Resume& resume);
  absl::Status Handle(const Shutdown&);
  absl::Status CheckSubmit(const Submit& submit) const;
  absl::Status Start(std::unique_ptr<Sequence> sequence, const Submit& submit);
  std::chrono::nanoseconds IdleWait(std::chrono::nanoseconds wait) const;

  // Times a part of a step for the trace, if there is one.
  class Phase;
  TraceArguments DescribeStep() const;

  absl::Status Compute();
  absl::Status TellFollowers();
  absl::Status ReadLogits();
  void ForgetComputed();
  absl::Status FailStep(const absl::Status& why);

  absl::Status Send(const Outbound& message);
  absl::Status Emit(std::span<const WantedRow> wanted, std::span<const Sample> samples);
  size_t CollectPrompt(std::span<const WantedRow> wanted, std::span<const Sample> samples,
                       Prompt& prompt) const;
  absl::Status EmitToken(Sequence& sequence, const Sample& sample);
  absl::Status FinishIfEnded(Sequence& sequence);
  absl::Status FinishPromptAlone(const Sequence& sequence);
  absl::Status Finish(Sequence& sequence, FlatFinish reason, uint32_t stop_token_id);
  absl::Status Fail(Sequence& sequence, FlatError code, std::string_view message);
  absl::Status Report();

  const EngineOptions options_;
  Model& model_;
  StateStorage& state_;
  Port& port_;
  const int64_t vocabulary_;
  Scheduler scheduler_;
  RowReader reader_;

  StepPlan plan_;
  std::vector<Chunk> chunks_;
  std::vector<WantedRow> wanted_;
  std::vector<float> logits_;  // [kLogitRows, vocabulary]
  absl::Status port_status_;   // the port's last error: not the step's fault

  StepReport report_{};
  bool changed_ = true;  // something that the report tells
  bool shut_down_ = false;
  uint64_t told_followers_ns_ = 0;
};

}  // namespace shardline
