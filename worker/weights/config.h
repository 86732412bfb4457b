// A model's configuration as its family reads it: keys with or without a default. Nothing throws
// and nothing stops at the first mistake: missing keys, wrong types and refusals are noted, and
// status() tells them all in one line.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shared/base/status.h"
#include "shared/format/gguf.h"

namespace shardline {

// Of numbers that multiply, and of caps: beyond it no model computes anything.
inline constexpr double kLeastFactor = 1e-6, kMostFactor = 1e6;
inline constexpr double kMostEps = 1;  // of a norm

class Config {
 public:
  explicit Config(std::string file) : file_(std::move(file)) {}
  virtual ~Config() = default;

  // The value of `key`. Without a fallback an absent key is noted as missing. A value of another
  // kind, or a number outside [least, most], is noted as wrong, and another stands in for it.
  int64_t Int(std::string_view key, int64_t least, int64_t most);
  int64_t Int(std::string_view key, int64_t least, int64_t most, int64_t fallback);
  double Float(std::string_view key);
  double Float(std::string_view key, double fallback);
  double Float(std::string_view key, double least, double most);
  double Float(std::string_view key, double least, double most, double fallback);
  bool Bool(std::string_view key, bool fallback);
  std::string String(std::string_view key);
  std::string String(std::string_view key, std::string_view fallback);
  // A list of numbers (truth values in GGUF are 0 and 1); empty when absent.
  virtual std::vector<double> Floats(std::string_view key) = 0;
  bool Has(std::string_view key) const { return Lookup(key).has_value(); }

  // Notes that `key` cannot be served, and why.
  void Refuse(std::string_view key, std::string_view reason);
  // Notes what is wrong with several keys together.
  void Note(std::string problem) { wrong_.push_back(std::move(problem)); }
  // Whether every value that was asked for is the file's own or its default.
  bool complete() const { return complete_; }
  // OK, or InvalidArgument "FILE: missing keys: a, b; key: reason; …".
  absl::Status status() const;
  const std::string& file() const { return file_; }

 protected:
  // Stands before every key of an error.
  std::string scope_;

  struct OtherKind {};
  using Value = std::variant<int64_t, double, bool, std::string, OtherKind>;
  virtual std::optional<Value> Lookup(std::string_view key) const = 0;

 private:
  template <typename T>
  std::optional<T> Typed(std::string_view key, std::string_view kind, bool required);

  std::string file_;
  std::vector<std::string> missing_;
  std::vector<std::string> wrong_;
  bool complete_ = true;
};

// config.json. "a.b" names key b of the object a; null counts as absent.
class HfConfig final : public Config {
 public:
  // Errors: NotFound / InvalidArgument "FILE: reason".
  static absl::StatusOr<std::unique_ptr<HfConfig>> Open(const std::string& file);
  static absl::StatusOr<std::unique_ptr<HfConfig>> Parse(std::string_view text, std::string name);

  std::vector<double> Floats(std::string_view key) override;
  // The keys of the object `key`; empty when it is none.
  std::vector<std::string> Keys(std::string_view key) const;
  // Strings of a list; empty when it is none.
  std::vector<std::string> Strings(std::string_view key) const;
  bool IsString(std::string_view key) const;
  // Absent, null, false, 0, 1 or empty: nothing is switched on, added or multiplied.
  bool IsTrivial(std::string_view key) const;
  // Whether any function of this class has been asked for `key`, since Enter.
  bool WasRead(std::string_view key) const { return read_.contains(key); }
  // Whether `key` is there with the value null, which every other look-up takes for absent.
  bool IsNull(std::string_view key) const;
  // Whether `key` is this text; a number in its place is no mistake.
  bool IsString(std::string_view key, std::string_view text) const;
  // From here on all keys are those of the object `key`, if it is one.
  void Enter(std::string_view key);

 private:
  using Config::Config;
  const nlohmann::json* Node(std::string_view key) const;  // may be null
  std::optional<Value> Lookup(std::string_view key) const override;

  nlohmann::json json_;
  mutable std::set<std::string, std::less<>> read_;
};

// A GGUF file's metadata. "*.block_count" stands for "llama.block_count" in a file of architecture
// llama.
class GgufConfig final : public Config {
 public:
  explicit GgufConfig(const GgufFile& gguf);  // which must outlive this

  std::vector<double> Floats(std::string_view key) override;
  // Entries of the array `key`; 0 when there is none.
  int64_t ArraySize(std::string_view key) const;
  const std::string& architecture() const { return architecture_; }

 private:
  std::string FullKey(std::string_view key) const;
  std::optional<Value> Lookup(std::string_view key) const override;

  const GgufFile& gguf_;
  std::string architecture_;
};

}  // namespace shardline
