// shardline plan: what a model takes on each rank, what fits beside it and how fast a device could
// run it, before anything is downloaded. Needs no server and no weights.
#include "worker/plan/plan.h"

#include <algorithm>
#include <charconv>

#include "shared/base/quoted.h"
#include "tools/cli/commands.h"
#include "tools/cli/device.h"
#include "tools/cli/options.h"
#include "tools/cli/plan_report.h"

namespace shardline::cli {
namespace {

constexpr int64_t kMostRanks = 1024, kMostTokens = int64_t{1} << 20;
constexpr int64_t kMostContext = int64_t{1} << 24, kMostSequences = 65536;
constexpr uint64_t kReservedPart = 16;  // of a device's memory

struct Flags {
  PlanOptions plan;
  std::string device;
  std::optional<uint64_t> memory, reserve;
  std::optional<double> gigabytes_per_second, teraflops;
  bool json = false;
};

// A whole number within bounds.
void AddCount(Options& options, const std::string& name, const std::string& help, int64_t least,
              int64_t most, std::function<void(int64_t)> set) {
  options.Parsed(name, "N", help, [=, set = std::move(set)](const std::string& text) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < least ||
        number > most) {
      return InvalidArgument(Quoted(text), " is no whole number from ", least, " to ", most);
    }
    set(number);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<int64_t>> ReadContexts(const std::string& text) {
  std::vector<int64_t> contexts;
  const char* at = text.data();
  const char* end = at + text.size();
  for (;;) {
    int64_t number = 0;
    const auto [read, error] = std::from_chars(at, end, number);
    if (error != std::errc() || number < 1 || number > kMostContext || contexts.size() >= 64 ||
        (read != end && *read != ',')) {
      return InvalidArgument(Quoted(text), " is no list of up to 64 whole numbers from 1 to ",
                             kMostContext, ", with commas between");
    }
    contexts.push_back(number);
    if (read == end) return contexts;
    at = read + 1;
  }
}

void AddModelOptions(Options& options, Flags& flags) {
  PlanOptions& plan = flags.plan;
  options.Text("model", "PATH", "the same as PATH",
               [&](const std::string& text) { plan.path = text; });
  AddCount(options, "tensor-parallel", "ranks that share the model (default 1)", 1, kMostRanks,
           [&](int64_t n) { plan.ranks = static_cast<int>(n); });
  options.Switch("expert-parallel", "ranks have whole experts, instead of a part of each",
                 [&](bool value) { plan.expert_parallel = value; });
  options.Text("dtype", "TYPE", "auto, f32, bf16 or f16 (default auto)",
               [&](const std::string& text) { plan.dtype = text; });
  AddCount(options, "max-context", "longest prompt + output (default: the model's)", 1,
           kMostContext, [&](int64_t n) { plan.max_context = n; });
  AddCount(options, "max-batch-tokens", "tokens of one step (default 2048)", 1, kMostTokens,
           [&](int64_t n) { plan.max_batch_tokens = n; });
  AddCount(options, "max-sequences", "sequences that run at once (default 256)", 1, kMostSequences,
           [&](int64_t n) { plan.max_sequences = n; });
  options.Parsed("context", "N,…", "lengths of sequences to tell of (default: 2048, the longest)",
                 [&](const std::string& text) -> absl::Status {
                   SL_ASSIGN_OR_RETURN(plan.contexts, ReadContexts(text));
                   return absl::OkStatus();
                 });
}

// Above zero, and finite.
void AddRate(Options& options, const std::string& name, const std::string& help,
             std::optional<double>& rate) {
  options.Parsed(name, "X", help, [&rate](const std::string& text) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || !(number > 0) || number > 1e9) {
      return InvalidArgument(Quoted(text), " is no number above 0 and up to 1e9");
    }
    rate = number;
    return absl::OkStatus();
  });
}

Options PlanCommandOptions(Flags& flags) {
  Options options("plan", "plan [flags] PATH",
                  "Shows what a model takes on each rank, how many sequences fit and how fast a "
                  "device\ncould be. PATH: a config.json, a directory with one, or a .gguf file; "
                  "no weights are read.");
  AddModelOptions(options, flags);
  options.Text("device", "NAME", "h100-80g, h200, a100-80g, a100-40g, l40s, rtx-4090 or mi300x",
               [&](const std::string& text) { flags.device = text; });
  options.Number<uint64_t>("device-memory", "bytes of a device (default: the named one's)",
                           [&](uint64_t n) { flags.memory = n; });
  AddRate(options, "device-bandwidth", "GB/s of its memory", flags.gigabytes_per_second);
  AddRate(options, "device-tflops", "TFLOPS of its dense products", flags.teraflops);
  options.Number<uint64_t>("device-reserve",
                           "bytes of it for others than the model (default: a sixteenth)",
                           [&](uint64_t n) { flags.reserve = n; });
  options.Switch("json", "one line of JSON", [&](bool value) { flags.json = value; });
  return options;
}

absl::Status SetDevice(const Flags& flags, PlanOptions& plan) {
  if (!flags.device.empty()) {
    absl::StatusOr<Device> named = FindDevice(flags.device);
    if (!named.ok()) return Annotate(named.status(), "--device");
    plan.device = *std::move(named);
  }
  Device& device = plan.device;
  if (flags.memory) device.memory_bytes = *flags.memory;
  if (flags.gigabytes_per_second) device.bytes_per_second = *flags.gigabytes_per_second * 1e9;
  if (flags.teraflops) device.narrow_flops = device.f32_flops = *flags.teraflops * 1e12;
  if (device.memory_bytes > uint64_t{1} << 60) {
    return InvalidArgument("--device-memory: ", device.memory_bytes, " is more than 2^60");
  }
  plan.reserve_bytes = flags.reserve.value_or(device.memory_bytes / kReservedPart);
  if (plan.reserve_bytes > device.memory_bytes) {
    return InvalidArgument("--device-reserve: ", plan.reserve_bytes, " is more than the ",
                           device.memory_bytes, " bytes of --device-memory");
  }
  return absl::OkStatus();
}

}  // namespace

int Plan(const Arguments& arguments, Streams& streams) {
  Flags flags;
  std::optional<int> end;
  const Arguments paths = PlanCommandOptions(flags).Parse(arguments, streams, end);
  if (end) return *end;
  const size_t most = flags.plan.path.empty() ? 1 : 0;
  if (paths.size() > most) {
    return Fail(streams, "plan", Cat("unexpected argument ", Quoted(paths[most])));
  }
  if (!paths.empty()) flags.plan.path = paths[0];
  if (flags.plan.path.empty()) return Fail(streams, "plan", "--model: a path must be named");
  if (const absl::Status status = SetDevice(flags, flags.plan); !status.ok()) {
    return Fail(streams, "plan", Message(status));
  }
  const absl::StatusOr<ModelPlan> plan = PlanModel(flags.plan);
  if (!plan.ok()) return Fail(streams, "plan", Message(plan.status()));
  (flags.json ? WritePlanJson : WritePlanTables)(flags.plan, *plan, streams.out);
  return kDone;
}

}  // namespace shardline::cli
