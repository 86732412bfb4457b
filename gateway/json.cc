#include "gateway/json.h"

#include <vector>

#include "shared/base/file.h"

namespace shardline {
namespace {

constexpr size_t kMaxFileBytes = size_t{16} << 20;
constexpr size_t kMaxValues = size_t{1} << 20;
// An object that keeps its order looks through all its keys for each new one.
constexpr size_t kMaxComparisons = size_t{1} << 24;  // some 5,800 keys

// Watches a document being read; what comes behind the first excess is dropped, so the value stays
// small.
class Bounds {
 public:
  explicit Bounds(bool ordered) : ordered_(ordered) {}

  bool Keep(int depth, Json::parse_event_t event) {
    if (!status_.ok()) return false;
    if (depth > kMaxJsonDepth) {
      status_ = InvalidArgument("nested deeper than ", kMaxJsonDepth, " levels");
    } else if (event == Json::parse_event_t::object_start) {
      keys_.push_back(0);
    } else if (event == Json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == Json::parse_event_t::key) {
      comparisons_ += keys_.back()++;
      if (ordered_ && comparisons_ > kMaxComparisons) {
        status_ = InvalidArgument("has objects of too many members, the last of ", keys_.back());
      }
    }
    if (++values_ > 2 * kMaxValues) {  // a value may be two events
      status_ = InvalidArgument("has more than ", kMaxValues, " values");
    }
    return status_.ok();
  }
  const absl::Status& status() const { return status_; }

 private:
  const bool ordered_;
  absl::Status status_;
  size_t values_ = 0;
  size_t comparisons_ = 0;
  std::vector<size_t> keys_;  // read so far, of each open object
};

template <typename Value>
absl::StatusOr<Value> Parse(std::string_view text) {
  Bounds bounds(std::is_same_v<Value, Json>);
  const auto callback = [&bounds](int depth, typename Value::parse_event_t event, Value&) {
    return bounds.Keep(depth, static_cast<Json::parse_event_t>(event));
  };
  try {
    Value value = Value::parse(text.begin(), text.end(), callback);
    SL_RETURN_IF_ERROR(bounds.status());
    return value;
  } catch (const nlohmann::json::parse_error& error) {
    return InvalidArgument("not valid JSON at byte ", error.byte);
  } catch (const nlohmann::json::exception& error) {
    return InvalidArgument("not valid JSON");  // a number out of range
  }
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text) { return Parse<Json>(text); }

absl::StatusOr<Json> ParseJsonObject(std::string_view text) {
  SL_ASSIGN_OR_RETURN(Json value, ParseJson(text));
  if (!value.is_object()) return InvalidArgument("must be a JSON object");
  return value;
}

absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path) {
  SL_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxFileBytes));
  absl::StatusOr<nlohmann::json> value = Parse<nlohmann::json>(text);
  if (!value.ok()) return Annotate(value.status(), path);
  if (!value->is_object()) return InvalidArgument(path, ": must be a JSON object");
  return value;
}

}  // namespace shardline
