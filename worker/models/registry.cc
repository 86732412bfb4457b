// Finds the family of a checkpoint.
#include "worker/models/registry.h"

#include <algorithm>

namespace shardline {
namespace {

std::span<const Family* const> Families() {
  static const Family* const kFamilies[] = {
      &LlamaFamily(),      &MistralFamily(), &Qwen2Family(),     &Gemma3Family(),
      &Starcoder2Family(), &PhiFamily(),     &FalconFamily(),    &StablelmFamily(),
      &OlmoFamily(),       &MptFamily(),     &PersimmonFamily(), &BigcodeFamily(),
  };
  return kFamilies;
}

bool Matches(const Family& family, const Checkpoint& checkpoint, const std::string& architecture) {
  if (checkpoint.gguf() != nullptr) return family.gguf_architecture == architecture;  // "": none
  return std::find(family.hf_architectures.begin(), family.hf_architectures.end(), architecture) !=
         family.hf_architectures.end();
}

}  // namespace

absl::StatusOr<const Family*> FindFamily(const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.gguf() != nullptr;
  const std::string& file = gguf ? checkpoint.gguf()->file() : checkpoint.hf()->file();
  const std::vector<std::string> listed =
      gguf ? std::vector<std::string>{checkpoint.gguf()->architecture()}
           : checkpoint.hf()->Strings("architectures");
  const std::string architecture = listed.empty() ? "" : listed[0];
  const std::string_view key = gguf ? "general.architecture" : "architectures";
  if (architecture.empty()) return InvalidArgument(file, ": missing keys: ", key);

  std::string served;
  for (const Family* family : Families()) {
    if (Matches(*family, checkpoint, architecture)) return family;
    const std::string_view name = gguf ? family->gguf_architecture : family->hf_architectures[0];
    if (!name.empty()) served += Cat(served.empty() ? "" : ", ", name);
  }
  return InvalidArgument(file, ": ", key, " '", architecture,
                         "' is not served; served are: ", served);
}

}  // namespace shardline
