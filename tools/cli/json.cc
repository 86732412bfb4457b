#include "tools/cli/json.h"

namespace shardline::cli {

nlohmann::ordered_json ParseJson(std::string_view text) {
  using Json = nlohmann::ordered_json;
  constexpr int kMaxDepth = 200;
  bool too_deep = false;
  Json json = Json::parse(
      text, [&](int depth, Json::parse_event_t, Json&) { return !(too_deep |= depth > kMaxDepth); },
      /*allow_exceptions=*/false);
  return too_deep ? Json(Json::value_t::discarded) : json;
}

}  // namespace shardline::cli
