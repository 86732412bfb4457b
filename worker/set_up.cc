#include "worker/set_up.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "kernels/ops.h"
#include "shared/base/clock.h"
#include "shared/base/cores.h"
#include "worker/engine/kv_plan.h"
#include "worker/fail.h"
#include "worker/join_group.h"
#include "worker/parallel/agree.h"
#include "worker/parallel/roll_call.h"
#include "worker/state/memory.h"
#include "worker/terms.h"

namespace shardline {
namespace {

using std::chrono::seconds;

const Ops& ChosenOps(const WorkerSettings& settings) {
  return settings.ops == "reference" ? ReferenceOps() : CpuOps();
}

absl::StatusOr<Configure> ReceiveConfigure(Channel& channel) {
  SL_ASSIGN_OR_RETURN(const auto record, channel.Receive(seconds(60)));
  if (!record.has_value()) return DeadlineExceeded("the gateway sent no Configure for 60 s");
  return record->As<Configure>();
}

// Sends each phase, and each hundredth within it.
class ProgressSender {
 public:
  // `roll`: null where no other node wants to know.
  ProgressSender(Channel& channel, RollCall* roll) : channel_(channel), roll_(roll) {}
  void operator()(std::string_view phase, double fraction) {
    if (phase == last_.phase && fraction < last_.fraction + 0.01 && fraction < 1) return;
    last_ = {fraction, std::string(phase)};
    // A gateway that does not read its progress loses it.
    (void)channel_.Send(last_, seconds(1));
    if (roll_ != nullptr) roll_->Headway();
  }

