#include "tools/cli/bench_run.h"

#include <sys/resource.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>

#include "shared/base/strings.h"
#include "tools/cli/client.h"

namespace shardline::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

// An open loop whose server falls behind stops here, instead of taking all memory.
constexpr size_t kMaxInFlight = 4096;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

// What the calls share; gRPC's threads and the one in Run() meet here.
struct Bench::State {
  std::mutex mutex;
  std::condition_variable changed;
  // Shared, since Stop() cancels without the lock: gRPC may end a call in the cancelling thread.
  std::map<Call*, std::shared_ptr<grpc::ClientContext>> running;
  BenchSamples samples;
  std::mt19937_64 random;
  bool stopped = false;
};

// One request; deletes itself when gRPC is done with it.
class Bench::Call : public grpc::ClientReadReactor<v1::GenerateEvent> {
 public:
  Call(State& state, v1::GenerateRequest request, uint32_t wanted, double limit_seconds,
       Time arrival)
      : state_(state), request_(std::move(request)), wanted_(wanted), arrival_(arrival) {
    SetDeadline(*context_, limit_seconds);
  }
  const std::shared_ptr<grpc::ClientContext>& context() const { return context_; }
  void Start(v1::Inference::Stub& stub) {
    stub.async()->Generate(context_.get(), &request_, this);
    StartRead(&event_);
    StartCall();
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    const Time now = Clock::now();
    if (const int count = event_.tokens().tokens_size(); count > 0) {
      if (tokens_ == 0) {
        first_token_ = Seconds(now - arrival_);
        // Tokens that come together with the first have no time of their own.
      } else {
        gaps_.insert(gaps_.end(), static_cast<size_t>(count), Seconds(now - last_) / count);
      }
      tokens_ += static_cast<uint64_t>(count);
      last_ = now;
    }
    if (event_.has_error()) error_ = v1::ErrorCode_Name(event_.error().code());
    StartRead(&event_);
  }
  void OnDone(const grpc::Status& status) override {
    if (error_.empty() && !status.ok()) error_ = Describe("the target", status);
    if (error_.empty() && tokens_ != wanted_)
      error_ = Cat(tokens_, " instead of ", wanted_, " tokens");
    const std::lock_guard lock(state_.mutex);
    BenchSamples& samples = state_.samples;
    if (!error_.empty()) {
      // What Ctrl-C ended is no failure.
      if (!state_.stopped) ++samples.errors[error_];
    } else {
      samples.first_token.push_back(first_token_);
      samples.inter_token.insert(samples.inter_token.end(), gaps_.begin(), gaps_.end());
      samples.request.push_back(Seconds(Clock::now() - arrival_));
      samples.output_tokens += tokens_;
    }
    state_.running.erase(this);
    state_.changed.notify_all();
    delete this;
  }

  State& state_;
  std::shared_ptr<grpc::ClientContext> context_ = std::make_shared<grpc::ClientContext>();
  v1::GenerateRequest request_;
  v1::GenerateEvent event_;
  uint64_t wanted_;
  Time arrival_, last_;
  uint64_t tokens_ = 0;
  double first_token_ = 0;
  std::vector<double> gaps_;
  std::string error_;
};

Bench::Bench(v1::Inference::Stub& stub, BenchRequests requests)
    : stub_(stub), requests_(std::move(requests)), state_(std::make_shared<State>()) {
  state_->random.seed(requests_.seed);
}

BenchSamples Bench::Run(const BenchLoad& load) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  state.samples = {};
  const double cpu = CpuSeconds();
  const Time begin = Clock::now();
  Time arrival = begin;
  std::uniform_int_distribution<uint32_t> id(0, requests_.vocabulary - 1);
  const size_t room = load.concurrency > 0 ? load.concurrency : kMaxInFlight;
  for (uint32_t sent = 0; sent < load.requests && !state.stopped; ++sent) {
    if (load.concurrency > 0) {
      state.changed.wait(lock, [&] { return state.stopped || state.running.size() < room; });
      arrival = Clock::now();
    } else {
      arrival += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
          std::exponential_distribution<double>(load.rate)(state.random)));
      state.changed.wait_until(lock, arrival, [&] { return state.stopped; });
      if (state.running.size() >= room) {
        ++state.samples.errors[Cat("not sent: ", room, " requests are unanswered")];
        continue;
      }
    }
    if (state.stopped) break;
    v1::GenerateRequest request;
    request.set_model(requests_.model);
    for (uint32_t i = 0; i < requests_.prompt_tokens; ++i) {
      request.mutable_token_ids()->add_ids(id(state.random));
    }
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_new_tokens(requests_.output_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    Call* call = new Call(state, std::move(request), requests_.output_tokens,
                          requests_.limit_seconds, arrival);
    state.running.emplace(call, call->context());
    lock.unlock();  // the call may end at once, and needs the lock then
    call->Start(stub_);
    lock.lock();
  }
  state.changed.wait(lock, [&] { return state.running.empty(); });  // each has its deadline
  BenchSamples samples = std::move(state.samples);
  samples.seconds = Seconds(Clock::now() - begin);
  samples.cpu_seconds = CpuSeconds() - cpu;
  return samples;
}

void Bench::Stop() {
  std::vector<std::shared_ptr<grpc::ClientContext>> contexts;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopped = true;
    for (const auto& [call, context] : state_->running) contexts.push_back(context);
    state_->changed.notify_all();
  }
  for (const auto& context : contexts) context->TryCancel();
}

}  // namespace shardline::cli
