// Typed look-ups that note what is wrong instead of stopping.
#include "worker/weights/config.h"

#include <cmath>
#include <limits>

#include "shared/format/mapped_file.h"

namespace shardline {
namespace {

constexpr size_t kConfigBytes = 16u << 20;

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out += separator;
    out += part;
  }
  return out;
}

}  // namespace

template <typename T>
std::optional<T> Config::Typed(std::string_view key, std::string_view kind, bool required) {
  const std::optional<Value> value = Lookup(key);
  if (!value) {
    if (required) missing_.push_back(Cat(scope_, key));
    if (required) complete_ = false;
    return std::nullopt;
  }
  if (const T* typed = std::get_if<T>(&*value)) return *typed;
  if constexpr (std::is_same_v<T, double>) {
    if (const int64_t* whole = std::get_if<int64_t>(&*value)) return static_cast<double>(*whole);
  }
  Refuse(key, Cat("is not ", kind));
  complete_ = false;
  return std::nullopt;
}

int64_t Config::Int(std::string_view key, int64_t least, int64_t most) {
  const std::optional<int64_t> value = Typed<int64_t>(key, "an integer", /*required=*/true);
  if (value && *value >= least && *value <= most) return *value;
  if (value) Refuse(key, Cat(*value, " is outside ", least, "..", most));
  complete_ = false;
  return least;
}

int64_t Config::Int(std::string_view key, int64_t least, int64_t most, int64_t fallback) {
  return Has(key) ? Int(key, least, most) : fallback;
}

double Config::Float(std::string_view key) {
  const std::optional<double> value = Typed<double>(key, "a number", /*required=*/true);
  if (value && std::isfinite(static_cast<float>(*value))) return *value;
  if (value) Refuse(key, "is not finite in f32");
  return 1.0;
}

double Config::Float(std::string_view key, double fallback) {
  return Has(key) ? Float(key) : fallback;
}

double Config::Float(std::string_view key, double least, double most) {
  const double value = Float(key);
  if (value >= least && value <= most) return value;
  Refuse(key, Cat(value, " is outside ", least, "..", most));
  return least;
}

double Config::Float(std::string_view key, double least, double most, double fallback) {
  return Has(key) ? Float(key, least, most) : fallback;
}

bool Config::Bool(std::string_view key, bool fallback) {
  return Typed<bool>(key, "true or false", /*required=*/false).value_or(fallback);
}

std::string Config::String(std::string_view key) {
  return Typed<std::string>(key, "a string", /*required=*/true).value_or("");
}

std::string Config::String(std::string_view key, std::string_view fallback) {
  return Typed<std::string>(key, "a string", /*required=*/false).value_or(std::string(fallback));
}

void Config::Refuse(std::string_view key, std::string_view reason) {
  wrong_.push_back(Cat(scope_, key, " ", reason));
}

absl::Status Config::status() const {
  if (missing_.empty() && wrong_.empty()) return absl::OkStatus();
  std::vector<std::string> parts;
  if (!missing_.empty()) parts.push_back(Cat("missing keys: ", Join(missing_, ", ")));
  parts.insert(parts.end(), wrong_.begin(), wrong_.end());
  return InvalidArgument(file_, ": ", Join(parts, "; "));
}

absl::StatusOr<std::unique_ptr<HfConfig>> HfConfig::Open(const std::string& file) {
  SL_ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::Open(file));
  const std::span<const std::byte> bytes = mapped.bytes();
  return Parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file);
}

absl::StatusOr<std::unique_ptr<HfConfig>> HfConfig::Parse(std::string_view text, std::string name) {
  if (text.size() > kConfigBytes) return InvalidArgument(name, ": larger than 16 MiB");
  std::unique_ptr<HfConfig> config(new HfConfig(std::move(name)));
  config->json_ = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (!config->json_.is_object()) return InvalidArgument(config->file(), ": not a JSON object");
  return config;
}

const nlohmann::json* HfConfig::Node(std::string_view key) const {
  read_.emplace(key);
  const nlohmann::json* node = &json_;
  while (true) {
    const size_t dot = key.find('.');
    if (!node->is_object()) return nullptr;
    const auto it = node->find(std::string(key.substr(0, dot)));
    if (it == node->end()) return nullptr;
    node = &*it;
    if (dot == std::string_view::npos) return node;
    key.remove_prefix(dot + 1);
  }
}

