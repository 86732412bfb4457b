#include "tools/cli/plan_report.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "tools/cli/table.h"

namespace shardline::cli {
namespace {

using Json = nlohmann::ordered_json;

// "44.9 GB": three digits, powers of 1000.
std::string Scaled(double value, std::string_view unit) {
  constexpr std::string_view kPrefixes[] = {"", "k", "M", "G", "T", "P"};
  size_t prefix = 0;
  const double sign = value < 0 ? -1 : 1;
  for (value *= sign; value >= 999.5 && prefix + 1 < std::size(kPrefixes); ++prefix) value /= 1000;
  const int decimals = prefix == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return Cat(Fixed(decimals == 0   ? "%.0f"
                   : decimals == 1 ? "%.1f"
                                   : "%.2f",
                   sign * value),
             " ", kPrefixes[prefix], unit);
}
std::string Bytes(double bytes) { return Scaled(bytes, "B"); }

// "179.5 B"
std::string Parameters(int64_t count) {
  const bool billions = count >= 999'950'000;
  return Cat(Fixed("%.1f", static_cast<double>(count) / (billions ? 1e9 : 1e6)),
             billions ? " B" : " M");
}

// "0-6, 8"
std::string RankList(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0, last = 0; i < ranks.size(); i = last + 1) {
    for (last = i; last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1;) ++last;
    text += Cat(text.empty() ? "" : ", ", ranks[i]);
    if (last > i) text += Cat("-", ranks[last]);
  }
  return text;
}

// Tokens per second that a step can reach, of all its sequences together.
struct Limits {
  std::optional<double> bandwidth, compute;
};
Limits LimitsOf(const PlanOptions& options, const ModelPlan& plan, const StepFigures& step) {
  const Device& device = options.device;
  const double flops = plan.info.dtype == DType::kF32 ? device.f32_flops : device.narrow_flops;
  const auto tokens = static_cast<double>(step.tokens());
  Limits limits;
  if (device.bytes_per_second > 0) {
    limits.bandwidth = tokens * device.bytes_per_second / static_cast<double>(step.bytes);
  }
  if (flops > 0) limits.compute = tokens * flops / step.flops;
  return limits;
}

std::string StepName(const StepFigures& figures) {
  const DryStep& step = figures.step;
  if (step.tokens > 1) return Cat("prompt of ", step.tokens, " tokens");
  return Cat("decode, ", step.sequences, step.sequences == 1 ? " sequence" : " sequences", " at ",
             step.first_position + 1);
}

void WriteRanks(const PlanOptions& options, const ModelPlan& plan, std::ostream& out) {
  const bool device = options.device.memory_bytes > 0;
  std::vector<Row> rows = {{"RANKS", ">WEIGHTS", ">COPIES", ">ACTIVATIONS"}};
  if (device) rows[0].insert(rows[0].end(), {">RESERVE", ">LEFT"});
  bool recurrent = false, paged = false;
  for (const StateGroup& group : plan.ranks[0].groups) {
    (group.recurrent() ? recurrent : paged) = true;
  }
  if (paged) rows[0].push_back(">KV OF A TOKEN");
  if (recurrent) rows[0].push_back(">STATE OF A SEQUENCE");
  for (const RankFigures& rank : plan.ranks) {
    Row row = {RankList(rank.ranks), Bytes(rank.weight_bytes), Bytes(rank.copied_bytes),
               Bytes(rank.activation_bytes)};
    if (device) row.insert(row.end(), {Bytes(options.reserve_bytes), Bytes(rank.kv_bytes)});
    if (paged) row.push_back(Bytes(rank.token_bytes));
    if (recurrent) row.push_back(Bytes(rank.state_bytes));
    rows.push_back(std::move(row));
  }
  WriteTable(std::move(rows), out);
}

void WriteContexts(const PlanOptions& options, const ModelPlan& plan, std::ostream& out) {
  const bool device = options.device.memory_bytes > 0;
  std::vector<Row> rows = {{">CONTEXT", ">A SEQUENCE HOLDS"}};
  if (device) rows[0].push_back(">SEQUENCES THAT FIT");
  for (const ContextFigures& context : plan.contexts) {
    rows.push_back({Cat(context.tokens), Bytes(context.sequence_bytes)});
    if (device) rows.back().push_back(Cat(context.sequences));
  }
  WriteTable(std::move(rows), out);
}

void WriteSteps(const PlanOptions& options, const ModelPlan& plan, std::ostream& out) {
  std::vector<Row> rows = {
      {"STEP", ">BYTES READ", ">FLOPS", ">ALL-REDUCES", ">SUMMED", ">GATHERED"}};
  const Limits any = LimitsOf(options, plan, plan.prefill);
  if (any.bandwidth) rows[0].push_back(">TOK/S BY BANDWIDTH");
  if (any.compute) rows[0].push_back(">BY COMPUTE");
  std::vector<StepFigures> steps = {plan.prefill};
  steps.insert(steps.end(), plan.decode.begin(), plan.decode.end());
  for (const StepFigures& step : steps) {
    rows.push_back({StepName(step), Bytes(step.bytes), Scaled(step.flops, ""),
                    Cat(step.traffic.all_reduces), Bytes(step.traffic.all_reduce_bytes),
                    Bytes(step.traffic.all_gather_bytes)});
    const Limits limits = LimitsOf(options, plan, step);
    if (limits.bandwidth) rows.back().push_back(Fixed("%.0f", *limits.bandwidth));
    if (limits.compute) rows.back().push_back(Fixed("%.0f", *limits.compute));
  }
  WriteTable(std::move(rows), out);
}

std::string Verdict(const PlanOptions& options, const ModelPlan& plan) {
  const std::string what = Cat("a sequence of ", plan.info.context_tokens, " tokens");
  if (plan.fits) return Cat("fits, with ", what);
  const std::string end =
      plan.smallest > 0 ? Cat("--tensor-parallel ", plan.smallest, " is the smallest that does")
                        : std::string("nor does it on any more ranks");
  return Cat("does not fit with ", what, "; ", end);
}

Json TrafficJson(const Traffic& traffic) {
  return {{"all_reduces", traffic.all_reduces},
          {"all_reduce_bytes", traffic.all_reduce_bytes},
          {"all_gathers", traffic.all_gathers},
          {"all_gather_bytes", traffic.all_gather_bytes}};
}

Json StepJson(const PlanOptions& options, const ModelPlan& plan, const StepFigures& figures) {
  Json json = {{"sequences", figures.step.sequences},
               {"tokens", figures.step.tokens},
               {"first_position", figures.step.first_position},
               {"bytes_read", figures.bytes},
               {"flops", figures.flops}};
  json.update(TrafficJson(figures.traffic));
  const Limits limits = LimitsOf(options, plan, figures);
  if (limits.bandwidth) json["tokens_per_second_by_bandwidth"] = *limits.bandwidth;
  if (limits.compute) json["tokens_per_second_by_compute"] = *limits.compute;
  return json;
}

Json GroupJson(const StateGroup& group) {
  if (group.recurrent()) {
    return {{"layers", group.layers}, {"bytes_per_sequence", group.block_bytes()}};
  }
  return {{"layers", group.layers},
          {"kv_heads", group.kv_heads},
          {"head_dim", group.head_dim},
          {"window", group.window},
          {"bytes_per_token", group.block_bytes() / kBlockTokens}};
}

Json RankJson(const PlanOptions& options, const RankFigures& rank) {
  Json json = {{"ranks", rank.ranks},
               {"weight_bytes", rank.weight_bytes},
               {"copied_weight_bytes", rank.copied_bytes},
               {"activation_bytes", rank.activation_bytes}};
  if (options.device.memory_bytes > 0) {
    json["reserve_bytes"] = options.reserve_bytes;
    json["left_for_state_bytes"] = rank.kv_bytes;
  }
  json["kv_bytes_per_token"] = rank.token_bytes;
  json["state_bytes_per_sequence"] = rank.state_bytes;
  json["state_groups"] = Json::array();
  for (const StateGroup& group : rank.groups) json["state_groups"].push_back(GroupJson(group));
  return json;
}

}  // namespace

