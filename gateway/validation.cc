#include "gateway/validation.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gateway/capabilities.h"

namespace shardline {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Every digit of a whole number: Cat keeps six.
std::string NumberText(double value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (std::abs(value) <= kExact && value == std::trunc(value)) {
    return Cat(static_cast<int64_t>(value));
  }
  return Cat(value);
}

std::string RangeText(const Parameter& parameter) {
  std::string text;
  if (parameter.min.has_value()) {
    text = Cat(parameter.min_exclusive ? "more than " : "at least ", NumberText(*parameter.min));
  }
  if (parameter.max.has_value()) {
    text += Cat(text.empty() ? "" : " and ", "at most ", NumberText(*parameter.max));
  }
  return text;
}

absl::Status CheckNumber(const Parameter& parameter, std::string_view path, double value) {
  if (!std::isfinite(value)) return FieldError(path, "must be a finite number");
  const bool low = parameter.min.has_value() &&
                   (parameter.min_exclusive ? value <= *parameter.min : value < *parameter.min);
  if (low || (parameter.max.has_value() && value > *parameter.max)) {
    return FieldError(path, NumberText(value), " is out of range: it must be ",
                      RangeText(parameter));
  }
  return absl::OkStatus();
}

absl::Status CheckString(const Parameter& parameter, std::string_view path,
                         const std::string& value) {
  if (value.size() < parameter.min_bytes) {
    return FieldError(path, "must have at least ", parameter.min_bytes, " byte");
  }
  if (parameter.max_bytes != 0 && value.size() > parameter.max_bytes) {
    return FieldError(path, "has ", value.size(), " bytes, at most ", parameter.max_bytes,
                      " are allowed");
  }
  return absl::OkStatus();
}

// The number in a singular field; nullopt for strings, booleans and messages.
std::optional<double> NumberIn(const Message& message, const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection->GetFloat(message, field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection->GetDouble(message, field);
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection->GetInt32(message, field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection->GetUInt32(message, field);
    default:
      return std::nullopt;
  }
}

absl::Status CheckMap(const Parameter& parameter, std::string_view path, const Message& message,
                      const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
    const Message& entry = reflection->GetRepeatedMessage(message, field, i);
    const auto* type = entry.GetDescriptor();
    const std::string key = NumberText(*NumberIn(entry, type->map_key()));
    SL_RETURN_IF_ERROR(
        CheckNumber(parameter, Cat(path, "[", key, "]"), *NumberIn(entry, type->map_value())));
  }
  return absl::OkStatus();
}

absl::Status CheckLeaf(const Parameter& parameter, std::string_view path, const Message& message,
                       const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  if (!parameter.served) return FieldError(path, "is not served: ", parameter.note);
  if (field->is_repeated()) {
    const int size = reflection->FieldSize(message, field);
    if (parameter.max_entries != 0 && static_cast<uint32_t>(size) > parameter.max_entries) {
      return FieldError(path, "has ", size, " entries, at most ", parameter.max_entries,
                        " are allowed");
    }
    if (field->is_map()) return CheckMap(parameter, path, message, field);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) return absl::OkStatus();
    for (int i = 0; i < size; ++i) {
      SL_RETURN_IF_ERROR(CheckString(parameter, Cat(path, "[", i, "]"),
                                     reflection->GetRepeatedString(message, field, i)));
    }
    return absl::OkStatus();
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    return CheckString(parameter, path, reflection->GetString(message, field));
  }
  if (const auto number = NumberIn(message, field); number.has_value()) {
    return CheckNumber(parameter, path, *number);
  }
  return absl::OkStatus();
}

