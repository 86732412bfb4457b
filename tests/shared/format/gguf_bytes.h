// Writes GGUF files into memory, field by field, so that a test can also write one that lies.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shardline {

// Value type ids as in the file.
enum GgufValueId : uint32_t {
  kGgufU8,
  kGgufI8,
  kGgufU16,
  kGgufI16,
  kGgufU32,
  kGgufI32,
  kGgufF32,
  kGgufBool,
  kGgufString,
  kGgufArray,
  kGgufU64,
  kGgufI64,
  kGgufF64
};

class GgufBytes {
 public:
  template <typename T>
  GgufBytes& Put(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
    return *this;
  }
  GgufBytes& Raw(std::string_view text) {
    for (const char c : text) Put(c);
    return *this;
  }
  GgufBytes& String(std::string_view text) {
    Put<uint64_t>(text.size());
    return Raw(text);
  }
  // "GGUF", version, counts.
  GgufBytes& Header(uint64_t tensors, uint64_t metadata, uint32_t version = 3) {
    return Raw("GGUF").Put(version).Put(tensors).Put(metadata);
  }
  // A metadata entry of a plain type: the id must be T's.
  template <typename T>
  GgufBytes& Value(std::string_view key, uint32_t id, T value) {
    return String(key).Put(id).Put(value);
  }
  GgufBytes& Text(std::string_view key, std::string_view value) {
    return String(key).Put<uint32_t>(kGgufString).String(value);
  }
  GgufBytes& ArrayOf(std::string_view key, uint32_t id, uint64_t size) {
    return String(key).Put<uint32_t>(kGgufArray).Put(id).Put(size);
  }
  // `dims` innermost first, as in the file.
  GgufBytes& Tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type,
                    uint64_t offset) {
    String(name).Put<uint32_t>(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) Put(dim);
    return Put(type).Put(offset);
  }
  GgufBytes& Align(size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) Put<char>(0);
    return *this;
  }
  GgufBytes& Zeros(size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  std::span<const std::byte> span() const { return bytes_; }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace shardline
