// From a GenerateRequest to what the worker is asked to do. CheckFields looks at the request alone
// (the capability table), Resolve at the request beside the model. Free of gRPC.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gateway/field_error.h"
#include "shardline/v1/inference.pb.h"
#include "shared/ipc/message.h"
#include "shared/wire/sampling.h"

namespace shardline {

// Checks every field that is set, of any request, against the capability table's row of the same
// path, if there is one: served, range, finite, counts and sizes; and that no field is unknown.
// Errors: FieldError with the field's path.
absl::Status CheckFields(const google::protobuf::Message& request);
// The same, and what a GenerateRequest's fields must be to each other.
absl::Status CheckFields(const v1::GenerateRequest& request);

// What Resolve needs to know of the model that will answer.
struct ModelFacts {
  uint32_t vocabulary_size = 0;
  uint32_t context_tokens = 0;  // longest prompt + output
  bool has_tokenizer = false;
  std::vector<uint32_t> eos_ids = {};
  SamplingDefaults defaults;
};

// Each id below the vocabulary size. `field`: "token_ids.ids"; errors name "token_ids.ids[2]".
absl::Status CheckIds(std::string_view field, const google::protobuf::RepeatedField<uint32_t>& ids,
                      uint32_t vocabulary_size);

// The worker's message for `request` with its tokenised prompt (moved in, cut to
// truncate_prompt_tokens); key, deadline and seed where unset are the caller's to fill. Errors:
// FieldError. `prompt_field` is the oneof's member that the prompt came from, blamed where the
// prompt is empty or too long.
absl::StatusOr<Submit> Resolve(const v1::GenerateRequest& request, std::vector<uint32_t> prompt,
                               std::string_view prompt_field, const ModelFacts& model);

}  // namespace shardline
