// Every row of the registry is proven: by checkpoints in both formats and in several types.
#include "worker/models/registry.h"

#include <map>
#include <set>

#include "tests/worker/models/golden.h"

namespace shardline {
namespace {

// A checkpoint's name without what tells its format.
std::string_view Stem(std::string_view name) {
  for (const std::string_view prefix : {"gguf_of_", "gguf_mixed_", "gguf_candle_", "gguf_"}) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

std::vector<std::string> Beginnings(const Family& family) {
  std::vector<std::string> out;
  std::string_view rest = family.goldens.empty() ? family.name : family.goldens;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(", "), rest.size());
    out.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 2, rest.size()));
  }
  return out;
}

// The family whose row has the longest beginning of the name; null where none has.
const Family* OwnerOf(const std::string& name) {
  const std::string stem(Stem(name));
  const Family* owner = nullptr;
  size_t longest = 0;
  for (const Family* family : Families()) {
    for (const std::string& beginning : Beginnings(*family)) {
      const bool own = stem == beginning || stem.starts_with(beginning + "_");
      if (own && beginning.size() > longest) owner = family, longest = beginning.size();
    }
  }
  return owner;
}

struct Proof {
  int safetensors = 0, same_weights = 0, quantised = 0;
};

bool IsQuantised(std::string_view type) { return type.starts_with("Q"); }

TEST(Registry, EveryFamilyIsProvenInItsFormatsAndTypes) {
  std::map<const Family*, Proof> proofs;
  std::map<std::string_view, std::set<std::string>> types;  // of matrices, by GGUF architecture
  for (const std::string& name : GoldenNames()) {
    SCOPED_TRACE(name);
    const Family* owner = OwnerOf(name);
    ASSERT_NE(owner, nullptr) << "no row's name or .goldens begins it";
    const auto checkpoint = Checkpoint::Open(GoldenCheckpoint(name));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto found = FindFamily(**checkpoint);
    ASSERT_TRUE(found.ok()) << found.status();
    Proof& proof = proofs[owner];
    if ((*checkpoint)->gguf() == nullptr) {
      EXPECT_EQ((*found)->name, owner->name);
      if (!name.starts_with("gguf_")) ++proof.safetensors;
      continue;
    }
    EXPECT_TRUE(*found == owner || (*found)->gguf_architecture == owner->gguf_as)
        << (*found)->name << " reads it, not " << owner->name;
    proof.same_weights += name.starts_with("gguf_of_") ? 1 : 0;
    bool quantised = false;
    for (const StoredTensor& tensor : (*checkpoint)->tensors()) {
      if (tensor.shape.size() < 2) continue;
      types[(*found)->gguf_architecture].insert(tensor.type_name);
      quantised |= IsQuantised(tensor.type_name);
    }
    if (quantised) ++proof.quantised;
  }
  for (const Family* family : Families()) {
    SCOPED_TRACE(family->name);
    const Proof& proof = proofs[family];
    EXPECT_GT(proof.safetensors, 0);
    EXPECT_TRUE(proof.same_weights > 0 || family->gguf_architecture.empty());
    if (family->gguf_architecture.empty() && family->gguf_as.empty()) continue;
    // ChatGLM's files are those of GLM-4 to the reader.
    if (family->name != "chatglm") {
      EXPECT_GT(proof.quantised, 0);
    }
    const auto& own =
        types[family->gguf_architecture.empty() ? family->gguf_as : family->gguf_architecture];
    for (const char* type : {"F32", "Q4_0", "Q8_0"}) EXPECT_TRUE(own.contains(type)) << type;
  }
}

TEST(Registry, NamesAreThoseOfOneRow) {
  std::set<std::string_view> names, architectures, of_gguf;
  for (const Family* family : Families()) {
    EXPECT_TRUE(names.insert(family->name).second) << family->name;
    EXPECT_NE(FamiliesTable().find(Cat("\n| `", family->name, "` |")), std::string::npos);
    for (const std::string_view name : family->hf_architectures) {
      EXPECT_TRUE(architectures.insert(name).second) << name;
    }
    EXPECT_EQ(family->gguf_architecture.empty(), family->from_gguf == nullptr) << family->name;
    if (family->gguf_architecture.empty()) continue;
    EXPECT_TRUE(of_gguf.insert(family->gguf_architecture).second) << family->gguf_architecture;
    EXPECT_EQ(family->gguf_as, "") << family->name;
  }
}

}  // namespace
}  // namespace shardline
