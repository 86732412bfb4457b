// The registry as people read it: README.md holds what this makes.
#include <algorithm>
#include <vector>

#include "worker/models/registry.h"
#include "worker/weights/dequantize.h"

namespace shardline {
namespace {

// "a, b" -> "`a`, `b`".
std::string Code(std::string_view names) {
  std::string out = "`";
  for (size_t i = 0; i < names.size(); ++i) {
    if (names.substr(i).starts_with(", ")) {
      out += "`, `";
      ++i;
    } else {
      out += names[i];
    }
  }
  return out + "`";
}

std::string Join(std::span<const std::string_view> names) {
  std::string out;
  for (const std::string_view name : names) out += Cat(out.empty() ? "" : ", ", name);
  return out;
}

std::string TableRow(const Family& family) {
  const std::string_view gguf =
      family.gguf_architecture.empty() ? family.gguf_as : family.gguf_architecture;
  return Cat("| `", family.name, "` | ", family.models.empty() ? family.name : family.models, " | ",
             Code(Join(family.hf_architectures)), " | ", gguf.empty() ? "" : Code(gguf), " | ",
             gguf.empty() ? "" : kGgufQuantisations, " | ", family.ranks, " | ",
             Code(family.goldens.empty() ? family.name : family.goldens), " |\n");
}

}  // namespace

std::string FamiliesTable() {
  std::vector<const Family*> families(Families().begin(), Families().end());
  std::sort(families.begin(), families.end(),
            [](const Family* a, const Family* b) { return a->name < b->name; });
  std::string out =
      "| family | models | safetensors | GGUF | quantised | ranks | proof |\n"
      "|---|---|---|---|---|---|---|\n";
  for (const Family* family : families) out += TableRow(*family);
  return out;
}

}  // namespace shardline
