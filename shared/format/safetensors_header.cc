// Two readers of nlohmann's SAX events: a file's header and an index's weight_map.
#include "shared/format/safetensors_header.h"

#include <absl/container/flat_hash_set.h>

#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>

#include "shared/base/quoted.h"

namespace shardline {
namespace {

// nlohmann's SAX parser keeps its own stack, so only our depth counts here.
constexpr int kMaxDepth = 16;
constexpr size_t kMaxRank = 16;

// What both readers share: the event interface, the depth, the first error. Each event returns
// false to stop the parser.
class Events {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  virtual ~Events() = default;

  bool null() { return Other("null"); }
  bool boolean(bool) { return Other("a boolean"); }
  bool number_integer(number_integer_t) { return Other("a negative number"); }
  bool number_unsigned(number_unsigned_t value) { return Number(value); }
  bool number_float(number_float_t, const string_t& text) {
    return Other(Cat("the number ", text.substr(0, 40)));
  }
  bool string(string_t& value) { return String(value); }
  bool binary(binary_t&) { return Other("binary data"); }
  bool start_object(size_t) { return Enter() && StartObject(); }
  bool start_array(size_t) { return Enter() && StartArray(); }
  bool end_object() { return EndObject() && Leave(); }
  bool end_array() { return EndArray() && Leave(); }
  bool key(string_t& name) { return Key(name); }
  bool parse_error(size_t position, const string_t&, const nlohmann::detail::exception&) {
    return Fail("broken JSON at byte ", position);
  }

  const absl::Status& status() const { return status_; }

 protected:
  virtual bool Number(uint64_t value) = 0;
  virtual bool String(std::string& value) = 0;
  virtual bool Other(std::string_view what) = 0;
  virtual bool Key(std::string& name) = 0;
  virtual bool StartObject() = 0;
  virtual bool StartArray() = 0;
  virtual bool EndObject() { return true; }
  virtual bool EndArray() { return true; }

  template <typename... Parts>
  bool Fail(const Parts&... parts) {
    if (status_.ok()) status_ = InvalidArgument(parts...);
    return false;
  }
  int depth() const { return depth_; }  // of the innermost open object or array, from 1

 private:
  bool Enter() {
    if (++depth_ > kMaxDepth) return Fail("JSON nested deeper than ", kMaxDepth);
    return true;
  }
  bool Leave() {
    --depth_;
    return true;
  }

  absl::Status status_;
  int depth_ = 0;
};

template <typename Reader>
absl::Status Run(std::string_view json, Reader& reader) {
  const bool done = nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  if (!reader.status().ok()) return reader.status();
  return done ? absl::OkStatus() : InvalidArgument("broken JSON");
}

// {name: {"dtype": …, "shape": […], "data_offsets": [begin, end]}, "__metadata__": {key: text}}
class HeaderReader final : public Events {
 public:
  std::vector<SafetensorsEntry> Take() { return std::move(entries_); }

 private:
  enum Member : unsigned { kNone = 0, kDtype = 1, kShape = 2, kOffsets = 4, kAll = 7 };

  template <typename... Parts>
  bool Wrong(const Parts&... parts) {
    if (metadata_) return Fail("__metadata__", parts...);
    if (entry_.name.empty()) return Fail("the header", parts...);
    return Fail("tensor ", Quoted(entry_.name), parts...);
  }
  const char* MemberName() const {
    return member_ == kDtype ? "dtype" : member_ == kShape ? "shape" : "data_offsets";
  }

  bool Key(std::string& name) override {
    if (depth() == 1) {
      if (!names_.insert(name).second) return Fail(Quoted(name), " appears twice");
      if (name.empty()) return Fail("a tensor has an empty name");
      metadata_ = name == "__metadata__";
      entry_ = {};
      entry_.name = name;
      seen_ = kNone;
      return true;
    }
    if (metadata_) {
      if (!metadata_keys_.insert(name).second) return Wrong(": ", Quoted(name), " appears twice");
      return true;
    }
    member_ = name == "dtype"          ? kDtype
              : name == "shape"        ? kShape
              : name == "data_offsets" ? kOffsets
                                       : kNone;
    if (member_ == kNone) return Wrong(": unknown member ", Quoted(name));
    if (seen_ & member_) return Wrong(": ", MemberName(), " appears twice");
    seen_ |= member_;
    return true;
  }

