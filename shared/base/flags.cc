#include "shared/base/flags.h"

#include <absl/flags/parse.h>
#include <absl/flags/usage_config.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace shardline {
namespace {

constexpr int kMaxNesting = 8;

std::string Trimmed(const std::string& line) {
  const size_t begin = line.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return "";
  return line.substr(begin, line.find_last_not_of(" \t\r") - begin + 1);
}

// "--max-sequences=8" → "--max_sequences=8"; other words as they are.
std::string WithUnderscores(std::string argument) {
  const size_t begin = argument.find_first_not_of('-');
  if (argument.empty() || argument[0] != '-' || begin == std::string::npos || begin > 2) {
    return argument;
  }
  const auto end =
      argument.begin() + static_cast<long>(std::min(argument.find('='), argument.size()));
  std::replace(argument.begin() + static_cast<long>(begin), end, '-', '_');
  return argument;
}

absl::Status Expand(const std::vector<std::string>& arguments, int nesting,
                    std::vector<std::string>& out);

absl::Status ExpandFile(const std::string& path, int nesting, std::vector<std::string>& out) {
  if (nesting >= kMaxNesting) return InvalidArgument("--flagfile ", path, ": nested too deep");
  std::ifstream file(path);
  if (!file) return InvalidArgument("--flagfile ", path, ": cannot be read");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    line = Trimmed(line);
    if (!line.empty() && line[0] != '#') lines.push_back(line);
  }
  return Expand(lines, nesting + 1, out);
}

absl::Status Expand(const std::vector<std::string>& arguments, int nesting,
                    std::vector<std::string>& out) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--") {
      out.insert(out.end(), arguments.begin() + static_cast<long>(i), arguments.end());
      return absl::OkStatus();
    }
    const std::string argument = WithUnderscores(arguments[i]);
    const size_t name = argument.find_first_not_of('-');
    const bool is_flag = name == 1 || name == 2;
    if (is_flag && argument.compare(name, 9, "flagfile=") == 0) {
      SL_RETURN_IF_ERROR(ExpandFile(argument.substr(name + 9), nesting, out));
    } else if (is_flag && argument.substr(name) == "flagfile") {
      if (++i == arguments.size()) return InvalidArgument("--flagfile: a path must follow");
      SL_RETURN_IF_ERROR(ExpandFile(arguments[i], nesting, out));
    } else {
      out.push_back(argument);
    }
  }
  return absl::OkStatus();
}

// Abseil ends the program with 1 for a bad flag and for --help; ours end with 2 and 0.
bool parsing = false;
int exit_code_while_parsing = 2;

void EndWhileParsing() {
  if (!parsing) return;
  std::fflush(nullptr);
  _exit(exit_code_while_parsing);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FlagArguments(const std::vector<std::string>& arguments) {
  std::vector<std::string> out;
  SL_RETURN_IF_ERROR(Expand(arguments, 0, out));
  return out;
}

std::vector<std::string> ParseFlags(int argc, char** argv) {
  const auto expanded = FlagArguments({argv + 1, argv + argc});
  if (!expanded.ok()) {
    std::fprintf(stderr, "%s\n", Message(expanded.status()).c_str());
    std::exit(2);
  }
  std::vector<std::string> arguments = *expanded;
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    if (argument.rfind("--help", 0) == 0 || argument.rfind("-help", 0) == 0 ||
        argument == "--version") {
      exit_code_while_parsing = 0;
    }
  }
  std::vector<char*> pointers = {argv[0]};
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  absl::FlagsUsageConfig usage;  // --help lists our own flags, wherever they are defined
  usage.contains_help_flags = [](absl::string_view file) {
    return std::string(file.data(), file.size()).find("absl/") == std::string::npos;
  };
  absl::SetFlagsUsageConfig(usage);
  static const int registered = std::atexit(EndWhileParsing);
  (void)registered;
  parsing = true;
  const std::vector<char*> positional =
      absl::ParseCommandLine(static_cast<int>(pointers.size()), pointers.data());
  parsing = false;
  return {positional.begin() + 1, positional.end()};
}

}  // namespace shardline
