// What a rank takes while it loads: its share of the weights, as the plan tells it, and less than
// one tensor beside. The kernel counts: each rank is a process that may have so much writable
// memory of its own (RLIMIT_DATA) and no more. Mapped files are not in it, and need not be: they
// are read-only, so their pages are clean.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <new>
#include <sstream>

#include "tests/worker/models/published.h"
#include "tests/worker/models/thread_group.h"
#include "worker/models/model.h"
#include "worker/plan/dry_rank.h"
#include "worker/weights/loader.h"

namespace shardline {
namespace {

constexpr int64_t kHidden = 1024, kInner = 4096, kVocabulary = 8192, kLayers = 2, kExperts = 4;
constexpr int kThreads = 2, kBatch = 16;
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kRounding = 2 * kMiB;  // of one large piece of memory

// A checkpoint of 50 million weights, all of them zeros that no disk holds.
class Hollow {
 public:
  explicit Hollow(const std::string& name) : folder_(testing::TempDir() + "/load_memory_" + name) {
    std::filesystem::create_directories(folder_);
  }
  ~Hollow() { std::filesystem::remove_all(folder_); }

  std::string Safetensors(const std::string& type, bool fused) {
    Add("model.embed_tokens", {kVocabulary, kHidden});
    Add("lm_head", {kVocabulary, kHidden});
    Add("model.norm", {kHidden});
    for (int64_t i = 0; i < kLayers; ++i) {
      const std::string layer = Cat("model.layers.", i, ".");
      for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
        Add(layer + norm, {kHidden});
      }
      if (fused) {
        Add(layer + "self_attn.qkv_proj", {3 * kHidden, kHidden});
        Add(layer + "mlp.gate_up_proj", {2 * kInner, kHidden});
      } else {
        for (const char* part : {"q", "k", "v"}) {
          Add(Cat(layer, "self_attn.", part, "_proj"), {kHidden, kHidden});
        }
        Add(layer + "mlp.gate_proj", {kInner, kHidden});
        Add(layer + "mlp.up_proj", {kInner, kHidden});
      }
      Add(layer + "self_attn.o_proj", {kHidden, kHidden});
      Add(layer + "mlp.down_proj", {kHidden, kInner});
    }
    for (HollowTensor& tensor : tensors_) tensor.dtype = type;
    WriteHollowSafetensors(folder_ + "/model.safetensors", tensors_);
    std::ofstream(folder_ + "/config.json")
        << R"({"architectures": [")" << (fused ? "Phi3ForCausalLM" : "LlamaForCausalLM")
        << R"("], "hidden_size": )" << kHidden << R"(, "intermediate_size": )" << kInner
        << R"(, "num_hidden_layers": )" << kLayers << R"(, "vocab_size": )" << kVocabulary
        << R"(, "num_attention_heads": 16, "num_key_value_heads": 16,
             "max_position_embeddings": 128, "tie_word_embeddings": false})";
    return folder_;
  }

  std::string Gguf(GgmlType type, bool experts) {
    PublishedList metadata;
    const auto number = [&](const char* key, int64_t value) {
      AddMetadata(metadata, Cat("llama.", key), "u32", Cat(value));
    };
    AddMetadata(metadata, "general.architecture", "string", "llama");
    number("embedding_length", kHidden);
    number("block_count", kLayers);
    number("feed_forward_length", experts ? kInner / kExperts : kInner);
    number("attention.head_count", 16);
    number("context_length", 128);
    AddMetadata(metadata, "llama.attention.layer_norm_rms_epsilon", "f32", "1e-5");
    if (experts) number("expert_count", kExperts), number("expert_used_count", 2);
    Add("token_embd", {kVocabulary, kHidden});
    Add("output", {kVocabulary, kHidden});
    Add("output_norm", {kHidden});
    for (int64_t i = 0; i < kLayers; ++i) {
      const std::string layer = Cat("blk.", i, ".");
      for (const char* norm : {"attn_norm", "ffn_norm"}) Add(layer + norm, {kHidden});
      for (const char* part : {"q", "k", "v", "output"}) {
        Add(Cat(layer, "attn_", part), {kHidden, kHidden});
      }
      if (experts) {
        const int64_t inner = kInner / kExperts;
        Add(layer + "ffn_gate_inp", {kExperts, kHidden});
        Add(layer + "ffn_gate_exps", {kExperts, inner, kHidden});
        Add(layer + "ffn_up_exps", {kExperts, inner, kHidden});
        Add(layer + "ffn_down_exps", {kExperts, kHidden, inner});
      } else {
        Add(layer + "ffn_gate", {kInner, kHidden});
        Add(layer + "ffn_up", {kInner, kHidden});
        Add(layer + "ffn_down", {kHidden, kInner});
      }
    }
    const std::string path = folder_ + "/model.gguf";
    WriteHollowGguf(path, metadata.metadata, metadata.keys, tensors_, type);
    return path;
  }

 private:
  void Add(const std::string& name, std::vector<int64_t> shape) {
    tensors_.push_back({name + ".weight", std::move(shape)});
  }

  std::string folder_;
  std::vector<HollowTensor> tensors_;
};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return (std::ostringstream() << file.rdbuf()).str();
}