void WritePlanTables(const PlanOptions& options, const ModelPlan& plan, std::ostream& out) {
  const ModelInfo& info = plan.info;
  out << info.family << ", " << Parameters(info.parameters) << " parameters, " << NameOf(info.dtype)
      << ", " << options.ranks << (options.ranks == 1 ? " rank" : " ranks")
      << (options.expert_parallel ? " with whole experts" : "");
  if (!options.device.name.empty()) out << " on " << options.device.name;
  out << "\n\n";
  WriteRanks(options, plan, out);
  out << "\n";
  WriteContexts(options, plan, out);
  out << "\n";
  WriteSteps(options, plan, out);
  if (options.device.memory_bytes > 0) out << "\n" << Verdict(options, plan) << "\n";
}

void WritePlanJson(const PlanOptions& options, const ModelPlan& plan, std::ostream& out) {
  const ModelInfo& info = plan.info;
  Json json = {{"family", info.family},
               {"parameters", info.parameters},
               {"dtype", NameOf(info.dtype)},
               {"layers", info.layers},
               {"context_tokens", info.context_tokens},
               {"tensor_parallel", options.ranks},
               {"expert_parallel", options.expert_parallel},
               {"ranks", Json::array()},
               {"contexts", Json::array()},
               {"decode", Json::array()}};
  for (const RankFigures& rank : plan.ranks) json["ranks"].push_back(RankJson(options, rank));
  for (const ContextFigures& context : plan.contexts) {
    json["contexts"].push_back(
        {{"tokens", context.tokens}, {"bytes_per_sequence", context.sequence_bytes}});
    if (options.device.memory_bytes == 0) continue;
    json["contexts"].back()["sequences"] = context.sequences;
  }
  for (const StepFigures& step : plan.decode) {
    json["decode"].push_back(StepJson(options, plan, step));
  }
  json["prefill"] = StepJson(options, plan, plan.prefill);
  if (options.device.memory_bytes > 0) {
    json["device"] = {{"name", options.device.name},
                      {"memory_bytes", options.device.memory_bytes},
                      {"bytes_per_second", options.device.bytes_per_second},
                      {"narrow_flops", options.device.narrow_flops},
                      {"f32_flops", options.device.f32_flops}};
    json["fits"] = plan.fits;
    if (plan.smallest > 0) json["smallest_tensor_parallel"] = plan.smallest;
  }
  out << json.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

}  // namespace shardline::cli
