#include "worker/terms.h"

#include <cstdio>

#include "worker/models/describe.h"
#include "worker/models/open.h"

namespace shardline {
namespace {

// FNV-1a: against mistakes, not against forgery.
std::string HashOf(std::string_view text) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  char digits[17];
  std::snprintf(digits, sizeof(digits), "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

}  // namespace

absl::StatusOr<Terms> TermsOf(const WorkerSettings& settings, const ModelOptions& model) {
  ModelOptions alone = model;
  alone.group = nullptr;
  SL_ASSIGN_OR_RETURN(const OpenedModel opened, OpenModel(alone));
  // What it is made of, its tensors' names and shapes; in one type, since `auto` depends on the
  // processor.
  alone.dtype = "f32";
  SL_ASSIGN_OR_RETURN(const std::string description, DescribeModel(alone));
  const std::string_view dtype = NameOf(opened.info.dtype);
  const std::string seconds = Cat(std::chrono::duration<double>(settings.rank_limit).count());
  return Terms{
      {"the version", SHARDLINE_VERSION},
      {"--tensor-parallel", Cat(settings.ranks)},
      {"--nodes", Cat(settings.nodes)},
      {"--expert-parallel", Cat(settings.expert_parallel)},
      {"--dtype", settings.dtype == "auto" ? Cat("auto (", dtype, ")") : settings.dtype},
      {"--max-sequences", Cat(settings.max_sequences)},
      {"--max-batch-tokens", Cat(settings.max_batch_tokens)},
      {"--max-context", Cat(settings.max_context)},
      {"--kv-cache-bytes", Cat(settings.kv_cache_bytes)},
      {"--no-kv-cache", Cat(settings.no_kv_cache)},
      {"--step-limit-seconds", seconds},
      {"--model", Cat("a ", opened.info.family, " model (", HashOf(description), ")")},
  };
}

}  // namespace shardline
