// Command lines as all our programs read them: Abseil flags, written with dashes or underscores
// (--max-sequences), --flagfile=PATH too, and exit code 2 for what is wrong.
#pragma once

#include <string>
#include <vector>

#include "shared/base/status.h"

namespace shardline {

// Parses the flags and returns the positional arguments (without the program's name). A bad flag
// ends the program: one line on standard error, exit code 2; --help and --version print and end it
// with 0. `version`: what --version prints.
std::vector<std::string> ParseFlags(int argc, char** argv, const std::string& version = "");

// The arguments as Abseil takes them: '-' in flag names becomes '_', --flagfile=PATH (or
// "--flagfile PATH") is replaced by the file's lines (empty ones and those that begin with '#' are
// skipped). Nothing is changed after "--". Errors: InvalidArgument naming the file; files may nest
// eight deep.
absl::StatusOr<std::vector<std::string>> FlagArguments(const std::vector<std::string>& arguments);

// Sets the flags among arguments as Abseil takes them. Errors: InvalidArgument that names the first
// flag that does not exist or whose value is none of its type.
absl::Status SetFlags(const std::vector<std::string>& arguments);

}  // namespace shardline
