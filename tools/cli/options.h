// One subcommand's flags. Abseil's flags belong to a whole program; here each subcommand has its
// own, a flag that it does not know is an error, and one flag may be given several times with any
// text.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/status.h"
#include "tools/cli/commands.h"

namespace shardline::cli {

// A time above zero, and not so long that adding it to a clock overflows.
absl::StatusOr<double> ReadSeconds(const std::string& text);

class Options {
 public:
  // `usage` follows "shardline " in the help: "models [--json]".
  Options(std::string command, std::string usage, std::string summary);

  // Each adds "--name". What `set` receives has been read as the type; its own errors are passed on
  // with the flag's name in front. `value` is the value's name in the help.
  void Text(std::string name, std::string value, std::string help,
            std::function<void(const std::string&)> set);
  void Parsed(std::string name, std::string value, std::string help,
              std::function<absl::Status(const std::string&)> set);
  // T: float, int32_t, uint32_t, uint64_t.
  template <typename T>
  void Number(std::string name, std::string help, std::function<void(T)> set);
  // --name, --name=N, or --name N when the next argument is a whole number; alone it is `implied`.
  void OptionalNumber(std::string name, std::string help, uint32_t implied,
                      std::function<void(uint32_t)> set);
  // --name, --name=true, --name=false, --no-name.
  void Switch(std::string name, std::string help, std::function<void(bool)> set);

  // The arguments that are no flags. Flags may be written with '_' for '-' and their values after
  // '=' or as the next argument; all that follows "--" is no flag. When the program has to end here
  // (a bad flag, or --help), writes why and returns the exit code in `end`.
  Arguments Parse(const Arguments& arguments, Streams& streams, std::optional<int>& end) const;

  // Sets one flag by its name ('_' for '-' too). Errors: NotFound for a name that is no flag,
  // InvalidArgument naming the flag.
  absl::Status Set(std::string_view name, const std::string& value) const;

  std::string Help() const;

  struct Option {
    std::string name;
    std::string value;  // empty: a switch
    std::string help;
    std::function<absl::Status(const std::string&)> set;
    std::optional<std::string> implied = {};  // the value of a flag that is given without one
  };
  const std::vector<Option>& all() const { return options_; }

 private:
  absl::StatusOr<Arguments> Read(const Arguments& arguments) const;
  const Option* Find(std::string_view name) const;

  std::string command_;
  std::string usage_;
  std::string summary_;
  std::vector<Option> options_;
};

}  // namespace shardline::cli