  bool StartObject() override {
    return depth() <= 2 || Wrong(": an object in an unexpected place");
  }
  bool StartArray() override {
    offsets_ = 0;
    if (depth() == 3 && !metadata_ && (member_ == kShape || member_ == kOffsets)) return true;
    return Wrong(": an array in an unexpected place");
  }
  bool EndArray() override {
    if (member_ == kOffsets && offsets_ != 2) return Wrong(": data_offsets must be [begin, end]");
    return true;
  }
  bool EndObject() override {
    if (depth() != 2 || metadata_) return true;
    if (seen_ != kAll) return Wrong(": needs dtype, shape and data_offsets");
    entries_.push_back(std::move(entry_));
    return true;
  }
  bool Number(uint64_t value) override {
    if (depth() != 3) return Other("a number");
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Wrong(": ", MemberName(), " has the number ", value, ", which is too large");
    }
    if (member_ == kShape) {
      if (entry_.shape.size() == kMaxRank)
        return Wrong(": shape has more than ", kMaxRank, " entries");
      entry_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (++offsets_ > 2) return Wrong(": data_offsets must be [begin, end]");
    (offsets_ == 1 ? entry_.begin : entry_.end) = value;
    return true;
  }
  bool String(std::string& value) override {
    if (metadata_ && depth() == 2) return true;
    if (depth() != 2 || member_ != kDtype) return Other("a string");
    entry_.dtype = std::move(value);
    return true;
  }
  bool Other(std::string_view what) override {
    if (depth() == 0) return Fail("the header is ", what, ", not an object");
    if (depth() == 1) return Wrong(": is ", what, ", not an object");
    if (metadata_) return Wrong(": holds ", what, ", not a string");
    return Wrong(": ", MemberName(), " holds ", what);
  }

  std::vector<SafetensorsEntry> entries_;
  absl::flat_hash_set<std::string> names_;
  absl::flat_hash_set<std::string> metadata_keys_;
  SafetensorsEntry entry_;  // being read
  bool metadata_ = false;   // inside __metadata__
  unsigned seen_ = kNone;
  unsigned member_ = kNone;
  int offsets_ = 0;
};

// {"weight_map": {tensor: file}, anything else}
class IndexReader final : public Events {
 public:
  bool found() const { return found_; }
  std::vector<std::pair<std::string, std::string>> Take() { return std::move(pairs_); }

 private:
  bool Key(std::string& name) override {
    if (depth() == 1) {
      inside_ = name == "weight_map";
      if (inside_ && found_) return Fail("weight_map appears twice");
      found_ = found_ || inside_;
    } else if (inside_) {
      if (!names_.insert(name).second) {
        return Fail("weight_map: tensor ", Quoted(name), " appears twice");
      }
      tensor_ = name;
    }
    return true;
  }
  bool String(std::string& value) override {
    if (!inside_ || depth() != 2) return Other("a string");
    pairs_.emplace_back(std::move(tensor_), std::move(value));
    return true;
  }
  bool Number(uint64_t) override { return Other("a number"); }
  bool StartObject() override {
    if (depth() == 1 || !inside_ || depth() == 2) return true;
    return Fail("weight_map holds an object where a file name belongs");
  }
  bool StartArray() override {
    if (depth() > 1 && !inside_) return true;
    return Fail(depth() == 1 ? "the index is an array, not an object"
                             : "weight_map holds an array where a file name belongs");
  }
  bool Other(std::string_view what) override {
    if (depth() == 0) return Fail("the index is ", what, ", not an object");
    if (!inside_) return true;
    return Fail(depth() == 1 ? "weight_map is " : "weight_map holds ", what,
                depth() == 1 ? ", not an object" : " where a file name belongs");
  }

  std::vector<std::pair<std::string, std::string>> pairs_;
  absl::flat_hash_set<std::string> names_;
  std::string tensor_;
  bool inside_ = false;  // weight_map
  bool found_ = false;
};

}  // namespace

absl::StatusOr<std::vector<SafetensorsEntry>> ReadSafetensorsHeader(std::string_view json) {
  HeaderReader reader;
  SL_RETURN_IF_ERROR(Run(json, reader));
  return reader.Take();
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ReadSafetensorsIndex(
    std::string_view json) {
  IndexReader reader;
  SL_RETURN_IF_ERROR(Run(json, reader));
  if (!reader.found()) return InvalidArgument("has no weight_map");
  return reader.Take();
}

}  // namespace shardline
