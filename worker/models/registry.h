// The families this build knows, one row each.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "worker/models/spec.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/name_map.h"

namespace shardline {

struct Family {
  std::string_view name;
  std::span<const std::string_view> hf_architectures;  // config.json: architectures[0]
  std::string_view gguf_architecture;                  // general.architecture; empty: none
  ModelSpec (*from_hf)(HfConfig& config);
  ModelSpec (*from_gguf)(GgufConfig& config, const Checkpoint& checkpoint);
  NameTable (*hf_names)(const Checkpoint& checkpoint);
  NameTable (*gguf_names)(const Checkpoint& checkpoint);
  // What people are told of it; a row states what is not so.
  std::string_view models = {};   // published models of it; empty: they have its name
  std::string_view gguf_as = {};  // whose architecture its GGUF files have, if not its own
  std::string_view ranks = "up to its heads";  // that can hold a model together
  std::string_view goldens = {};  // how names of its checkpoints in tests/golden begin, by
                                  // ", ", "gguf_…" aside; empty: with its name
  std::string_view capabilities = "generate, logprobs, prompt_logprobs";  // beside those of text
};

std::span<const Family* const> Families();
// The rows as a Markdown table.
std::string FamiliesTable();

// Errors: InvalidArgument "FILE: architecture X is not served; served are: …; the nearest name is
// Y".
absl::StatusOr<const Family*> FindFamily(const Checkpoint& checkpoint);

// The rows of the table, each in a file of its own.
const Family& LlamaFamily();
const Family& MistralFamily();
const Family& Qwen2Family();
const Family& Gemma3Family();
const Family& Qwen3Family();
const Family& GemmaFamily();
const Family& Gemma2Family();
const Family& Phi3Family();
const Family& GraniteFamily();
const Family& Olmo2Family();
const Family& HeliumFamily();
const Family& GlmFamily();
const Family& Glm4Family();
const Family& Starcoder2Family();
const Family& PhiFamily();
const Family& FalconFamily();
const Family& StablelmFamily();
const Family& OlmoFamily();
const Family& MptFamily();
const Family& PersimmonFamily();
const Family& BigcodeFamily();
const Family& MixtralFamily();
const Family& Qwen3MoeFamily();
const Family& ChatglmFamily();
const Family& Qwen2MoeFamily();
const Family& GraniteMoeFamily();
const Family& DeepseekFamily();
const Family& DeepseekV2Family();
const Family& DeepseekV3Family();
const Family& MambaFamily();
const Family& FalconMambaFamily();

}  // namespace shardline