// Walks every field that is set. `row` is the path in the table, `path` the one for people, with
// indices.
absl::Status CheckMessage(const Message& message, const std::string& row, const std::string& path) {
  const Reflection* reflection = message.GetReflection();
  if (const auto& unknown = reflection->GetUnknownFields(message); !unknown.empty()) {
    return FieldError(Cat(path.empty() ? "" : Cat(path, "."), unknown.field(0).number()),
                      "this build knows no field of this number");
  }
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string child_row = Cat(row.empty() ? "" : Cat(row, "."), field->name());
    const std::string child = Cat(path.empty() ? "" : Cat(path, "."), field->name());
    if (const Parameter* parameter = FindParameter(child_row); parameter != nullptr) {
      SL_RETURN_IF_ERROR(CheckLeaf(*parameter, child, message, field));
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
    if (!field->is_repeated()) {
      SL_RETURN_IF_ERROR(CheckMessage(reflection->GetMessage(message, field), child_row, child));
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      SL_RETURN_IF_ERROR(CheckMessage(reflection->GetRepeatedMessage(message, field, i), child_row,
                                      Cat(child, "[", i, "]")));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIdsAgainstModel(const v1::GenerateRequest& request, const ModelFacts& model) {
  SL_RETURN_IF_ERROR(CheckIds("stopping.stop_token_ids", request.stopping().stop_token_ids(),
                              model.vocabulary_size));
  for (const auto& [id, bias] : request.sampling().logit_bias()) {
    if (id >= model.vocabulary_size) {
      return FieldError(Cat("sampling.logit_bias[", id, "]"),
                        "the id is not below the vocabulary size ", model.vocabulary_size);
    }
  }
  if (request.logprobs().top() > model.vocabulary_size) {
    return FieldError("logprobs.top", request.logprobs().top(),
                      " is more than the vocabulary size ", model.vocabulary_size);
  }
  if (request.stopping().stop_strings_size() > 0 && !model.has_tokenizer) {
    return FieldError("stopping.stop_strings", "this model has no tokenizer, so no text");
  }
  return absl::OkStatus();
}

// Until min_new_tokens nothing of EOS and the stop ids is drawn: something else must be there.
absl::Status CheckMaskLeavesTokens(const v1::StoppingParams& stopping, const ModelFacts& model) {
  if (stopping.min_new_tokens() == 0) return absl::OkStatus();
  std::vector<uint32_t> masked(stopping.stop_token_ids().begin(), stopping.stop_token_ids().end());
  masked.insert(masked.end(), model.eos_ids.begin(), model.eos_ids.end());
  if (masked.size() < model.vocabulary_size) return absl::OkStatus();
  std::sort(masked.begin(), masked.end());
  masked.erase(std::unique(masked.begin(), masked.end()), masked.end());
  const auto known = std::lower_bound(masked.begin(), masked.end(), model.vocabulary_size);
  if (known - masked.begin() < model.vocabulary_size) return absl::OkStatus();
  return FieldError("stopping.stop_token_ids",
                    "with EOS they are the whole vocabulary, so min_new_tokens leaves no token");
}

// max_new_tokens as the worker gets it.
absl::StatusOr<uint32_t> ResolveLength(const v1::StoppingParams& stopping, uint32_t prompt_tokens,
                                       std::string_view prompt_field, uint32_t context) {
  if (prompt_tokens > context) {
    return FieldError(prompt_field, "the prompt has ", prompt_tokens,
                      " tokens, the model's context holds ", context);
  }
  const uint32_t room = context - prompt_tokens;
  if (stopping.has_max_new_tokens() && stopping.max_new_tokens() > room) {
    return FieldError("stopping.max_new_tokens", "prompt (", prompt_tokens,
                      " tokens) + max_new_tokens (", stopping.max_new_tokens(),
                      ") are past the context of ", context, " tokens");
  }
  const uint32_t longest = stopping.has_max_new_tokens() ? stopping.max_new_tokens() : room;
  if (stopping.min_new_tokens() > longest) {
    return FieldError("stopping.min_new_tokens", stopping.min_new_tokens(), " is more than the ",
                      longest, " tokens that the output may have");
  }
  return longest;
}

}  // namespace

absl::Status CheckFields(const google::protobuf::Message& request) {
  return CheckMessage(request, "", "");
}

absl::Status CheckFields(const v1::GenerateRequest& request) {
  SL_RETURN_IF_ERROR(CheckMessage(request, "", ""));
  if (request.prompt_case() == v1::GenerateRequest::PROMPT_NOT_SET) {
    return FieldError("prompt", "one of text, token_ids and chat must be set");
  }
  const v1::StoppingParams& stopping = request.stopping();
  if (stopping.has_max_new_tokens() && stopping.min_new_tokens() > stopping.max_new_tokens()) {
    return FieldError("stopping.min_new_tokens", stopping.min_new_tokens(),
                      " is more than max_new_tokens ", stopping.max_new_tokens());
  }
  return absl::OkStatus();
}

absl::Status CheckIds(std::string_view field, const google::protobuf::RepeatedField<uint32_t>& ids,
                      uint32_t vocabulary_size) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] >= vocabulary_size) {
      return FieldError(Cat(field, "[", i, "]"), ids[i], " is not below the vocabulary size ",
                        vocabulary_size);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Submit> Resolve(const v1::GenerateRequest& request, std::vector<uint32_t> prompt,
                               std::string_view prompt_field, const ModelFacts& model) {
  SL_RETURN_IF_ERROR(CheckIdsAgainstModel(request, model));
  SL_RETURN_IF_ERROR(CheckMaskLeavesTokens(request.stopping(), model));
  if (prompt.empty()) return FieldError(prompt_field, "the prompt is empty");
  if (request.has_truncate_prompt_tokens() && prompt.size() > request.truncate_prompt_tokens()) {
    prompt.erase(prompt.begin(), prompt.end() - request.truncate_prompt_tokens());
  }
  SL_ASSIGN_OR_RETURN(const uint32_t longest,
                      ResolveLength(request.stopping(), static_cast<uint32_t>(prompt.size()),
                                    prompt_field, model.context_tokens));
  Submit submit;
  submit.prompt = std::move(prompt);
  SubmitHeader& header = submit.header;
  header.priority = request.priority();
  header.outputs = request.has_n() ? request.n() : 1;
  header.max_new_tokens = longest;
  header.min_new_tokens = request.stopping().min_new_tokens();
  header.top_logprobs = request.logprobs().top();
  if (request.stopping().ignore_eos()) header.flags |= kIgnoreEos;
  if (request.logprobs().has_top()) header.flags |= kWantLogprobs;
  if (request.logprobs().prompt()) header.flags |= kWantPromptLogprobs;
  header.sampling = ToFlat(request.sampling(), model.defaults);
  submit.stop_token_ids.assign(request.stopping().stop_token_ids().begin(),
                               request.stopping().stop_token_ids().end());
  for (const auto& [id, bias] : request.sampling().logit_bias()) {
    submit.logit_bias.push_back({id, bias});
  }
  std::sort(submit.logit_bias.begin(), submit.logit_bias.end(),
            [](const LogitBias& a, const LogitBias& b) { return a.id < b.id; });
  return submit;
}

}  // namespace shardline
