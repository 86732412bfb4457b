// shardline bench: how fast a server answers under a given load. Ctrl-C tells what has been
// measured so far.
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <ostream>

#include "shardline/v1/control.grpc.pb.h"
#include "shared/base/quoted.h"
#include "tools/cli/bench_report.h"
#include "tools/cli/bench_run.h"
#include "tools/cli/client.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/options.h"
#include "tools/cli/terminal.h"

namespace shardline::cli {
namespace {

constexpr uint64_t kMaxTokens = 100'000'000;  // samples of one load, all in memory
constexpr uint32_t kMaxConcurrency = 4096;

struct Flags {
  std::string target;
  std::vector<double> concurrencies;
  std::vector<double> rates;
  uint32_t requests = 0;  // 0: by the load
  std::optional<uint32_t> warm_up;
  bool json = false;
  std::string plot;
  BenchRequests shape{.prompt_tokens = 128, .output_tokens = 64, .seed = 1, .limit_seconds = 600};
};

// "1,2,4": numbers above 0, integers up to kMaxConcurrency if `whole`.
absl::StatusOr<std::vector<double>> ReadList(const std::string& text, bool whole) {
  std::vector<double> numbers;
  const char* at = text.data();
  const char* end = at + text.size();
  for (;;) {
    double number = 0;
    const auto [read, error] = std::from_chars(at, end, number);
    const bool fits = error == std::errc() && number > 0 && number <= 1e6 &&
                      (!whole || (number <= kMaxConcurrency && number == std::floor(number)));
    if (!fits || (read != end && *read != ',')) {
      return InvalidArgument(
          Quoted(text), " is not a list of ",
          whole ? Cat("whole numbers from 1 to ", kMaxConcurrency) : "numbers above 0",
          ", with commas between");
    }
    numbers.push_back(number);
    if (read == end) return numbers;
    at = read + 1;
  }
}

Options BenchOptions(Flags& flags) {
  Options options("bench", "bench [flags]",
                  "Sends requests of random token ids and measures the answers. TTFT: time to "
                  "first token,\nITL: time between tokens, both in milliseconds.");
  AddTarget(options, flags.target);
  options.Text("model", "NAME", "default: the served model",
               [&](const std::string& text) { flags.shape.model = text; });
  options.Parsed("concurrency", "N,…", "closed loop: so many requests at any time (default 1)",
                 [&](const std::string& text) -> absl::Status {
                   SL_ASSIGN_OR_RETURN(flags.concurrencies, ReadList(text, /*whole=*/true));
                   return absl::OkStatus();
                 });
  options.Parsed("rate", "X,…", "open loop: requests per second, at random times",
                 [&](const std::string& text) -> absl::Status {
                   SL_ASSIGN_OR_RETURN(flags.rates, ReadList(text, /*whole=*/false));
                   return absl::OkStatus();
                 });
  options.Number<uint32_t>("requests",
                           "of each load (default: 4 times the concurrency, at least 16)",
                           [&](uint32_t n) { flags.requests = n; });
  options.Number<uint32_t>("warm-up", "requests before each load (default: the concurrency)",
                           [&](uint32_t n) { flags.warm_up = n; });
  options.Number<uint32_t>("prompt-tokens", "of each request (default 128)",
                           [&](uint32_t n) { flags.shape.prompt_tokens = n; });
  options.Number<uint32_t>("output-tokens", "of each request (default 64)",
                           [&](uint32_t n) { flags.shape.output_tokens = n; });
  options.Number<uint64_t>("seed", "of the prompts and arrivals (default 1)",
                           [&](uint64_t n) { flags.shape.seed = n; });
  options.Parsed("limit-seconds", "X", "a request that takes longer is an error (default 600)",
                 [&](const std::string& text) -> absl::Status {
                   SL_ASSIGN_OR_RETURN(flags.shape.limit_seconds, ReadSeconds(text));
                   return absl::OkStatus();
                 });
  options.Switch("json", "the results as one line of JSON",
                 [&](bool value) { flags.json = value; });
  options.Text("plot", "FILE.svg", "draws tokens per second over the loads",
               [&](const std::string& text) { flags.plot = text; });
  return options;
}

std::vector<BenchLoad> LoadsOf(const Flags& flags) {
  std::vector<BenchLoad> loads;
  for (const double concurrency : flags.concurrencies) {
    loads.push_back({.concurrency = static_cast<uint32_t>(concurrency)});
  }
  for (const double rate : flags.rates) loads.push_back({.rate = rate});
  if (loads.empty()) loads.push_back({.concurrency = 1});
  for (BenchLoad& load : loads) {
    load.requests = flags.requests > 0 ? flags.requests : std::max(16u, 4 * load.concurrency);
  }
  return loads;
}

// Fills in what the server tells about the model.
absl::Status CheckShape(const v1::Model& model, const std::vector<BenchLoad>& loads,
                        BenchRequests& shape) {
  shape.model = model.name();
  shape.vocabulary = model.vocabulary_size();
  if (shape.vocabulary == 0) return FailedPrecondition("the server tells no vocabulary size");
  if (shape.prompt_tokens == 0 || shape.output_tokens == 0) {
    return InvalidArgument("--prompt-tokens and --output-tokens must be above 0");
  }
  const uint64_t all = uint64_t{shape.prompt_tokens} + shape.output_tokens;
  if (all > model.context_tokens()) {
    return InvalidArgument("--prompt-tokens and --output-tokens are ", all, " together; ",
                           model.name(), " has a context of ", model.context_tokens());
  }
  for (const BenchLoad& load : loads) {
    if (uint64_t{load.requests} * shape.output_tokens > kMaxTokens) {
      return InvalidArgument("--requests times --output-tokens is more than ", kMaxTokens);
    }
  }
  return absl::OkStatus();
}

int Measure(const Flags& flags, v1::Inference::Stub& stub, const std::vector<BenchLoad>& loads,
            Streams& streams) {
  Bench bench(stub, flags.shape);
  Interrupt interrupt([&bench] { bench.Stop(); });
  std::vector<BenchResult> results;
  for (const BenchLoad& load : loads) {
    if (interrupt.happened()) break;
    if (IsTerminal(streams.err)) {
      streams.err << (load.concurrency > 0 ? Cat("concurrency ", load.concurrency)
                                           : Cat("rate ", load.rate))
                  << ": " << load.requests << " requests\n";
    }
    const uint32_t together = std::max(1u, load.concurrency);
    bench.Run({.concurrency = together, .requests = flags.warm_up.value_or(together)});
    if (interrupt.happened()) break;
    results.push_back(ResultOf(load, bench.Run(load)));
  }
  uint64_t completed = 0;
  for (const BenchResult& result : results) {
    completed += result.completed;
    for (const auto& [error, count] : result.errors) {
      Fail(streams, "bench", Cat(count, " times: ", error));
    }
  }
  if (flags.json) {
    streams.out << BenchJson(flags.shape, results) << "\n";
  } else {
    WriteBenchTable(results, streams.out);
  }
  if (!flags.plot.empty() && !results.empty()) {
    errno = 0;
    std::ofstream file(flags.plot, std::ios::binary);
    file << BenchSvg(flags.shape, results) << std::flush;
    if (!file.good()) {
      return Fail(streams, "bench", Cat(flags.plot, ": cannot be written: ", std::strerror(errno)),
                  kFailed);
    }
  }
  if (interrupt.happened()) return kInterrupted;
  return completed > 0 ? kDone : kFailed;
}

}  // namespace

int RunBench(const Arguments& arguments, Streams& streams) {
  Flags flags;
  std::optional<int> end;
  const Arguments rest = BenchOptions(flags).Parse(arguments, streams, end);
  if (end) return *end;
  if (!rest.empty()) return Fail(streams, "bench", Cat("unexpected argument ", Quoted(rest[0])));
  if (!flags.concurrencies.empty() && !flags.rates.empty()) {
    return Fail(streams, "bench", "--concurrency and --rate exclude each other");
  }
  const SignalsHeld held;  // before the channel starts threads
  const std::shared_ptr<grpc::Channel> channel = Connect(flags.target);
  v1::Model model;
  {
    v1::GetModelRequest which;
    which.set_model(flags.shape.model);
    grpc::ClientContext context;
    SetUnaryDeadline(context);
    const Interrupt interrupt([&context] { context.TryCancel(); });
    const grpc::Status status = v1::Control::NewStub(channel)->GetModel(&context, which, &model);
    if (interrupt.happened()) return kInterrupted;
    if (!status.ok()) return Report("bench", flags.target, status, streams);
  }
  const std::vector<BenchLoad> loads = LoadsOf(flags);
  if (const absl::Status status = CheckShape(model, loads, flags.shape); !status.ok()) {
    return Fail(streams, "bench", Message(status));
  }
  return Measure(flags, *v1::Inference::NewStub(channel), loads, streams);
}

}  // namespace shardline::cli
