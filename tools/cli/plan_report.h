// What `shardline plan` prints.
#pragma once

#include <iosfwd>

#include "worker/plan/plan.h"

namespace shardline::cli {

void WritePlanTables(const PlanOptions& options, const ModelPlan& plan, std::ostream& out);
// One line of JSON: bytes, FLOPs and tokens per second as plain numbers.
void WritePlanJson(const PlanOptions& options, const ModelPlan& plan, std::ostream& out);

}  // namespace shardline::cli
