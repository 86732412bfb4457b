// A small file read at once, whatever its path turns out to be: a pipe, a device or a folder is
// refused, not waited for. Model weights are mapped instead (shared/format/mapped_file.h).
#pragma once

#include <cstddef>
#include <string>

#include "shared/base/status.h"

namespace shardline {

// Errors: NotFound / InvalidArgument "PATH: reason"; more than `max_bytes` is one.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes);

}  // namespace shardline
