#include "shared/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace shardline {
namespace {

absl::StatusOr<std::string> Read(int fd, const std::string& path, size_t max_bytes) {
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return InvalidArgument(path, ": not a regular file");
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size > max_bytes) {
    return InvalidArgument(path, ": ", size, " bytes are more than ", max_bytes);
  }
  std::string text(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t got = read(fd, text.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return InvalidArgument(path, ": ", got == 0 ? "became shorter" : std::strerror(errno));
    }
    done += static_cast<size_t>(got);
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes) {
  // O_NONBLOCK: opening a pipe by mistake must not wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const std::string text = Cat(path, ": ", std::strerror(errno));
    if (errno == ENOENT || errno == ENOTDIR) return absl::NotFoundError(text);
    return absl::InvalidArgumentError(text);
  }
  absl::StatusOr<std::string> text = Read(fd, path, max_bytes);
  close(fd);
  return text;
}

}  // namespace shardline
