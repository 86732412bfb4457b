// Finds the family of a checkpoint.
#include "worker/models/registry.h"

#include <algorithm>
#include <set>
#include <vector>

#include "shared/base/nearest.h"
#include "shared/base/quoted.h"

namespace shardline {
std::span<const Family* const> Families() {
  static const Family* const kFamilies[] = {
      &LlamaFamily(),      &MistralFamily(),    &Qwen2Family(),       &Gemma3Family(),
      &Qwen3Family(),      &GemmaFamily(),      &Gemma2Family(),      &Phi3Family(),
      &GraniteFamily(),    &Olmo2Family(),      &HeliumFamily(),      &GlmFamily(),
      &Glm4Family(),       &Starcoder2Family(), &PhiFamily(),         &FalconFamily(),
      &StablelmFamily(),   &OlmoFamily(),       &MptFamily(),         &PersimmonFamily(),
      &BigcodeFamily(),    &MixtralFamily(),    &Qwen3MoeFamily(),    &ChatglmFamily(),
      &Qwen2MoeFamily(),   &GraniteMoeFamily(), &DeepseekFamily(),    &DeepseekV2Family(),
      &DeepseekV3Family(), &MambaFamily(),      &FalconMambaFamily(),
  };
  return kFamilies;
}

namespace {

bool Matches(const Family& family, const Checkpoint& checkpoint, const std::string& architecture) {
  if (checkpoint.gguf() != nullptr) return family.gguf_architecture == architecture;  // "": none
  return std::find(family.hf_architectures.begin(), family.hf_architectures.end(), architecture) !=
         family.hf_architectures.end();
}

constexpr size_t kLongestName = 100;  // of an architecture, in an error

}  // namespace

absl::StatusOr<const Family*> FindFamily(const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.gguf() != nullptr;
  const std::string& file = gguf ? checkpoint.gguf()->file() : checkpoint.hf()->file();
  const std::vector<std::string> listed =
      gguf ? std::vector<std::string>{checkpoint.gguf()->architecture()}
           : checkpoint.hf()->Strings("architectures");
  const std::string architecture = listed.empty() ? "" : listed[0].substr(0, kLongestName);
  const std::string_view key = gguf ? "general.architecture" : "architectures";
  if (architecture.empty()) return InvalidArgument(file, ": missing keys: ", key);

  std::set<std::string_view> names;
  for (const Family* family : Families()) {
    if (Matches(*family, checkpoint, architecture)) return family;
    if (!gguf) {
      names.insert(family->hf_architectures.begin(), family->hf_architectures.end());
    } else if (!family->gguf_architecture.empty()) {
      names.insert(family->gguf_architecture);
    }
  }
  std::string served;
  for (const std::string_view name : names) served += Cat(served.empty() ? "" : ", ", name);
  return InvalidArgument(file, ": ", key, " ", Quoted(architecture),
                         " is not served; served are: ", served, "; the nearest name is ",
                         NearestName(architecture, std::vector(names.begin(), names.end())));
}

}  // namespace shardline