int64_t WritableBytes() {
  const std::string status = ReadFile("/proc/self/status");
  return std::stoll(status.substr(status.find("VmData:") + 7)) * 1024;
}

// The child's part: "", or what went wrong.
std::string LoadWithin(ModelOptions options, Split split, int64_t bytes) {
  ThreadRanks ranks(split.ranks);
  const auto group = ranks.Rank(split.rank);
  ThreadPool threads(kThreads);
  options.group = group.get();
  options.threads = &threads;
  malloc_trim(0);
  const auto limit = static_cast<rlim_t>(WritableBytes() + bytes);
  const rlimit limits{.rlim_cur = limit, .rlim_max = limit};
  if (setrlimit(RLIMIT_DATA, &limits) != 0) return "no limit was set";
  try {
    const auto model = Model::Load(options, nullptr);
    if (!model.ok()) return Message(model.status());
    const bool mapped = ReadFile("/proc/self/maps").find(options.path) != std::string::npos;
    return mapped ? "the file is still mapped" : "";
  } catch (const std::bad_alloc&) {
    return "bad_alloc";
  }
}

std::string InAProcess(const ModelOptions& options, Split split, int64_t bytes) {
  int fds[2];
  if (pipe(fds) != 0) return "no pipe";
  const pid_t pid = fork();
  if (pid == 0) {
    const std::string text = LoadWithin(options, split, bytes);
    (void)!write(fds[1], text.data(), text.size());
    _exit(0);
  }
  close(fds[1]);
  std::string text(4096, '\0');
  text.resize(std::max<ssize_t>(0, read(fds[0], text.data(), text.size())));
  close(fds[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  return status == 0 ? text : Cat("the process ended with ", status, ": ", text);
}

void ExpectWithinShare(const std::string& path, const std::string& dtype) {
  const ModelOptions options{
      .path = path, .dtype = dtype, .ops = &CpuOps(), .max_batch_tokens = kBatch};
  for (const int ranks : {1, 2, 4}) {
    for (int rank = 0; rank < ranks; ++rank) {
      SCOPED_TRACE(Cat("rank ", rank, " of ", ranks));
      const Split split{.rank = rank, .ranks = ranks};
      const auto dry = DryRank::Open(options, split);
      ASSERT_TRUE(dry.ok()) << dry.status();
      const auto share = static_cast<int64_t>((*dry)->layout().bytes);
      size_t tensor = 0;
      for (const MatrixTarget& target : (*dry)->weights().matrices) {
        tensor = std::max(tensor, PackedBytes(target, CpuOps(), (*dry)->info().dtype));
      }
      EXPECT_EQ(InAProcess(options, split, share + static_cast<int64_t>(tensor)), "");
      if (rank > 0) continue;
      // The limit is felt, on threads too.
      EXPECT_NE(InAProcess(options, split, share - kMiB)
                    .find(Cat("not enough memory for ", share, " bytes of weights of ", path)),
                std::string::npos);
      EXPECT_NE(InAProcess(options, split, (share + kRounding - 1) / kRounding * kRounding + kMiB)
                    .find("bytes of widened weights of " + path),
                std::string::npos);
    }
  }
}

TEST(LoadMemory, OfBf16Safetensors) {
  Hollow files("bf16");
  ExpectWithinShare(files.Safetensors("BF16", /*fused=*/false), "f32");
}
TEST(LoadMemory, OfF32Safetensors) {
  Hollow files("f32");
  ExpectWithinShare(files.Safetensors("F32", /*fused=*/false), "f32");
}
TEST(LoadMemory, OfFusedProducts) {
  Hollow files("fused");
  ExpectWithinShare(files.Safetensors("BF16", /*fused=*/true), "f32");
}
TEST(LoadMemory, OfQuantisedWeights) {
  Hollow files("q8_0");
  ExpectWithinShare(files.Gguf(GgmlType::kQ8_0, /*experts=*/false), "f32");
}
TEST(LoadMemory, OfStackedExperts) {
  Hollow files("experts");
  ExpectWithinShare(files.Gguf(GgmlType::kQ4_0, /*experts=*/true), "f32");
}

}  // namespace
}  // namespace shardline
