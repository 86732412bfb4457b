// Model files are mapped, not read: the page cache is shared between the processes that open them.
// A file that another process cuts short while it is mapped raises SIGBUS in its readers; sizes are
// checked when it is opened.
#include "shared/format/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace shardline {
namespace {

absl::Status Failure(const std::string& path, const char* action, int error) {
  std::string text = Cat(path, ": ", action, ": ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(text);
  return absl::InvalidArgumentError(text);
}

const char* program_name = "";

// Only what is safe in a signal's handler.
[[noreturn]] void OnBusError(int) {
  static constexpr char kReason[] = ": a model file became shorter while it was being read\n";
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, program_name, strlen(program_name));
  written = write(STDERR_FILENO, kReason, sizeof(kReason) - 1);
  _exit(2);
}

}  // namespace

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  // O_NONBLOCK: opening a pipe by mistake must not wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Failure(path, "cannot open", errno);
  struct stat info {};
  if (fstat(fd, &info) != 0) {
    const int error = errno;
    close(fd);
    return Failure(path, "cannot stat", error);
  }
  if (!S_ISREG(info.st_mode)) {
    close(fd);
    return InvalidArgument(path, ": not a regular file");
  }
  MappedFile file;
  if (info.st_size > 0) {
    const size_t size = static_cast<size_t>(info.st_size);
    void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    if (data == MAP_FAILED) {
      close(fd);
      return Failure(path, "cannot map", error);
    }
    file.bytes_ = {static_cast<const std::byte*>(data), size};
  }
  close(fd);
  return file;
}

void ExitWhenMappedFilesShrink(const char* program) {
  program_name = program;
  struct sigaction action {};
  action.sa_handler = OnBusError;
  sigaction(SIGBUS, &action, nullptr);
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace shardline
