// Checkpoints with every tensor of real ones and holes for data: files of any size, on no disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "shared/base/strings.h"
#include "shared/format/gguf.h"

namespace shardline {

struct HollowTensor {
  std::string name;
  std::vector<int64_t> shape;  // outermost first
  std::string dtype = "BF16";  // in safetensors

  int64_t elements() const {
    int64_t n = 1;
    for (const int64_t size : shape) n *= size;
    return n;
  }
};

template <typename T>
void PutBytes(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
inline void PutString(std::string& bytes, const std::string& text) {
  PutBytes<uint64_t>(bytes, text.size());
  bytes += text;
}

inline void WriteHollow(const std::string& path, const std::string& head, uint64_t hole) {
  std::ofstream(path, std::ios::binary) << head;
  std::filesystem::resize_file(path, head.size() + hole);
}

// `metadata`: `keys` keys, values and their types, as they stand in a file. Vectors are in F32,
// matrices in `type`.
inline void WriteHollowGguf(const std::string& path, const std::string& metadata, uint64_t keys,
                            const std::vector<HollowTensor>& tensors, GgmlType type) {
  std::string head = "GGUF";
  PutBytes<uint32_t>(head, 3);
  PutBytes<uint64_t>(head, tensors.size());
  PutBytes<uint64_t>(head, keys);
  head += metadata;
  uint64_t offset = 0;
  std::vector<std::pair<uint64_t, int64_t>> divisors;  // where, how many
  for (const HollowTensor& t : tensors) {
    if (t.name.starts_with("rope_")) divisors.emplace_back(offset, t.elements());
    const GgmlType stored = t.shape.size() > 1 ? type : GgmlType::kF32;
    PutString(head, t.name);
    PutBytes<uint32_t>(head, static_cast<uint32_t>(t.shape.size()));
    for (size_t d = t.shape.size(); d > 0; --d) PutBytes<uint64_t>(head, t.shape[d - 1]);
    PutBytes<uint32_t>(head, static_cast<uint32_t>(stored));
    PutBytes<uint64_t>(head, offset);
    const GgmlBlock block = *GgmlBlockOf(stored);
    offset += (t.elements() / block.elements * block.bytes + 31) / 32 * 32;
  }
  head.resize((head.size() + 31) / 32 * 32);
  WriteHollow(path, head, offset);
  // Divisors of a rope's frequencies are looked at when the file is opened: ones.
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  for (const auto& [at, count] : divisors) {
    const std::vector<float> ones(count, 1.0f);
    file.seekp(static_cast<std::streamoff>(head.size() + at));
    file.write(reinterpret_cast<const char*>(ones.data()),
               static_cast<std::streamsize>(count * sizeof(float)));
  }
}

inline void WriteHollowSafetensors(const std::string& path,
                                   const std::vector<HollowTensor>& tensors) {
  std::string json = "{";
  uint64_t offset = 0;
  for (const HollowTensor& t : tensors) {
    const int64_t bytes = t.dtype == "BF16" ? 2 : t.dtype == "F32" ? 4 : 1;
    const uint64_t end = offset + bytes * t.elements();
    std::string shape;
    for (const int64_t size : t.shape) shape += Cat(shape.empty() ? "" : ",", size);
    json += Cat(json.size() > 1 ? "," : "", "\"", t.name, "\":{\"dtype\":\"", t.dtype,
                "\",\"shape\":[", shape, "],\"data_offsets\":[", offset, ",", end, "]}");
    offset = end;
  }
  json += "}";
  std::string head;
  PutString(head, json);
  WriteHollow(path, head, offset);
}

}  // namespace shardline
