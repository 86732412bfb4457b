// From a path to a model ready to run: what was opened, with its weights.
#include "worker/models/model.h"
#include "worker/models/open.h"

namespace shardline {

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const ModelOptions& options,
                                                   const ProgressFunction& progress) {
  SL_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(options));
  if (options.before_weights) {
    SL_RETURN_IF_ERROR(options.before_weights(opened.info, opened.decoder->state_groups()));
  }
  const LoadOptions load{.ops = options.ops,
                         .threads = options.threads,
                         .type = opened.info.dtype,
                         .progress = [&](double fraction) {
                           if (progress) progress("loading weights", fraction);
                         }};
  SL_ASSIGN_OR_RETURN(MappedMemory memory,
                      LoadWeights(*opened.checkpoint, opened.names, opened.decoder->plan(), load));
  opened.info.weight_bytes = memory.bytes();
  SL_RETURN_IF_ERROR(opened.decoder->Start(std::move(memory), std::move(opened.info)));
  return std::move(opened.decoder);
}

}  // namespace shardline
