// From a path to a planned model: checkpoint, family, spec, and the decoder's layers with the
// weights they ask for. Nothing is read but headers and configuration.
#pragma once

#include <memory>

#include "worker/models/decoder.h"
#include "worker/models/registry.h"

namespace shardline {

struct OpenedModel {
  std::unique_ptr<Checkpoint> checkpoint;
  NameTable names;
  ModelInfo info;  // all but weight_bytes
  std::unique_ptr<Decoder> decoder;
};

// Errors: as Model::Load, but for tensors that are missing, unused or misshapen: what resolves the
// decoder's plan (worker/weights/resolve.h) tells these.
absl::StatusOr<OpenedModel> OpenModel(const ModelOptions& asked);
// What `checkpoint` is, whatever asked.path says.
absl::StatusOr<OpenedModel> OpenModel(const ModelOptions& asked,
                                      std::unique_ptr<Checkpoint> checkpoint);

}  // namespace shardline
