#include "gateway/text/jinja/variables.h"

#include <string>
#include <utility>
#include <vector>

#include "shared/base/status.h"

namespace shardline::jinja {

namespace {

using Json = nlohmann::ordered_json;

// What nlohmann's parser calls, one event after the other; false ends it. Its own builder is not
// public, and does not hand on the digits of big integers.
class Builder {
 public:
  bool null() { return Add(nullptr); }
  bool boolean(bool value) { return Add(value); }
  bool number_integer(int64_t value) { return Add(value); }
  bool number_unsigned(uint64_t value) { return Add(value); }
  bool number_float(double value, const std::string& text) {
    if (text.find_first_of(".eE") != std::string::npos) return Add(value);
    return Add(Json::binary({text.begin(), text.end()}));
  }
  bool string(std::string& text) { return Add(std::move(text)); }
  bool binary(Json::binary_t&) { return false; }  // never in text
  bool start_object(size_t) { return Open(Json::object()); }
  bool start_array(size_t) { return Open(Json::array()); }
  bool key(std::string& name) {
    name_ = std::move(name);
    return true;
  }
  bool end_object() { return Close(); }
  bool end_array() { return Close(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    error_ = InvalidArgument("not valid JSON at byte ", position);
    return false;
  }

  absl::StatusOr<Json> Take() {
    if (!error_.ok()) return error_;
    if (!root_.is_object()) return InvalidArgument("must be a JSON object");
    return std::move(root_);
  }

 private:
  // Where a value went: only the innermost container grows, so pointers to the outer ones stay
  // good. A name that comes again keeps its place and gets the later value, as in Python.
  Json* Place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& container = *open_.back();
    if (container.is_object()) {
      Json& place = container[name_];
      place = std::move(value);
      return &place;
    }
    container.push_back(std::move(value));
    return &container.back();
  }
  bool Add(Json value) {
    Place(std::move(value));
    return true;
  }
  bool Open(Json container) {
    if (open_.size() == kMaxVariableDepth) {
      error_ = InvalidArgument("nested deeper than ", kMaxVariableDepth, " levels");
      return false;
    }
    open_.push_back(Place(std::move(container)));
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> open_;  // the containers around the next value, outermost first
  std::string name_;         // of the next member
  absl::Status error_;
};

}  // namespace

absl::StatusOr<Json> ParseVariables(std::string_view text) {
  Builder builder;
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.Take();
}

}  // namespace shardline::jinja
