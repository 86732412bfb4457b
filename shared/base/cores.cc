#include "shared/base/cores.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

namespace shardline {
namespace {

// Cores that a quota per period comes to; 0 where there is none.
int Quota(double quota, double period) {
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(std::ceil(quota / period))) : 0;
}

int GroupQuota() {
  std::string quota;
  double period = 0;
  if (std::ifstream file("/sys/fs/cgroup/cpu.max"); file >> quota >> period) {
    return quota == "max" ? 0 : Quota(std::strtod(quota.c_str(), nullptr), period);
  }
  double old_quota = 0;
  std::ifstream old_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream old_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  return old_file >> old_quota && old_period >> period ? Quota(old_quota, period) : 0;
}

}  // namespace

int UsableCores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cores = CPU_COUNT(&set);
  if (const int quota = GroupQuota(); quota > 0) cores = std::min(cores, quota);
  return std::max(cores, 1);
}

}  // namespace shardline
