#include "tools/cli/chat_settings.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "shared/base/quoted.h"
#include "tools/cli/json.h"
#include "tools/cli/request_options.h"
#include "tools/cli/table.h"

namespace shardline::cli {
namespace {

using google::protobuf::Descriptor;
using json = nlohmann::ordered_json;

// A flag's field: its name, and the part of the request that has it ("" for the request itself).
struct Field {
  std::string part;
  std::string name;

  std::string Path() const { return part.empty() ? name : Cat(part, ".", name); }
};

Field FieldOf(std::string_view flag) {
  std::string name(flag);
  std::replace(name.begin(), name.end(), '-', '_');
  if (name == "stop") name = "stop_strings";
  if (name == "stop_token_id") name = "stop_token_ids";
  auto has = [&](const Descriptor* part) { return part->FindFieldByName(name) != nullptr; };
  if (has(v1::SamplingParams::descriptor())) return {"sampling", name};
  if (has(v1::StoppingParams::descriptor())) return {"stopping", name};
  return {"", name};
}

// The field's value as JSON; discarded where it is unset.
json ValueOf(const v1::GenerateRequest& request, const Field& field) {
  const absl::StatusOr<std::string> text = ToJson(request, /*all=*/false);
  const json all = ParseJson(text.ok() ? *text : "{}");
  const json part = field.part.empty() ? all : all.value(field.part, json::object());
  const auto found = part.find(field.name);
  return found == part.end() ? json(json::value_t::discarded) : *found;
}

std::string ShowValue(const v1::GenerateRequest& request, const std::string& flag) {
  const json value = ValueOf(request, FieldOf(flag));
  if (value.is_discarded()) return "default";
  // 64-bit integers are strings in JSON.
  if (flag == "seed" && value.is_string()) return value.get<std::string>();
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Every number in `value`: itself, or those of a map. What is not finite stands there as a text.
absl::Status CheckRange(const json& value, const v1::ParameterLimit& limit) {
  if (value.is_object()) {
    for (const json& each : value) SL_RETURN_IF_ERROR(CheckRange(each, limit));
    return absl::OkStatus();
  }
  const bool bounded = limit.has_min() || limit.has_max();
  if (!bounded || value.is_boolean() || value.is_array()) return absl::OkStatus();
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  const double least = limit.has_min() ? limit.min() : -std::numeric_limits<double>::infinity();
  const double most = limit.has_max() ? limit.max() : std::numeric_limits<double>::infinity();
  if (number >= least && number <= most && !(limit.min_exclusive() && number == least)) {
    return absl::OkStatus();
  }
  return InvalidArgument(Fixed("%.9g", number), " is not in ", limit.min_exclusive() ? "(" : "[",
                         Fixed("%.9g", least), ", ", Fixed("%.9g", most), "]");
}

absl::Status CheckLimits(const v1::GenerateRequest& request, const Field& field,
                         const v1::Limits& limits) {
  for (const v1::ParameterLimit& limit : limits.parameters()) {
    if (limit.field() != field.Path()) continue;
    if (!limit.served()) return InvalidArgument("this server does not know it: ", limit.note());
    return CheckRange(ValueOf(request, field), limit);
  }
  return absl::OkStatus();
}

}  // namespace

ChatSettings::ChatSettings() : options_("chat", "", "") { AddOptions(options_); }

void ChatSettings::AddOptions(Options& options) {
  AddSamplingOptions(options, request_);
  AddStoppingOptions(options, request_);
  AddPlacementOptions(options, request_);
}

absl::Status ChatSettings::Unknown(std::string_view name) const {
  std::string names;
  for (const Options::Option& option : options_.all()) {
    names += Cat(names.empty() ? "" : ", ", option.name);
  }
  return InvalidArgument(name, " (can be set: ", names, ")");
}

absl::Status ChatSettings::Set(std::string_view name, const std::string& value,
                               const v1::Limits& limits) {
  std::string text = value;
  if (!text.empty() && text[0] == '"') {
    const json string = ParseJson(text);
    if (string.is_string()) text = string.get<std::string>();
  }
  const v1::GenerateRequest before = request_;
  absl::Status set = options_.Set(name, text);
  if (set.ok()) set = Annotate(CheckLimits(request_, FieldOf(name), limits), name);
  if (set.ok()) return set;
  request_ = before;
  return Unknown(Message(set));
}

absl::Status ChatSettings::Unset(std::string_view name) {
  SL_RETURN_IF_ERROR(Show(name).status());
  const Field field = FieldOf(name);
  google::protobuf::Message* part = &request_;
  if (field.part == "sampling") part = request_.mutable_sampling();
  if (field.part == "stopping") part = request_.mutable_stopping();
  part->GetReflection()->ClearField(part, part->GetDescriptor()->FindFieldByName(field.name));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ChatSettings::Show(std::string_view name) const {
  std::string flag(name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  for (const Options::Option& option : options_.all()) {
    if (option.name == flag) return Cat(flag, "  ", ShowValue(request_, flag));
  }
  return Unknown(Cat("there is no ", Quoted(name)));
}

std::string ChatSettings::ShowAll() const {
  std::vector<Row> rows = {{"NAME", "VALUE", "MEANING"}};
  for (const Options::Option& option : options_.all()) {
    rows.push_back({option.name, ShowValue(request_, option.name), option.help});
  }
  std::ostringstream table;
  WriteTable(std::move(rows), table);
  return table.str();
}

absl::StatusOr<std::string> ChatSettings::Json() const {
  v1::GenerateRequest saved = request_;
  saved.clear_model();
  return ToJson(saved, /*all=*/false);
}

absl::Status ChatSettings::Replace(const std::string& text) {
  v1::GenerateRequest loaded;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, &loaded);
  if (!parsed.ok()) {
    return InvalidArgument(std::string(parsed.message().data(), parsed.message().size()));
  }
  // Nothing but what /set knows: each field set is cleared by its name, and none may be left.
  ChatSettings known;
  known.request_ = loaded;
  for (const Options::Option& option : options_.all()) SL_RETURN_IF_ERROR(known.Unset(option.name));
  known.request_.clear_sampling();
  known.request_.clear_stopping();
  if (known.request_.ByteSizeLong() > 0) {
    return InvalidArgument("there is a field that no setting has");
  }
  const std::string model = request_.model();
  request_ = loaded;
  request_.set_model(model);
  return absl::OkStatus();
}

}  // namespace shardline::cli
