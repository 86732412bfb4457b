#include "tools/cli/options.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <ostream>
#include <utility>

#include "shared/base/quoted.h"

namespace shardline::cli {
namespace {

template <typename T>
absl::StatusOr<T> ReadNumber(const std::string& text) {
  T number{};
  const char* end = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc::result_out_of_range) {
    return InvalidArgument(Quoted(text), " is out of range");
  }
  if (error != std::errc() || read != end) {
    return InvalidArgument(Quoted(text), " is not ",
                           std::is_floating_point_v<T> ? "a number"
                           : std::is_signed_v<T>       ? "an integer"
                                                       : "a non-negative integer");
  }
  return number;
}

absl::StatusOr<bool> ReadBool(const std::string& text) {
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return InvalidArgument(Quoted(text), " is neither true nor false");
}

bool IsWholeNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

absl::StatusOr<double> ReadSeconds(const std::string& text) {
  constexpr double kMax = 1e6;
  SL_ASSIGN_OR_RETURN(const double seconds, ReadNumber<double>(text));
  if (seconds > 0 && seconds <= kMax) return seconds;
  return InvalidArgument(Quoted(text), " is no number of seconds above 0 and up to ", kMax);
}

Options::Options(std::string command, std::string usage, std::string summary)
    : command_(std::move(command)), usage_(std::move(usage)), summary_(std::move(summary)) {}

void Options::Parsed(std::string name, std::string value, std::string help,
                     std::function<absl::Status(const std::string&)> set) {
  options_.push_back({std::move(name), std::move(value), std::move(help), std::move(set)});
}

void Options::Text(std::string name, std::string value, std::string help,
                   std::function<void(const std::string&)> set) {
  Parsed(std::move(name), std::move(value), std::move(help),
         [set = std::move(set)](const std::string& text) {
           set(text);
           return absl::OkStatus();
         });
}

template <typename T>
void Options::Number(std::string name, std::string help, std::function<void(T)> set) {
  Parsed(std::move(name), std::is_floating_point_v<T> ? "X" : "N", std::move(help),
         [set = std::move(set)](const std::string& text) -> absl::Status {
           SL_ASSIGN_OR_RETURN(const T number, ReadNumber<T>(text));
           set(number);
           return absl::OkStatus();
         });
}
template void Options::Number(std::string, std::string, std::function<void(float)>);
template void Options::Number(std::string, std::string, std::function<void(int32_t)>);
template void Options::Number(std::string, std::string, std::function<void(uint32_t)>);
template void Options::Number(std::string, std::string, std::function<void(uint64_t)>);

void Options::OptionalNumber(std::string name, std::string help, uint32_t implied,
                             std::function<void(uint32_t)> set) {
  Number<uint32_t>(std::move(name), std::move(help), std::move(set));
  options_.back().implied = Cat(implied);
}

void Options::Switch(std::string name, std::string help, std::function<void(bool)> set) {
  Parsed(std::move(name), "", std::move(help),
         [set = std::move(set)](const std::string& text) -> absl::Status {
           SL_ASSIGN_OR_RETURN(const bool value, ReadBool(text));
           set(value);
           return absl::OkStatus();
         });
  options_.back().implied = "true";
}

absl::Status Options::Set(std::string_view name, const std::string& value) const {
  std::string flag(name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  const Option* option = Find(flag);
  if (option == nullptr) return NotFound("there is no ", Quoted(name));
  return Annotate(option->set(value), option->name);
}

const Options::Option* Options::Find(std::string_view name) const {
  const auto found = std::find_if(options_.begin(), options_.end(),
                                  [&](const Option& option) { return option.name == name; });
  return found == options_.end() ? nullptr : &*found;
}

absl::StatusOr<Arguments> Options::Read(const Arguments& arguments) const {
  Arguments positional;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      positional.insert(positional.end(), arguments.begin() + static_cast<ptrdiff_t>(i) + 1,
                        arguments.end());
      break;
    }
    if (argument.size() < 2 || argument[0] != '-') {
      positional.push_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    std::string name = argument.substr(argument[1] == '-' ? 2 : 1, equals);
    if (equals != std::string::npos) name.resize(equals - (argument[1] == '-' ? 2 : 1));
    std::replace(name.begin(), name.end(), '_', '-');
    const Option* option = Find(name);
    const bool negated = option == nullptr && equals == std::string::npos &&
                         name.rfind("no-", 0) == 0 && Find(name.substr(3)) != nullptr &&
                         Find(name.substr(3))->value.empty();
    if (negated) option = Find(name.substr(3));
    if (option == nullptr) return InvalidArgument("unknown flag ", Quoted("--" + name));
    std::string value;
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (option->implied) {
      const bool follows =
          !option->value.empty() && i + 1 < arguments.size() && IsWholeNumber(arguments[i + 1]);
      value = negated ? "false" : follows ? arguments[++i] : *option->implied;
    } else if (++i < arguments.size()) {
      value = arguments[i];
    } else {
      return InvalidArgument("--", name, ": a value must follow");
    }
    SL_RETURN_IF_ERROR(Annotate(option->set(value), "--" + option->name));
  }
  return positional;
}

Arguments Options::Parse(const Arguments& arguments, Streams& streams,
                         std::optional<int>& end) const {
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    if (argument == "--help" || argument == "-h") {
      streams.out << Help();
      end = kDone;
      return {};
    }
  }
  absl::StatusOr<Arguments> positional = Read(arguments);
  if (positional.ok()) return *std::move(positional);
  end = Fail(streams, command_,
             Cat(Message(positional.status()), " (see shardline ", command_, " --help)"));
  return {};
}

std::string Options::Help() const {
  std::string help = Cat("usage: shardline ", usage_, "\n", summary_, "\n\n");
  for (const Option& option : options_) {
    std::string left = Cat("  --", option.name);
    if (!option.value.empty()) {
      left += option.implied ? Cat("[=", option.value, "]") : Cat(" ", option.value);
    }
    left.resize(std::max<size_t>(left.size() + 1, 32), ' ');
    help += Cat(left, option.help, "\n");
  }
  return help;
}

}  // namespace shardline::cli
