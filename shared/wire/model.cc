#include "shared/wire/model.h"

namespace shardline {

void FillModel(const Ready& ready, v1::Model* model) {
  model->set_family(ready.family);
  model->set_dtype(ready.dtype);
  model->set_arithmetic(ready.arithmetic);
  model->set_quantisation(ready.quantisation);
  model->set_context_tokens(ready.header.context_tokens);
  model->set_vocabulary_size(ready.header.vocabulary_size);
  model->set_batch_invariant(ready.header.batch_invariant != 0);
}

v1::GroupLoad ToGroupLoad(uint32_t replica, const StepReport& report, bool ready) {
  v1::GroupLoad load;
  load.set_replica(replica);
  load.set_worker_epoch(report.epoch);
  load.set_ready(ready);
  load.set_running_sequences(report.running_sequences);
  load.set_kv_blocks_used(report.kv_blocks_used);
  load.set_kv_blocks_total(report.kv_blocks_total);
  return load;
}

}  // namespace shardline