 private:
  Channel& channel_;
  RollCall* roll_;
  Progress last_{-1, ""};
};

// OK when it is OK on all ranks; else the first rank's error, on all of them.
absl::Status OnAllRanks(Worker& worker, const absl::Status& own) {
  absl::Status all;
  SL_RETURN_IF_ERROR(Agree(*worker.group, own, all));
  return all;
}

absl::Status JoinTrace(Worker& worker) {
  const WorkerSettings& settings = worker.settings;
  if (settings.trace_file.empty()) return absl::OkStatus();
  const std::string name =
      settings.ranks == 1 ? "shardline-worker" : Cat("shardline-worker rank ", settings.rank);
  SL_ASSIGN_OR_RETURN(worker.trace, Trace::Join(settings.trace_file, name));
  return absl::OkStatus();
}

KvLimits LimitsOf(const WorkerSettings& settings, const ModelInfo& info) {
  return {settings.max_sequences, info.context_tokens, settings.max_batch_tokens};
}

absl::Status LoadModel(ProgressSender progress, Port& port, Worker& worker) {
  const WorkerSettings& settings = worker.settings;
  worker.threads =
      std::make_unique<ThreadPool>(settings.threads > 0 ? settings.threads : UsableCores());
  ModelOptions options = OptionsOf(settings);
  options.threads = worker.threads.get();
  options.thread_count = worker.threads->size();
  options.group = worker.group.get();
  if (settings.speaks()) options.at_work = [&port] { port.AtWork(); };
  // A --kv-cache-bytes that holds nothing need not wait for the weights. Of several ranks none
  // knows alone what a block takes: they plan together, once all have loaded.
  if (settings.ranks == 1 && settings.kv_cache_bytes > 0) {
    options.before_weights = [&settings](const ModelInfo& info,
                                         const std::vector<StateGroup>& groups) {
      return PlanKv(groups, LimitsOf(settings, info), settings.kv_cache_bytes, 0).status();
    };
  }
  SL_ASSIGN_OR_RETURN(worker.model, Model::Load(options, progress));
  return absl::OkStatus();
}

// What is free, shared by the replicas of this machine. One that starts again finds what the others
// left.
uint64_t MemoryShare(const WorkerSettings& settings) {
  return AvailableMemoryBytes() / static_cast<uint64_t>(settings.memory_sharers);
}

absl::Status MakeState(const KvPlan& kv, Worker& worker) {
  SL_ASSIGN_OR_RETURN(worker.state,
                      StateStorage::Create(worker.model->state_groups(), kv.blocks_per_group,
                                           worker.settings.max_sequences, kv.context_tokens));
  return absl::OkStatus();
}

void MakeEngine(const Configure& configure, const KvPlan& kv, Port& port, Worker& worker) {
  const WorkerSettings& settings = worker.settings;
  EngineOptions options;
  options.epoch = settings.epoch;
  options.limits = {settings.max_sequences, settings.max_batch_tokens};
  options.context_tokens = kv.context_tokens;
  options.eos_ids = configure.eos_ids;
  options.kv_cache = !settings.no_kv_cache;
  options.threads = worker.threads.get();
  options.trace = worker.trace.get();
  options.followers = worker.plans.get();
  // An idle rank on another host whose connection broke is noticed when something is sent to it.
  options.follower_interval =
      std::min<std::chrono::nanoseconds>(settings.rank_limit / 3, seconds(1));
  worker.engine =
      std::make_unique<Engine>(options, kv.blocks_per_group, *worker.model, *worker.state, port);
}

Ready Describe(const Worker& worker, const KvPlan& kv, uint64_t weight_bytes) {
  const WorkerSettings& settings = worker.settings;
  const ModelInfo& info = worker.model->info();
  Ready ready;
  ready.header.epoch = settings.epoch;
  ready.header.vocabulary_size = static_cast<uint32_t>(info.vocabulary_size);
  ready.header.context_tokens = static_cast<uint32_t>(kv.context_tokens);
  ready.header.max_sequences = static_cast<uint32_t>(settings.max_sequences);
  ready.header.max_batch_tokens = static_cast<uint32_t>(settings.max_batch_tokens);
  ready.header.block_tokens = static_cast<uint32_t>(kv.block_tokens);
  ready.header.batch_invariant = info.batch_invariant ? 1 : 0;
  if (worker.leads()) ready.header.kv_blocks_total = worker.engine->scheduler().blocks().total();
  ready.header.kv_bytes = kv.bytes;
  ready.header.weight_bytes = weight_bytes;
  ready.family = info.family;
  ready.dtype = NameOf(info.dtype);
  ready.arithmetic = info.arithmetic;
  ready.quantisation = info.quantisation;
  ready.instruction_set = ChosenOps(settings).instruction_set;
  ready.capabilities = info.capabilities;
  return ready;
}

absl::StatusOr<uint64_t> WeightBytesOfAll(Worker& worker) {
  const std::array<uint64_t, 1> own = {worker.model->info().weight_bytes};
  SL_ASSIGN_OR_RETURN(const std::vector<uint64_t> all, GatherWords(*worker.group, own));
  return std::accumulate(all.begin(), all.end(), uint64_t{0});
}

// To the gateway, while this rank waits for others: that it is well, and not how far it is.
void SayAlive(Channel& channel) { (void)channel.Send(Progress{0, ""}, seconds(1)); }

absl::Status Join(Channel& channel, Worker& worker) {
  const WorkerSettings& settings = worker.settings;
  Terms terms;
  if (settings.over_tcp()) {
    SL_RETURN_IF_ERROR(WithoutExceptions(settings, [&]() -> absl::Status {
      SL_ASSIGN_OR_RETURN(terms, TermsOf(settings, OptionsOf(settings)));
      return absl::OkStatus();
    }));
  }
  SL_ASSIGN_OR_RETURN(JoinedGroup joined,
                      JoinGroup(settings, terms, [&channel] { SayAlive(channel); }));
  worker.group = std::move(joined.group);
  if (settings.ranks > 1) {
    worker.plans = std::make_unique<PlanBroadcast>(*worker.group, joined.epoch);
  }
  return absl::OkStatus();
}

// While a rank on another node gets further, this one's gateway must not take it for one that
// stands still; when one has gone, there is nothing to load for.
std::unique_ptr<RollCall> CallRoll(Channel& channel, Worker& worker) {
  if (!worker.settings.over_tcp()) return nullptr;
  const auto failed = [&worker](const absl::Status& why) {
    if (worker.settings.speaks()) Fail(1, why);
    std::fflush(nullptr);
    _exit(1);
  };
  return std::make_unique<RollCall>(
      *worker.group,
      RollCall::Events{.headway = [&channel] { SayAlive(channel); }, .failed = failed});
}

// The group's errors; `own`: this rank's.
absl::Status Load(Channel& channel, Port& port, Worker& worker, absl::Status& own) {
  const std::unique_ptr<RollCall> roll = CallRoll(channel, worker);
  own = JoinTrace(worker);
  if (own.ok()) {
    own = WithoutExceptions(worker.settings, [&] {
      return LoadModel(ProgressSender(channel, roll.get()), port, worker);
    });
  }
  return roll != nullptr ? roll->Done() : absl::OkStatus();
}

}  // namespace

ModelOptions OptionsOf(const WorkerSettings& settings) {
  ModelOptions options;
  options.path = settings.model;
  options.dtype = settings.dtype;
  options.ops = &ChosenOps(settings);
  options.expert_parallel = settings.expert_parallel;
  options.max_batch_tokens = settings.max_batch_tokens;
  options.max_context = settings.max_context;
  return options;
}

absl::Status WithoutExceptions(const WorkerSettings& settings,
                               const std::function<absl::Status()>& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("--model ", settings.model, ": not enough memory");
  } catch (const std::exception& e) {
    return Internal("--model ", settings.model, ": ", e.what());
  }
}

absl::Status SetUp(Channel& channel, Port& port, Worker& worker) {
  const WorkerSettings& settings = worker.settings;
  const Clock::time_point start = Clock::now();
  SL_ASSIGN_OR_RETURN(const Configure configure, ReceiveConfigure(channel));
  SL_RETURN_IF_ERROR(Join(channel, worker));
  absl::Status own;
  SL_RETURN_IF_ERROR(Load(channel, port, worker, own));
  SL_RETURN_IF_ERROR(OnAllRanks(worker, own));

  const KvLimits limits = LimitsOf(settings, worker.model->info());
  SL_ASSIGN_OR_RETURN(const KvPlan kv,
                      PlanKvTogether(*worker.group, worker.model->state_groups(), limits,
                                     settings.kv_cache_bytes, MemoryShare(settings)));
  SL_ASSIGN_OR_RETURN(const uint64_t weight_bytes, WeightBytesOfAll(worker));
  own = WithoutExceptions(settings, [&] {
    SL_RETURN_IF_ERROR(MakeState(kv, worker));
    if (worker.leads()) MakeEngine(configure, kv, port, worker);
    return absl::OkStatus();
  });
  SL_RETURN_IF_ERROR(OnAllRanks(worker, own));
  worker.group->SetLimit(settings.rank_limit);
  if (!settings.speaks()) return absl::OkStatus();
  Ready ready = Describe(worker, kv, weight_bytes);
  ready.header.load_seconds = SecondsSince(start);
  return channel.Send(ready, seconds(30));
}

}  // namespace shardline