std::optional<Config::Value> HfConfig::Lookup(std::string_view key) const {
  const nlohmann::json* node = Node(key);
  if (node == nullptr || node->is_null()) return std::nullopt;
  if (node->is_boolean()) return node->get<bool>();
  if (node->is_number_float()) return node->get<double>();
  if (node->is_number_unsigned() &&
      node->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return OtherKind{};
  }
  if (node->is_number_integer()) return node->get<int64_t>();
  if (node->is_string()) return node->get<std::string>();
  return OtherKind{};
}

std::vector<double> HfConfig::Floats(std::string_view key) {
  const nlohmann::json* node = Node(key);
  std::vector<double> out;
  if (node == nullptr || node->is_null()) return out;
  if (node->is_array()) {
    for (const auto& item : *node) {
      if (item.is_number()) out.push_back(item.get<double>());
    }
    if (out.size() == node->size()) return out;
  }
  Refuse(key, "is not a list of numbers");
  return {};
}

std::vector<std::string> HfConfig::Keys(std::string_view key) const {
  const nlohmann::json* node = Node(key);
  std::vector<std::string> out;
  if (node == nullptr || !node->is_object()) return out;
  for (const auto& item : node->items()) out.push_back(item.key());
  return out;
}

std::vector<std::string> HfConfig::Strings(std::string_view key) const {
  const nlohmann::json* node = Node(key);
  std::vector<std::string> out;
  if (node == nullptr || !node->is_array()) return out;
  for (const auto& item : *node) {
    if (item.is_string()) out.push_back(item.get<std::string>());
  }
  return out;
}

bool HfConfig::IsString(std::string_view key) const {
  const nlohmann::json* node = Node(key);
  return node != nullptr && node->is_string();
}

bool HfConfig::IsTrivial(std::string_view key) const {
  const nlohmann::json* node = Node(key);
  if (node == nullptr || node->is_null()) return true;
  if (node->is_boolean()) return !node->get<bool>();
  if (node->is_structured()) return node->empty();
  return node->is_number() && (*node == 0 || *node == 1);
}

bool HfConfig::IsNull(std::string_view key) const {
  const nlohmann::json* node = Node(key);
  return node != nullptr && node->is_null();
}

bool HfConfig::IsString(std::string_view key, std::string_view text) const {
  const nlohmann::json* node = Node(key);
  return node != nullptr && node->is_string() && node->get_ref<const std::string&>() == text;
}

void HfConfig::Enter(std::string_view key) {
  const nlohmann::json* node = Node(key);
  if (node == nullptr || !node->is_object()) return;
  nlohmann::json inner = *node;
  json_ = std::move(inner);
  read_.clear();
  scope_ += Cat(key, ".");
}

GgufConfig::GgufConfig(const GgufFile& gguf)
    : Config(gguf.path()),
      gguf_(gguf),
      architecture_(gguf.String("general.architecture").value_or("")) {}

std::string GgufConfig::FullKey(std::string_view key) const {
  return key.starts_with("*.") ? Cat(architecture_, key.substr(1)) : std::string(key);
}

std::optional<Config::Value> GgufConfig::Lookup(std::string_view key) const {
  const std::string full = FullKey(key);
  if (gguf_.Find(full) == nullptr) return std::nullopt;
  if (const auto flag = gguf_.Bool(full)) return *flag;
  if (const auto whole = gguf_.Int(full)) return *whole;
  if (const auto number = gguf_.Float(full)) return *number;
  if (const auto text = gguf_.String(full)) return std::string(*text);
  return OtherKind{};
}

std::vector<double> GgufConfig::Floats(std::string_view key) {
  const GgufArray* array = gguf_.Array(FullKey(key));
  std::vector<double> out;
  if (array == nullptr) return out;
  out = array->floats;
  for (int64_t x : array->ints) out.push_back(static_cast<double>(x));
  if (array->kind == GgufArray::Kind::kUint || array->kind == GgufArray::Kind::kBool) {
    for (uint64_t x : array->uints) out.push_back(static_cast<double>(x));
  }
  return out;
}

int64_t GgufConfig::ArraySize(std::string_view key) const {
  const GgufArray* array = gguf_.Array(FullKey(key));
  return array == nullptr ? 0 : static_cast<int64_t>(array->size);
}

}  // namespace shardline
