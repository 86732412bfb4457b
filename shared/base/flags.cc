#include "shared/base/flags.h"

#include <absl/flags/commandlineflag.h>
#include <absl/flags/parse.h>
#include <absl/flags/reflection.h>
#include <absl/flags/usage_config.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <sstream>

#include "shared/base/file.h"
#include "shared/base/nearest.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr int kMaxNesting = 8;
constexpr size_t kMaxFileBytes = 1 << 20;

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
  const absl::StatusOr<std::string> text = ReadWholeFile(path, kMaxFileBytes);
  if (!text.ok()) return InvalidArgument("--flagfile ", Message(text.status()));
  std::istringstream file(*text);
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

// "max_sequences" → "--max-sequences", as the documents write it.
std::string Written(std::string_view name) {
  std::string written = Cat("--", name);
  std::replace(written.begin(), written.end(), '_', '-');
  return written;
}

// Abseil knows these without having flags for them.
bool AsksForUsage(std::string_view name) { return name.starts_with("help") || name == "version"; }

bool IsOurs(const absl::CommandLineFlag& flag) {
  return flag.Filename().find("absl/") == std::string::npos;
}

absl::Status NoSuchFlag(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, flag] : absl::GetAllFlags()) {
    if (IsOurs(*flag)) names.push_back(Written({known.data(), known.size()}));
  }
  std::sort(names.begin(), names.end());
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string written = Written(name);
  return InvalidArgument("there is no flag ", Quoted(written), "; the nearest is ",
                         NearestName(written, views), " (see --help)");
}

// What cannot have been meant as a value.
bool IsFlag(const std::string& argument) {
  if (!argument.starts_with("--")) return false;
  const std::string name = argument.substr(2, argument.find('=') - 2);
  return name.empty() || absl::FindCommandLineFlag(name) != nullptr;
}

template <typename T>
std::string WholeNumber() {
  return Cat("a whole number from ", std::numeric_limits<T>::min(), " to ",
             std::numeric_limits<T>::max());
}

std::string KindOf(const absl::CommandLineFlag& flag) {
  if (flag.IsOfType<bool>()) return "true or false";
  if (flag.IsOfType<uint32_t>()) return WholeNumber<uint32_t>();
  if (flag.IsOfType<uint64_t>()) return WholeNumber<uint64_t>();
  if (flag.IsOfType<int>()) return WholeNumber<int>();
  if (flag.IsOfType<int64_t>()) return WholeNumber<int64_t>();
  return "a number";
}

// Abseil ends the program with 1 for --help; ours end with 0.
bool parsing = false;
int exit_code_while_parsing = 2;

void EndWhileParsing() {
  if (!parsing) return;
  std::fflush(nullptr);
  _exit(exit_code_while_parsing);
}

[[noreturn]] void EndWith(const char* program, const absl::Status& status) {
  const std::string name = std::filesystem::path(program).filename().string();
  std::fprintf(stderr, "%s: %s\n", name.c_str(), OneLine(Message(status)).c_str());
  std::exit(2);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FlagArguments(const std::vector<std::string>& arguments) {
  std::vector<std::string> out;
  SL_RETURN_IF_ERROR(Expand(arguments, 0, out));
  return out;
}

absl::Status SetFlags(const std::vector<std::string>& arguments) {
  for (size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    const std::string& argument = arguments[i];
    const size_t begin = argument.find_first_not_of('-');
    if (begin != 1 && begin != 2) continue;  // positional
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(begin, equals - begin);
    const bool alone = equals == std::string::npos;
    absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
    std::string value = alone ? "true" : argument.substr(equals + 1);
    if (flag == nullptr && alone && name.starts_with("no")) {
      flag = absl::FindCommandLineFlag(name.substr(2));
      if (flag != nullptr && !flag->IsOfType<bool>()) flag = nullptr;
      value = "false";
    }
    if (flag == nullptr && AsksForUsage(name)) continue;
    if (flag == nullptr) return NoSuchFlag(name);
    if (alone && !flag->IsOfType<bool>()) {
      if (++i == arguments.size() || IsFlag(arguments[i])) {
        return InvalidArgument(Written(name), ": a value must follow");
      }
      value = arguments[i];
    }
    std::string error;
    if (!flag->ParseFrom(value, &error)) {
      return InvalidArgument(Written(name), " ", Quoted(value), ": must be ", KindOf(*flag));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> ParseFlags(int argc, char** argv, const std::string& version) {
  const auto expanded = FlagArguments({argv + 1, argv + argc});
  if (!expanded.ok()) EndWith(argv[0], expanded.status());
  if (const absl::Status set = SetFlags(*expanded); !set.ok()) EndWith(argv[0], set);
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
  if (!version.empty()) usage.version_string = [version] { return Cat(version, "\n"); };
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
