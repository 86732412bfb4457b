// Checkpoints of a few tensors, and what the loader made of them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "worker/weights/loader.h"

namespace shardline {

struct TestTensor {
  std::string name, type;
  std::vector<int64_t> shape;
  std::string bytes;
};

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// Values 0, 1, 2, … as F32.
inline TestTensor Counting(std::string name, std::vector<int64_t> shape, float first = 0) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = first + static_cast<float>(i);
  return {std::move(name), "F32", std::move(shape), Bytes(values)};
}

inline absl::StatusOr<std::unique_ptr<Checkpoint>> OpenWritten(
    const std::vector<TestTensor>& tensors, const std::string& config) {
  const std::string folder = testing::TempDir() + "/loader_" +
                             testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::create_directories(folder);
  nlohmann::ordered_json header;
  std::string data;
  for (const TestTensor& t : tensors) {
    header[t.name] = {{"dtype", t.type},
                      {"shape", t.shape},
                      {"data_offsets", {data.size(), data.size() + t.bytes.size()}}};
    data += t.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::ofstream(folder + "/model.safetensors", std::ios::binary)
      << Bytes(std::vector<uint64_t>{length}) << text << data;
  std::ofstream(folder + "/config.json") << config;
  auto checkpoint = Checkpoint::Open(folder);
  std::filesystem::remove_all(folder);  // mapped
  return checkpoint;
}

inline std::unique_ptr<Checkpoint> WriteCheckpoint(const std::vector<TestTensor>& tensors) {
  auto checkpoint = OpenWritten(tensors, "{}");
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return *std::move(checkpoint);
}

inline WeightSlot Slot(std::string name, std::vector<int64_t> shape, int64_t head_dim = 0) {
  WeightSlot slot{.name = std::move(name), .axes = {}, .head_dim = head_dim};
  for (int64_t size : shape) slot.axes.push_back({"axis", size, 1});
  return slot;
}

// Row `row` of a packed matrix, read back through the embedding operation.
inline std::vector<float> PackedRow(const Packed& packed, uint32_t row) {
  std::vector<float> out(packed.cols);
  CpuOps().embed({}, View::Contiguous(&row, DType::kU32, {1}), packed, 1.0f,
                 View::Contiguous(out.data(), DType::kF32, {1, packed.cols}));
  return out;
}

}  // namespace shardline
