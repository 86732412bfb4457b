// The checkpoints under tests/golden and their references (tools/make_golden.py).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "shared/format/safetensors.h"

namespace shardline {

inline std::string GoldenFolder() { return SHARDLINE_SOURCE_DIR "/tests/golden"; }

inline std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenFolder())) {
    if (std::filesystem::exists(entry.path() / "reference.safetensors")) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The path that Model::Load takes.
inline std::string GoldenCheckpoint(const std::string& name) {
  const std::string folder = GoldenFolder() + "/" + name;
  return std::filesystem::exists(folder + "/model.gguf") ? folder + "/model.gguf" : folder;
}

template <typename T>
std::vector<T> TensorValues(const SafetensorsTensor& tensor) {
  std::vector<T> out(tensor.data.size() / sizeof(T));
  std::memcpy(out.data(), tensor.data.data(), out.size() * sizeof(T));
  return out;
}

struct GoldenCase {
  std::vector<uint32_t> prompt, output;
  // After each prompt token; before each output token. [vocabulary] each.
  std::vector<std::vector<float>> logprobs, output_logprobs;

  // Prompt and all output tokens but the last, which nothing follows.
  std::vector<uint32_t> Fed() const {
    std::vector<uint32_t> tokens = prompt;
    tokens.insert(tokens.end(), output.begin(), output.end() - 1);
    return tokens;
  }
  // What each fed token's logits have to be.
  std::vector<std::vector<float>> Expected() const {
    std::vector<std::vector<float>> rows = logprobs;
    rows.insert(rows.end(), output_logprobs.begin() + 1, output_logprobs.end());
    return rows;
  }
};

inline std::vector<GoldenCase> ReadGolden(const std::string& name) {
  const std::string file = GoldenFolder() + "/" + name + "/reference.safetensors";
  std::vector<char> bytes(std::filesystem::file_size(file));
  FILE* in = std::fopen(file.c_str(), "rb");
  EXPECT_EQ(std::fread(bytes.data(), 1, bytes.size(), in), bytes.size());
  std::fclose(in);
  auto parsed = SafetensorsCheckpoint::Parse(std::as_bytes(std::span(bytes)), file);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  const auto rows = [&](const std::string& key) {
    const SafetensorsTensor* tensor = (*parsed)->Find(key);
    const std::vector<float> flat = TensorValues<float>(*tensor);
    std::vector<std::vector<float>> out;
    for (int64_t i = 0; i < tensor->shape[0]; ++i) {
      const auto begin = flat.begin() + i * tensor->shape[1];
      out.emplace_back(begin, begin + tensor->shape[1]);
    }
    return out;
  };
  std::vector<GoldenCase> cases;
  for (int i = 0; (*parsed)->Find(Cat("prompt.", i)) != nullptr; ++i) {
    cases.push_back({TensorValues<uint32_t>(*(*parsed)->Find(Cat("prompt.", i))),
                     TensorValues<uint32_t>(*(*parsed)->Find(Cat("output.", i))),
                     rows(Cat("logprobs.", i)), rows(Cat("output_logprobs.", i))});
  }
  EXPECT_FALSE(cases.empty());
  return cases;
}

}  // namespace shardline
