// The metrics as Prometheus families, one consistent snapshot for each scrape.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "gateway/metrics.h"

namespace shardline {

class MetricsText : public prometheus::Collectable {
 public:
  // `metrics` outlives this.
  MetricsText(const Metrics& metrics, bool vllm_names)
      : metrics_(metrics), vllm_names_(vllm_names) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Metrics& metrics_;
  const bool vllm_names_;
};

}  // namespace shardline
