// Embed and Classify: for encoders. A decoder refuses them by name.
#include "gateway/field_error.h"
#include "gateway/rpc/handlers.h"

namespace shardline {

absl::Status Embed(const Gateway& gateway, const v1::EmbedRequest& request, v1::EmbedResponse*) {
  SL_RETURN_IF_ERROR(CheckModel(gateway, request.model()));
  return FieldError("model", "'", gateway.settings.model_name,
                    "' is a decoder: it has no embeddings to serve");
}

absl::Status Classify(const Gateway& gateway, const v1::ClassifyRequest& request,
                      v1::ClassifyResponse*) {
  SL_RETURN_IF_ERROR(CheckModel(gateway, request.model()));
  return FieldError("model", "'", gateway.settings.model_name,
                    "' is a decoder: it has no labels to serve");
}

}  // namespace shardline
