// What libtorch throws, as a status. For the few files that include c10d.
#pragma once

#include <c10/util/Exception.h>

#include <string>
#include <string_view>

#include "shared/base/status.h"

namespace shardline {

inline std::string FirstLine(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

// Runs `body`; what it throws becomes the text of an error.
template <typename Body>
absl::Status Guarded(std::string_view doing, const Body& body) {
  try {
    body();
    return absl::OkStatus();
  } catch (const c10::Error& error) {
    return Unavailable("group: ", doing, ": ", FirstLine(error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return Unavailable("group: ", doing, ": ", FirstLine(error.what()));
  } catch (...) {
    return Unavailable("group: ", doing, ": unknown exception");
  }
}

}  // namespace shardline
