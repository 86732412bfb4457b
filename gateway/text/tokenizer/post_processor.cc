#include "gateway/text/tokenizer/post_processor.h"

#include <algorithm>

#include "gateway/text/tokenizer/json_fields.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr size_t kMaxTemplateTokens = 4096;

// {"id": "A", …}: of one text there is no B.
absl::StatusOr<PostProcessor::Element> ParseElement(const nlohmann::json& json,
                                                    const JsonFields& owner,
                                                    const std::string& path) {
  const JsonFields fields(json, path);
  PostProcessor::Element element;
  if (const nlohmann::json* sequence = fields.Find("Sequence")) {
    SL_ASSIGN_OR_RETURN(const std::string id,
                        JsonFields(*sequence, fields.Path("Sequence")).String("id"));
    if (id != "A")
      return InvalidArgument(fields.Path("Sequence.id"), " must be A in a template for one text");
    element.text = true;
    return element;
  }
  const nlohmann::json* special = fields.Find("SpecialToken");
  if (special == nullptr) return InvalidArgument(path, " must be a Sequence or a SpecialToken");
  SL_ASSIGN_OR_RETURN(const std::string id,
                      JsonFields(*special, fields.Path("SpecialToken")).String("id"));
  const nlohmann::json* tokens = owner.Find("special_tokens");
  if (tokens == nullptr || !tokens->is_object() || !tokens->contains(id)) {
    return InvalidArgument(owner.Path("special_tokens"), " has no ", Quoted(id));
  }
  const JsonFields token((*tokens)[id], Cat(owner.Path("special_tokens"), ".", Quoted(id)));
  SL_ASSIGN_OR_RETURN(const nlohmann::json* ids, token.Array("ids"));
  for (const nlohmann::json& value : *ids) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > INT32_MAX ||
        element.ids.size() == kMaxTemplateTokens) {
      return InvalidArgument(token.Path("ids"), " must be a list of token ids");
    }
    element.ids.push_back(value.get<uint32_t>());
  }
  return element;
}

// ["[SEP]", 3]
absl::StatusOr<uint32_t> ParseTokenPair(const JsonFields& fields, const char* key) {
  SL_ASSIGN_OR_RETURN(const nlohmann::json* pair, fields.Array(key));
  if (pair->size() != 2 || !(*pair)[1].is_number_unsigned() ||
      (*pair)[1].get<uint64_t>() > INT32_MAX) {
    return InvalidArgument(fields.Path(key), " must be [token, id]");
  }
  return (*pair)[1].get<uint32_t>();
}

}  // namespace

void PostProcessor::AddTemplate(std::vector<Element> elements) {
  templates_.push_back(std::move(elements));
}

void PostProcessor::AddAround(std::vector<uint32_t> before, std::vector<uint32_t> after) {
  std::vector<Element> elements;
  if (!before.empty()) elements.push_back({false, std::move(before)});
  elements.push_back({true, {}});
  if (!after.empty()) elements.push_back({false, std::move(after)});
  AddTemplate(std::move(elements));
}

std::vector<uint32_t> PostProcessor::Apply(std::vector<uint32_t> ids,
                                           bool add_special_tokens) const {
  for (const std::vector<Element>& elements : templates_) {
    // BOS, or the few tokens that some models have in its place.
    std::vector<uint32_t> front;
    for (const Element& element : elements) {
      if (element.text) break;
      front.insert(front.end(), element.ids.begin(), element.ids.end());
    }
    const bool already_there =
        front.size() <= ids.size() && std::equal(front.begin(), front.end(), ids.begin());
    std::vector<uint32_t> out;
    bool in_front = true;
    for (const Element& element : elements) {
      in_front = in_front && !element.text;
      if (element.text) {
        out.insert(out.end(), ids.begin(), ids.end());
      } else if (add_special_tokens && !(in_front && already_there)) {
        out.insert(out.end(), element.ids.begin(), element.ids.end());
      }
    }
    ids = std::move(out);
  }
  return ids;
}

int64_t PostProcessor::first_token() const {
  for (size_t i = templates_.size(); i-- > 0;) {
    const auto& elements = templates_[i];
    if (!elements.empty() && !elements[0].text && !elements[0].ids.empty())
      return elements[0].ids[0];
  }
  return -1;
}

double PostProcessor::ids_of_one() const {
  double ids = 1;  // a number that cannot overflow
  for (const auto& elements : templates_) {
    double made = 0;
    for (const Element& element : elements) {
      made += element.text ? ids : static_cast<double>(element.ids.size());
    }
    ids = made;
  }
  return ids;
}

int64_t PostProcessor::max_id() const {
  int64_t max = -1;
  for (const auto& elements : templates_) {
    for (const Element& element : elements) {
      for (const uint32_t id : element.ids) max = std::max<int64_t>(max, id);
    }
  }
  return max;
}

absl::Status ParsePostProcessor(const nlohmann::json& json, const std::string& path,
                                PostProcessor& result) {
  const JsonFields fields(json, path);
  SL_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  if (type == "ByteLevel") return absl::OkStatus();  // moves offsets only
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    SL_ASSIGN_OR_RETURN(const uint32_t cls, ParseTokenPair(fields, "cls"));
    SL_ASSIGN_OR_RETURN(const uint32_t sep, ParseTokenPair(fields, "sep"));
    result.AddAround({cls}, {sep});
    return absl::OkStatus();
  }
  if (type == "TemplateProcessing") {
    SL_ASSIGN_OR_RETURN(const nlohmann::json* list, fields.Array("single"));
    if (list->size() > kMaxTemplateTokens)
      return InvalidArgument(fields.Path("single"), " is too long");
    std::vector<PostProcessor::Element> elements;
    for (size_t i = 0; i < list->size(); ++i) {
      SL_ASSIGN_OR_RETURN(auto element,
                          ParseElement((*list)[i], fields, ElementPath(path, "single", i)));
      elements.push_back(std::move(element));
    }
    result.AddTemplate(std::move(elements));
    return absl::OkStatus();
  }
  if (type == "Sequence") {
    SL_ASSIGN_OR_RETURN(const nlohmann::json* list, fields.Array("processors"));
    for (size_t i = 0; i < list->size(); ++i) {
      SL_RETURN_IF_ERROR(
          ParsePostProcessor((*list)[i], ElementPath(path, "processors", i), result));
    }
    return absl::OkStatus();
  }
  return InvalidArgument(fields.Path("type"), " ", Quoted(type), " is not supported");
}

}  // namespace shardline
