// A table with a row for each token: index, id, text, log-probability, rank, candidates. Rows are
// written as they come, so columns have widths of their own instead of their widest cell's.
#pragma once

#include <cstdint>
#include <string>

#include "shardline/v1/inference.pb.h"

namespace shardline::cli {

std::string TokenHeading();
// "    3    1917  " the"                   -0.4127     1  1917 " the" -0.4127   262 " a" -1.9"
std::string TokenRow(uint64_t index, const v1::TokenInfo& token);

}  // namespace shardline::cli
