#include "tools/cli/device.h"

#include <algorithm>
#include <iterator>

#include "shared/base/nearest.h"
#include "shared/base/quoted.h"

namespace shardline::cli {
namespace {

struct Row {
  std::string_view name;
  double gigabytes, gigabytes_per_second;
  double bf16_teraflops, f32_teraflops;  // dense: half of what is stated "with sparsity"
};

// Sources, all of the makers: data sheets of H100 (SXM), H200 (SXM), A100 (SXM) and L40S; the
// white paper of the Ada architecture (RTX 4090, with f32 sums); the data sheet of MI300X.
constexpr Row kDevices[] = {
    {"h100-80g", 80, 3350, 989.4, 66.9}, {"h200", 141, 4800, 989.4, 66.9},
    {"a100-80g", 80, 2039, 312, 19.5},   {"a100-40g", 40, 1555, 312, 19.5},
    {"l40s", 48, 864, 362, 91.6},        {"rtx-4090", 24, 1008, 165.2, 82.6},
    {"mi300x", 192, 5300, 1307.4, 163.4}};

// By as many letters as were given: "h101" is near to "h100-80g".
std::string_view Nearest(std::string_view name) {
  const auto distance = [&](const Row& row) {
    return NameDistance(name, row.name.substr(0, name.size()));
  };
  return std::min_element(std::begin(kDevices), std::end(kDevices),
                          [&](const Row& a, const Row& b) { return distance(a) < distance(b); })
      ->name;
}

}  // namespace

absl::StatusOr<Device> FindDevice(std::string_view name) {
  std::string known;
  for (const Row& row : kDevices) {
    if (row.name == name) {
      return Device{.name = std::string(name),
                    .memory_bytes = static_cast<uint64_t>(row.gigabytes * 1e9),
                    .bytes_per_second = row.gigabytes_per_second * 1e9,
                    .narrow_flops = row.bf16_teraflops * 1e12,
                    .f32_flops = row.f32_teraflops * 1e12};
    }
    known += Cat(known.empty() ? "" : ", ", row.name);
  }
  return InvalidArgument(Quoted(name), " is not known; known are ", known, "; the nearest name is ",
                         Nearest(name),
                         "; of others tell --device-memory, --device-bandwidth, --device-tflops");
}

}  // namespace shardline::cli
