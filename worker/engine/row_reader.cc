#include "worker/engine/row_reader.h"

#include <exception>
#include <limits>

#include "worker/engine/logprobs.h"

namespace shardline {
namespace {

// The record of the prompt token that follows `row.position`.
Sample PromptRecord(const WantedRow& row, std::span<const float> logits, SampleScratch& scratch) {
  Sample sample;
  const RowScan scan = BestRowMath().scan(logits.data(), logits.size());
  sample.non_finite = scan.non_finite || scan.max == -std::numeric_limits<float>::infinity();
  if (sample.non_finite) return sample;
  sample.token = RawLogprobs(logits, scan.max, row.sequence->tokens[row.position + 1],
                             row.sequence->header.top_logprobs, sample.top, scratch.filter.best);
  return sample;
}

}  // namespace

RowReader::RowReader(ThreadPool* threads)
    : threads_(threads), scratch_(threads == nullptr ? 1 : threads->size()) {}

std::span<const Sample> RowReader::Read(std::span<const WantedRow> wanted, float* logits,
                                        int64_t vocabulary) {
  samples_.assign(wanted.size(), Sample{});
  std::vector<std::exception_ptr> thrown(scratch_.size());  // a task of the pool must not throw
  const auto task = [&](int part, int parts) {
    try {
      for (size_t i = part; i < wanted.size(); i += parts) {
        const WantedRow& row = wanted[i];
        const std::span<float> values(logits + i * vocabulary, vocabulary);
        samples_[i] = row.next_token ? row.sequence->sampler.Next(values, scratch_[part])
                                     : PromptRecord(row, values, scratch_[part]);
      }
    } catch (...) {
      thrown[part] = std::current_exception();
    }
  };
  if (threads_ == nullptr || wanted.size() == 1) {
    task(0, 1);
  } else {
    threads_->Run(task);
  }
  for (const std::exception_ptr& exception : thrown) {
    if (exception != nullptr) std::rethrow_exception(exception);
  }
  return samples_;
}

}  // namespace shardline
